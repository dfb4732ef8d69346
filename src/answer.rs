//! The answer to a caller as it is written on the wire: by the HTTP routes and by `replay` alike.
//! It borrows from the decision, so that writing one costs no copy.

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::domain::{
    decision::{Action, Decision, LimitStatus, Reason, Settlement, Would},
    finding::Finding,
    limit::{LimitMode, Span},
    money::Usd,
    window::Unit,
};

/// The answer about one request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answer<'a> {
    /// The caller's id for the request, or the one made for it.
    pub request_id: &'a str,
    /// Public id of the key.
    pub key_id: &'a str,
    /// Whether the request may go on.
    pub allowed: bool,
    /// What is done about the request: nothing, an alert, a throttle or a ban.
    pub action: Action,
    /// Why it may not go on; absent when allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Whole seconds after which it would be admitted; absent when allowed, when never, and when not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
    /// What enforcement would have answered; present where it would have refused and the policy only observes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Would>,
    /// What detectors found, each with its evidence; empty when nothing was.
    #[schema(value_type = Vec<Finding>)]
    pub anomalies: &'a [Finding],
    /// How the limits stand.
    #[serde(serialize_with = "limits")]
    #[schema(value_type = Vec<LimitAnswer>)]
    pub limits: &'a [LimitStatus],
    /// Names what a check holds until the record gives this id back; present when it was asked to and admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<&'a str>,
    /// Seconds that it is held for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// What became of the reservation that the record names; absent when it names none, and when the store did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Settlement>,
    /// `estimated`: the record does not say what was used, and what was reserved for it is charged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageNote>,
    /// What the request costs in US dollars, a decimal to the nano-dollar; of a check, what the estimate would.
    #[schema(value_type = String, example = "0.007456")]
    pub cost_usd: Usd,
    /// Present and true when the model has no price: the cost is by the fallback price.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub price_fallback: bool,
    /// Decided without the store.
    pub degraded: bool,
    /// Present and true when the record came late: it counts where a span still holds its time, and detectors skip it.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub late: bool,
    /// The policy that judged.
    pub policy_version: &'a str,
}

/// Where tokens and cost of a record are from, when not from the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageNote {
    /// They are the estimate of its reservation: the record names neither tokens nor a cost.
    Estimated,
}

/// An amount of a unit: US dollars as a decimal text, all else as a number.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Amount {
    /// A whole number of requests or tokens.
    Count(u64),
    /// A decimal of US dollars, to the nano-dollar.
    #[schema(value_type = String)]
    Money(Usd),
}

impl Amount {
    /// An amount of a unit; of dollars in nano-dollars.
    pub(crate) fn of(unit: Unit, amount: u64) -> Self {
        if unit == Unit::CostUsd { Self::Money(Usd(amount)) } else { Self::Count(amount) }
    }
}

/// How one limit stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitAnswer<'a> {
    /// On whom (`key`, `project` or `everything`), where it is not the policy's limit of every key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// For which models, where not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// `1min`, `5min`, `1hour`, `24hour`, or as it was set.
    #[schema(value_type = String)]
    pub window: Span,
    /// What is counted: requests, tokens or US dollars.
    pub unit: Unit,
    /// The limit in force.
    pub limit: Amount,
    /// What the window holds.
    pub used: Amount,
    /// What of the limit is left; 0 when it is used up or exceeded.
    pub remaining: Amount,
    /// Seconds until the oldest usage leaves the window.
    pub reset_seconds: u64,
    /// `shadow` of a limit that refuses nothing; absent of one that does.
    #[serde(skip_serializing_if = "LimitMode::enforces")]
    #[schema(required = false)]
    pub mode: LimitMode,
    /// For how many seconds everything that it applies to is refused once it is exceeded; absent where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_seconds: Option<u64>,
}

impl<'a> From<&'a Decision> for Answer<'a> {
    fn from(decision: &'a Decision) -> Self {
        let refused = !decision.allowed;
        Self {
            request_id: &decision.request_id,
            key_id: &decision.key_id,
            allowed: decision.allowed,
            action: decision.action,
            reason: decision.reason.filter(|_| refused),
            retry_after_seconds: decision.retry_after_seconds().filter(|_| refused),
            would: decision.would.filter(|would| !would.allowed),
            anomalies: &decision.anomalies,
            limits: &decision.limits,
            reservation_id: decision.reserved.as_ref().map(|reserved| &*reserved.id),
            lease_seconds: decision.reserved.as_ref().map(|reserved| reserved.lease_seconds),
            reservation: decision.settlement,
            usage: decision.estimated.then_some(UsageNote::Estimated),
            cost_usd: Usd(decision.cost.nanos),
            price_fallback: decision.cost.fallback,
            degraded: decision.degraded,
            late: decision.late,
            policy_version: &decision.policy_version,
        }
    }
}

