//! A detector's finding: type, severity, score, evidence, recommendation.

use serde::{Deserialize, Serialize};

use super::profile::About;

/// Defines the anomaly types once: the variant, its name on the wire and its name in the configuration.
macro_rules! anomaly_kinds {
    ($($(#[$doc:meta])* $variant:ident $wire:literal $setting:literal,)+) => {
        /// An anomaly type. Names on the wire are fixed by the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum AnomalyKind { $($(#[$doc])* #[serde(rename = $wire)] $variant,)+ }

        impl AnomalyKind {
            /// Every anomaly type, in the order of their bits.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $wire),+ } }

            /// The name of its detector in the configuration and in events.
            pub fn detector(self) -> &'static str { match self { $(Self::$variant => $setting),+ } }
        }
    };
}

anomaly_kinds! {
    /// Two places too far apart for the time between them.
    ImpossibleTravel "IMPOSSIBLE_TRAVEL" "impossible_travel",
    /// Too many distant places at once.
    ConcurrentLocations "CONCURRENT_LOCATIONS" "concurrent_locations",
    /// A place this key was never seen in.
    NewLocation "NEW_LOCATION" "new_location",
    /// Many more requests than are normal for this hour of the week.
    TrafficBurst "TRAFFIC_BURST" "traffic_burst",
    /// A request much larger than this key's usual ones.
    RequestSizeAnomaly "REQUEST_SIZE_ANOMALY" "request_size",
    /// Too large a share of refused credentials.
    HighFailureRate "HIGH_FAILURE_RATE" "failure_rate",
    /// One address trying many keys.
    CredentialStuffing "CREDENTIAL_STUFFING" "credential_stuffing",
    /// Several features at once unlike anything this key did before.
    BehavioralDrift "BEHAVIORAL_DRIFT" "behavioral_drift",
    /// Probing for endpoints that do not exist.
    EndpointScan "ENDPOINT_SCAN" "endpoint_scan",
    /// Many more tokens than usual.
    TokenUsageSpike "TOKEN_USAGE_SPIKE" "token_usage_spike",
    /// Much more money than usual.
    CostSpike "COST_SPIKE" "cost_spike",
    /// A key that nobody may use was used.
    CanaryKeyUsed "CANARY_KEY_USED" "canary_key",
}

impl AnomalyKind {
    /// The name as people say it, for example `impossible travel`.
    pub fn words(self) -> String {
        self.name().to_lowercase().replace('_', " ")
    }

    /// The type that a detector of this name finds.
    pub fn of_detector(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.detector() == name)
    }

    /// The bit of this type in a mask of detectors.
    pub fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a line in the log, and no more.
    Low,
    /// Worth a look by a person.
    Medium,
    /// Worth an answer: the default policy throttles.
    High,
    /// Worth stopping for: the default policy bans.
    Critical,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Whether findings of a detector are acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Found, logged and acted on.
    #[default]
    Enforce,
    /// Found and logged, not acted on.
    Shadow,
    /// The detector is not asked.
    Off,
}

impl Mode {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }
}

/// Whom a finding accuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accused {
    /// The API key of the request.
    #[default]
    Key,
    /// The source address of the request.
    Address,
}

/// A detector's finding about one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// The anomaly type, by its name on the wire.
    #[serde(rename = "type")]
    pub kind: AnomalyKind,
    /// How bad it is, which decides the response.
    pub severity: Severity,
    /// How sure it is and how far off the observed value, 0 to 1.
    pub score: f64,
    /// Whether it is acted on.
    pub mode: Mode,
    /// What a person should do, in a sentence.
    pub recommendation: String,
    /// Observed value, baseline, threshold and samples, by name.
    pub evidence: serde_json::Value,
    /// The subject that it accuses, on whose ladder it counts.
    #[serde(skip)]
    pub accused: Accused,
    /// What it is about, where the same may go on for long.
    #[serde(skip)]
    pub about: About,
}

impl Finding {
    /// Whether the ladder acts on it.
    pub fn is_enforced(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Says in the evidence which part of the key's traffic it accuses: as `held` where that is stopped, else as
    /// `part`.
    pub fn name_part(&mut self, name: &str, is_stopped: bool) {
        if let serde_json::Value::Object(members) = &mut self.evidence {
            members.insert(if is_stopped { "held" } else { "part" }.to_owned(), name.into());
        }
    }

    /// Whether the request must teach the profile nothing: from high on. A lesser finding may be about something new (a
    /// first request from another place, say), which has to be learned to stop being new.
    pub fn bars_learning(&self) -> bool {
        self.severity >= Severity::High
    }
}
