//! What an event is called, and the sentence that tells it.

use std::borrow::Cow;

use super::{facts, text::one_line};
use crate::domain::{
    event::{
        BanLifted, Event, EventGap, EventType, EvidenceAmount, FeedbackGiven, HighSeverityAnomaly,
        PolicyChanged, ProjectMismatch, RateLimitExceeded, StandingChanged, StoreDegraded, StoreRecovered,
        Verdict, format_millis,
    },
    finding::AnomalyKind,
    window::Unit,
    wording::whole,
};

/// The longest message, in characters: what CEF's `msg` holds, and less than Elasticsearch's `ignore_above` of 1,024.
pub(crate) const LONGEST_MESSAGE: usize = 1023;

/// The name of a type of event. It says nothing about the single event, so that SIEMs can group by it.
pub(crate) fn title(kind: EventType) -> &'static str {
    match kind {
        EventType::Anomaly(anomaly) => anomaly_title(anomaly),
        EventType::HighSeverityAnomaly => "High-severity anomaly",
        EventType::BannedRequestBlocked => "Request of a banned subject refused",
        EventType::RateLimitExceeded => "Rate limit exceeded",
        EventType::KeyNotAllowed => "Request not allowed for its key",
        EventType::UnknownKey => "Unregistered key refused",
        EventType::Throttled => "Throttled",
        EventType::TemporaryBan => "Temporary ban",
        EventType::PermanentBan => "Permanent ban",
        EventType::KeySpared => "Key spared by a ban of its address",
        EventType::BanLifted => "Ban lifted",
        EventType::BanExpired => "Ban expired",
        EventType::PolicyChanged => "Policy changed",
        EventType::FeedbackGiven => "Verdict given on an event",
        EventType::SubjectForgotten => "Subject forgotten",
        EventType::ProjectMismatch => "Key used with another project",
        EventType::BudgetUsed => "Budget used",
        EventType::LimitUsed => "Limit used",
        EventType::AlertRule => "Alert rule fired",
        EventType::CardinalityCapped => "Too many new subjects",
        EventType::EventGap => "Security events lost",
        EventType::EmergencyHook => "Emergency hook called",
        EventType::SinkTest => "Test of a sink",
        EventType::DeadLettersChanged => "Dead letters changed",
        EventType::SpendAnomaly => "Unusual spend of a day",
        EventType::KeyCutOff => "Key cut off",
        EventType::ProviderCredentialRefused => "Provider refuses the gateway's key",
        EventType::UsageMismatch => "Bill differs from the ledger",
        EventType::StoreDegraded => "Store does not answer",
        EventType::StoreRecovered => "Store answers again",
        EventType::ClockJumped => "Clock jumped",
        EventType::DataMissing => "Data of the store missing",
        EventType::AnswersDegraded => "Answers given without the store",
        EventType::UpkeepFailed => "Upkeep does not get done",
    }
}

/// What an event is called: as its type is, but for an alert rule that is no longer true.
pub(crate) fn event_title(event: &Event) -> &'static str {
    if facts::is_cleared(event) { "Alert rule cleared" } else { title(event.kind) }
}

/// The name of an event: its title, and whether it was enforced.
pub(crate) fn name(event: &Event) -> Cow<'static, str> {
    let title = event_title(event);
    if event.would.is_some() { format!("{title} (not enforced)").into() } else { title.into() }
}

/// The name of an anomaly, which is also that of its detector.
pub(crate) fn anomaly_title(kind: AnomalyKind) -> &'static str {
    match kind {
        AnomalyKind::ImpossibleTravel => "Impossible travel",
        AnomalyKind::ConcurrentLocations => "Concurrent locations",
        AnomalyKind::NewLocation => "New location",
        AnomalyKind::TrafficBurst => "Traffic burst",
        AnomalyKind::RequestSizeAnomaly => "Unusual request size",
        AnomalyKind::HighFailureRate => "High failure rate",
        AnomalyKind::CredentialStuffing => "Credential stuffing",
        AnomalyKind::BehavioralDrift => "Behavioral drift",
        AnomalyKind::EndpointScan => "Endpoint scan",
        AnomalyKind::TokenUsageSpike => "Token usage spike",
        AnomalyKind::CostSpike => "Cost spike",
        AnomalyKind::CanaryKeyUsed => "Canary key used",
    }
}

/// What happened, in a sentence: the evidence's own where it has one.
pub(crate) fn message(event: &Event) -> String {
    let sentence = match event.evidence.finding().summary {
        Some(summary) => summary.to_owned(),
        None => composed(event),
    };
    let mode = if event.would.is_some() { "Not enforced: " } else { "" };
    one_line(&format!("{mode}{sentence}"), LONGEST_MESSAGE)
}

/// `Temporary ban of key:k1:9f2c41d07be5a8c3 until 2026-03-02T10:00:00.000Z: Used in Bucharest ...`
fn composed(event: &Event) -> String {
    let mut text = event_title(event).to_owned();
    if let Some(subject) = &event.subject {
        text.push_str(if is_act(event.kind) { " of " } else { ": " });
        text.push_str(subject.as_str());
    }
    let ban = matches!(event.kind, EventType::TemporaryBan | EventType::Throttled);
    if let Some(until) = event.evidence.until().filter(|_| ban) {
        text.push_str(" until ");
        text.push_str(&format_millis(until));
    }
    match detail(event) {
        Some(detail) => format!("{text}: {detail}"),
        None => format!("{text}."),
    }
}