impl<'a> From<&'a LimitStatus> for LimitAnswer<'a> {
    fn from(status: &'a LimitStatus) -> Self {
        let amount = |amount| Amount::of(status.unit, amount);
        Self {
            scope: status.scope.as_deref(),
            model: status.model.as_deref(),
            window: status.window,
            unit: status.unit,
            limit: amount(status.limit),
            used: amount(status.used),
            remaining: amount(status.limit.saturating_sub(status.used)),
            reset_seconds: status.reset_seconds,
            mode: status.mode,
            block_seconds: status.block_seconds,
        }
    }
}

fn limits<S: Serializer>(limits: &[LimitStatus], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(limits.iter().map(LimitAnswer::from))
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        enforcement::Enforcement,
        finding::{Accused, AnomalyKind, Mode, Severity},
        price::Cost,
    };

    fn refused() -> Decision {
        Decision {
            request_id: "r-123".into(),
            key_id: "k1:9f2c41d07be5a8c3".into(),
            allowed: false,
            action: Action::TemporaryBan,
            reason: Some(Reason::CriticalAnomalyDetected),
            retry_at: Some(1_800_000),
            decided_at: 0,
            anomalies: vec![Finding {
                kind: AnomalyKind::ImpossibleTravel,
                severity: Severity::Critical,
                score: 0.98,
                mode: Mode::Enforce,
                recommendation: "Rotate the key.".to_owned(),
                evidence: json!({"distance_km": 9264}),
                accused: Accused::Key,
                about: Default::default(),
            }],
            limits: vec![LimitStatus {
                scope: None,
                model: None,
                window: Span::Sliding(60_000),
                unit: Unit::Tokens,
                limit: 50_000,
                used: 932,
                reset_seconds: 60,
                mode: LimitMode::Enforce,
                block_seconds: None,
            }],
            reserved: None,
            settlement: None,
            estimated: false,
            cost: Cost { nanos: 7_456_000, fallback: false },
            degraded: false,
            would: None,
            late: false,
            policy_version: "p7".into(),
        }
    }

    #[test]
    fn a_refusal_is_written_as_the_contract_shows_it() {
        assert_eq!(
            serde_json::to_string(&Answer::from(&refused())).unwrap(),
            concat!(
                r#"{"request_id":"r-123","key_id":"k1:9f2c41d07be5a8c3","allowed":false,"action":"temporary_ban","#,
                r#""reason":"CRITICAL_ANOMALY_DETECTED","retry_after_seconds":1800,"#,
                r#""anomalies":[{"type":"IMPOSSIBLE_TRAVEL","severity":"critical","score":0.98,"mode":"enforce","#,
                r#""recommendation":"Rotate the key.","evidence":{"distance_km":9264}}],"#,
                r#""limits":[{"window":"1min","unit":"tokens","limit":50000,"used":932,"remaining":49068,"#,
                r#""reset_seconds":60}],"cost_usd":"0.007456","degraded":false,"policy_version":"p7"}"#,
            )
        );
    }

    #[test]
    fn an_admission_has_no_reason_and_says_late_only_when_it_is() {
        let mut decision = Decision { allowed: true, action: Action::None, ..refused() };
        let keys = |d: &Decision| serde_json::to_value(Answer::from(d)).unwrap();
        let value = keys(&decision);
        for absent in ["reason", "retry_after_seconds", "late", "price_fallback"] {
            assert!(value.get(absent).is_none(), "{absent}");
        }
        decision.late = true;
        decision.cost.fallback = true;
        let value = keys(&decision);
        assert_eq!((&value["late"], &value["price_fallback"]), (&json!(true), &json!(true)));
    }

    #[test]
    fn what_is_only_observed_is_allowed_and_says_what_would_have_been() {
        let mut decision = refused();
        Enforcement::Observe.soften(&mut decision);
        let value = serde_json::to_value(Answer::from(&decision)).unwrap();
        assert_eq!((&value["allowed"], &value["action"]), (&json!(true), &json!("alert")));
        assert!(value.get("reason").is_none() && value.get("retry_after_seconds").is_none());
        let would = json!({
            "allowed": false, "action": "temporary_ban", "reason": "CRITICAL_ANOMALY_DETECTED",
            "retry_after_seconds": 1800,
        });
        assert_eq!(value["would"], would);
        let mut slowed =
            Decision { allowed: true, action: Action::Throttle, anomalies: Vec::new(), ..refused() };
        Enforcement::Observe.soften(&mut slowed);
        let value = serde_json::to_value(Answer::from(&slowed)).unwrap();
        assert_eq!((&value["action"], value.get("would")), (&json!("none"), None));
        assert_eq!(slowed.ruling(), Would::go_on(Action::Throttle));
    }

    #[test]
    fn names_on_the_wire_are_those_of_the_domain() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), json!(action.name()));
        }
        for reason in
            [Reason::ApiKeyBanned, Reason::IpBanned, Reason::RateLimitExceeded, Reason::StoreUnavailable]
        {
            assert_eq!(serde_json::to_value(reason).unwrap(), json!(reason.name()));
        }
    }
}
