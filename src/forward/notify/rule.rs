//! What an event means for its group: which rule it belongs to, which restriction it reports, which groups it ends.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        Millis,
        event::{AlertRuleFired, EmergencyHookCalled, Event, EventType, wire_name},
        subject::Subject,
    },
    forward::format::{facts, text::one_line},
};

/// The longest key that PagerDuty takes, in bytes.
pub(crate) const MAX_KEY: usize = 255;
/// The rule of all that the spend of a key led to.
pub(crate) const SPEND: &str = "spend";
/// The longest name of a rule, in characters.
const MAX_RULE: usize = 80;

/// The ban or throttle in force against a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// Whether requests are refused, and not slowed down.
    pub ban: bool,
    /// Until when; `None`: until somebody lifts it.
    pub until: Option<Millis>,
}

impl Restriction {
    /// The restriction that an event reports.
    pub fn of(event: &Event) -> Option<Self> {
        let until = event.evidence.until();
        if event.would.is_some() {
            return None;
        }
        match event.kind {
            EventType::TemporaryBan | EventType::BannedRequestBlocked => Some(Self { ban: true, until }),
            EventType::KeyCutOff if event.action.as_deref() == Some("shadow") => None,
            EventType::PermanentBan | EventType::KeyCutOff => Some(Self { ban: true, until: None }),
            EventType::Throttled => Some(Self { ban: false, until }),
            _ => None,
        }
    }
}

/// Why a group is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The ban or throttle ran out.
    Expired,
    /// A person lifted it.
    Lifted,
    /// An analyst called it benign.
    Benign,
    /// A person deleted all that is known of the subject.
    Forgotten,
    /// The store answers again.
    Recovered,
    /// The alert rule is no longer true.
    Cleared,
    /// Nothing came for a while.
    Quiet,
}

impl EndReason {
    /// The reason in words, after what is over.
    pub fn words(self) -> &'static str {
        match self {
            Self::Expired => "it ran out",
            Self::Lifted => "it was lifted",
            Self::Benign => "an analyst called it benign",
            Self::Forgotten => "the subject was forgotten",
            Self::Recovered => "the store answers again",
            Self::Cleared => "the rule is no longer true",
            Self::Quiet => "nothing more came",
        }
    }
}

/// Whether an event ends groups, and never opens one.
pub(crate) fn ends_group(event: &Event) -> bool {
    match event.kind {
        EventType::BanExpired
        | EventType::BanLifted
        | EventType::SubjectForgotten
        | EventType::StoreRecovered
        | EventType::FeedbackGiven => true,
        EventType::AlertRule => facts::is_cleared(event),
        _ => false,
    }
}

/// The rule that an event belongs to. All that a detector led to is one: the finding, the event that reports that it
/// is high, the throttle and the ban. So is all about the spend of a key. An emergency hook belongs to what it was
/// called for.
pub(crate) fn rule(event: &Event) -> String {
    let by_detector = matches!(
        event.kind,
        EventType::Anomaly(_)
            | EventType::HighSeverityAnomaly
            | EventType::Throttled
            | EventType::TemporaryBan
            | EventType::PermanentBan
    );
    let detector = facts::present(&event.detector);
    let rule = match (event.kind, detector.filter(|_| by_detector)) {
        (EventType::SpendAnomaly | EventType::KeyCutOff, _) => SPEND.to_owned(),
        (EventType::EmergencyHook, _) => called_for(event),
        (EventType::AlertRule, _) => alert_rule(event),
        (_, Some(detector)) => detector.to_owned(),
        (kind, None) => kind.name().to_lowercase(),
    };
    one_line(&rule, MAX_RULE)
}

/// What an emergency hook was called for, as its event says since hooks are called for more than spend.
fn called_for(event: &Event) -> String {
    event.read().map_or_else(|| SPEND.to_owned(), |called: EmergencyHookCalled| called.rule)
}

/// An alert rule as it is configured, of each window and model apart: a threshold that is computed is another one each
/// hour.
fn alert_rule(event: &Event) -> String {
    let kind = event.kind.name().to_lowercase();
    let Some(fired) = event.read::<AlertRuleFired>() else { return kind };
    let window = fired.window.map_or_else(String::new, |window| format!(" in {}", wire_name(&window)));
    let model = fired.model.as_ref().map_or_else(String::new, |model| format!(" of {model}"));
    let (metric, operator) =
        (format!("{}{window}{model}", wire_name(&fired.metric)), wire_name(&fired.operator));
    match (fired.times_baseline, fired.threshold) {
        (Some(times), _) => {
            let times = times.text();
            let times = times.strip_suffix(".0").unwrap_or(&times);
            format!("{kind} {metric} {operator} {times}x baseline {}", wire_name(&fired.scope))
        }
        (None, Some(threshold)) => format!("{kind} {metric} {operator} {threshold}"),
        (None, None) => format!("{kind} {metric} {operator}"),
    }
}