fn is_act(kind: EventType) -> bool {
    matches!(kind, EventType::TemporaryBan | EventType::PermanentBan)
}

/// What the evidence adds, by what each type has.
fn detail(event: &Event) -> Option<String> {
    match event.kind {
        EventType::FeedbackGiven => event.read().map(|word: FeedbackGiven| verdict(word.verdict, &word.note)),
        EventType::RateLimitExceeded => event.read().and_then(limit),
        EventType::HighSeverityAnomaly => event.read().map(worst),
        EventType::PolicyChanged => event.read().map(document),
        EventType::ProjectMismatch => event.read().map(projects),
        EventType::StoreDegraded => event.read().map(|store: StoreDegraded| store.error),
        EventType::StoreRecovered => {
            event.read().map(|store: StoreRecovered| format!("after {} seconds.", store.seconds))
        }
        EventType::EventGap => {
            event.read().and_then(|gap: EventGap| Some(format!("{} events.", gap.lost_events?)))
        }
        EventType::BanLifted => event.read().map(|lifted: BanLifted| match lifted.verdict {
            Some(word) => verdict(word, ""),
            None => lifted.reason,
        }),
        EventType::Throttled | EventType::TemporaryBan | EventType::PermanentBan => {
            event.read().and_then(cause)
        }
        _ => event.evidence.reason().map(str::to_owned),
    }
    .filter(|detail| !detail.is_empty())
}

/// The sentence of the finding that led to a ban or throttle, or the words of the person who acted.
fn cause(changed: StandingChanged) -> Option<String> {
    let summary = changed.cause.as_ref().and_then(|cause| cause.evidence.finding().summary);
    summary.map(str::to_owned).or(changed.reason)
}

/// `benign: the owner is in Bucharest this week`.
fn verdict(verdict: Verdict, note: &str) -> String {
    if note.is_empty() { format!("{}.", verdict.name()) } else { format!("{}: {note}", verdict.name()) }
}

/// `600 of 600 requests in 1min.`; of one request that alone is too much `0 of 50,000 tokens used in 1min, 60,000 asked
/// for.`
fn limit(exceeded: RateLimitExceeded) -> Option<String> {
    let RateLimitExceeded { window, unit, limit, used, requested_tokens, requested_cost_usd, .. } = exceeded;
    let (unit, asked) = match unit {
        Unit::CostUsd => (String::new(), Some(format!("${requested_cost_usd}"))),
        Unit::Tokens => (" tokens".to_owned(), Some(whole(requested_tokens))),
        _ => (format!(" {}", unit.name().replace('_', " ")), None),
    };
    let amount = |amount: &EvidenceAmount| match amount {
        EvidenceAmount::Text(dollars) => Some(format!("${dollars}")),
        EvidenceAmount::Number(number) => number.as_u64().map(whole),
    };
    let (used, limit) = (amount(&used)?, amount(&limit)?);
    match asked.filter(|_| used != limit) {
        Some(asked) => Some(format!("{used} of {limit}{unit} used in {window}, {asked} asked for.")),
        None => Some(format!("{used} of {limit}{unit} in {window}.")),
    }
}

/// `IMPOSSIBLE_TRAVEL. Ask the key's owner ...`
fn worst(found: HighSeverityAnomaly) -> String {
    format!("{}. {}", found.anomaly.name(), found.recommendation)
}

/// What a person changed: `plan free.`, `p-77aa10ce, was p-3f9c2b1a.`; or why the service did.
fn document(changed: PolicyChanged) -> String {
    match changed {
        PolicyChanged::Restored { reason, .. } => reason,
        PolicyChanged::Registry { document, name, .. } => format!("{document} {name}."),
        PolicyChanged::Allowlist { allowlist, .. } => format!("allowlist {allowlist}."),
        PolicyChanged::Policy { version, former_version, .. } => format!("{version}, was {former_version}."),
    }
}

/// `registered for shop, reported with mail.`
fn projects(mismatch: ProjectMismatch) -> String {
    let name = |project: Option<String>| project.unwrap_or_else(|| "no project".to_owned());
    format!("registered for {}, reported with {}.", name(mismatch.registered), name(mismatch.reported))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn a_limit_says_what_was_asked_for_where_some_of_it_was_left() {
        let said = |unit: &str, limit: Value, used: Value| {
            let evidence = json!({
                "window": "1min", "unit": unit, "limit": limit, "used": used, "requested_tokens": 60_000,
                "requested_cost_usd": "0.6",
            });
            super::limit(serde_json::from_value(evidence).unwrap()).unwrap()
        };
        let words = "0 of 50,000 tokens used in 1min, 60,000 asked for.";
        assert_eq!(said("tokens", json!(50_000), json!(0)), words);
        assert_eq!(said("tokens", json!(50_000), json!(50_000)), "50,000 of 50,000 tokens in 1min.");
        let words = "$9.5 of $10 used in 1min, $0.6 asked for.";
        assert_eq!(said("cost_usd", json!("10"), json!("9.5")), words);
        assert_eq!(said("requests", json!(600), json!(600)), "600 of 600 requests in 1min.");
        assert_eq!(said("input_tokens", json!(600), json!(5)), "5 of 600 input tokens in 1min.");
    }
}