/// The name that a group goes by wherever it is sent: at most 255 bytes, the same as long as rule and subject are.
pub(crate) fn dedup_key(rule: &str, subject: Option<&Subject>) -> String {
    let key = format!("keyward:{rule}:{}", subject.map_or("", Subject::as_str));
    if key.len() <= MAX_KEY { key } else { format!("keyward:{}", digest(&key, 32)) }
}

/// So many bytes of the SHA-256 of a text, in hex.
pub(crate) fn digest(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::finding::{AnomalyKind, Severity};

    #[test]
    fn what_a_detector_led_to_is_one_rule_and_what_a_person_did_another() {
        let mut event =
            Event::new(0, EventType::Anomaly(AnomalyKind::ImpossibleTravel), Severity::High, None);
        event.detector = Some("impossible_travel".to_owned());
        assert_eq!(rule(&event), "impossible_travel");
        event.kind = EventType::TemporaryBan;
        assert_eq!(rule(&event), "impossible_travel");
        event.detector = Some("operator".to_owned());
        assert_eq!(rule(&event), "operator");
        event.kind = EventType::RateLimitExceeded;
        assert_eq!(rule(&event), "rate_limit_exceeded");
        event.kind = EventType::AlertRule;
        event.evidence = json!({
            "summary": "", "start": "2026-03-02T09:00:00.000Z", "metric": "cost_per_hour", "operator": "gt",
            "threshold": "10", "scope": "project",
        })
        .into();
        assert_eq!(rule(&event), "alert_rule cost_per_hour gt 10");
    }

    #[test]
    fn a_hook_belongs_to_what_it_was_called_for() {
        let mut event = Event::new(0, EventType::EmergencyHook, Severity::High, None);
        event.detector = Some("hook:rotate".to_owned());
        assert_eq!(rule(&event), SPEND, "as earlier versions wrote it");
        event.evidence = json!({
            "summary": "", "outcome": "taken", "request": "rotate", "sink": "rotate", "event": "e0-1",
            "cause": "TEMPORARY_BAN", "rule": "impossible_travel",
        })
        .into();
        assert_eq!(rule(&event), "impossible_travel");
    }

    #[test]
    fn windows_and_models_of_a_rule_are_groups_of_their_own_and_a_cleared_one_ends_its_group() {
        let mut event = Event::new(0, EventType::AlertRule, Severity::High, None);
        let mut of = |window: &str, model: &str, state: &str| {
            event.evidence = json!({
                "summary": "", "start": "2026-03-02T09:00:00.000Z", "metric": "cost", "operator": "gt",
                "threshold": "5", "scope": "model", "window": window, "model": model, "state": state,
            })
            .into();
            (rule(&event), ends_group(&event))
        };
        let fired = of("5min", "gpt-4.1", "firing");
        assert_eq!(fired, ("alert_rule cost in 5min of gpt-4.1 gt 5".to_owned(), false));
        assert_eq!(of("5min", "gpt-4.1", "cleared"), (fired.0.clone(), true));
        assert_ne!(of("1hour", "gpt-4.1", "firing").0, fired.0);
        assert_ne!(of("5min", "o3", "firing").0, fired.0);
    }

    #[test]
    fn a_rule_by_a_baseline_is_the_same_each_hour() {
        let mut event = Event::new(0, EventType::AlertRule, Severity::High, None);
        for (times, threshold) in [(json!(3.0), "0.75"), (json!(3), "0.81")] {
            event.evidence = json!({
                "summary": "", "start": "2026-03-02T09:00:00.000Z", "metric": "cost_per_hour", "operator": "gt",
                "threshold": threshold, "baseline": "0.25",
                "times_baseline": times, "scope": "project",
            }).into();
            assert_eq!(rule(&event), "alert_rule cost_per_hour gt 3x baseline project");
        }
    }

    #[test]
    fn a_key_fits_wherever_it_goes_and_long_ones_stay_apart() {
        let subject = Subject::key("k1:9f2c");
        assert_eq!(dedup_key("impossible_travel", Some(&subject)), "keyward:impossible_travel:key:k1:9f2c");
        let long = |id: char| dedup_key(&"漢".repeat(80), Some(&Subject::key(&id.to_string().repeat(256))));
        assert!(long('a').len() <= MAX_KEY && long('a') != long('b'));
    }
}
