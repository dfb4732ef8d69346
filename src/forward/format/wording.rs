//! What an event is called, and the sentence that tells it.

use serde_json::Value;

use super::{facts, text::one_line};
use crate::domain::{
    event::{Event, EventType},
    finding::AnomalyKind,
    wording::whole,
};

/// The longest message, in characters: what CEF's `msg` holds, and less than Elasticsearch's `ignore_above` of 1,024.
pub const LONGEST_MESSAGE: usize = 1023;

/// The name of a type of event. It says nothing about the single event, so that SIEMs can group by it.
pub fn title(kind: EventType) -> &'static str {
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
        EventType::AlertRule => "Alert rule fired",
        EventType::CardinalityCapped => "Too many new subjects",
        EventType::EventGap => "Security events lost",
        EventType::EmergencyHook => "Emergency hook called",
        EventType::SinkTest => "Test of a sink",
        EventType::DeadLettersChanged => "Dead letters changed",
        EventType::SpendAnomaly => "Unusual spend of a day",
        EventType::KeyCutOff => "Key cut off",
        EventType::StoreDegraded => "Store does not answer",
        EventType::StoreRecovered => "Store answers again",
    }
}

/// The name of an anomaly, which is also that of its detector.
pub fn anomaly_title(kind: AnomalyKind) -> &'static str {
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
    }
}

/// What happened, in a sentence: the evidence's own where it has one.
pub fn message(event: &Event) -> String {
    let sentence = match facts::word(&event.evidence, "summary") {
        Some(summary) => summary.to_owned(),
        None => composed(event),
    };
    one_line(&sentence, LONGEST_MESSAGE)
}

/// `Temporary ban of key:k1:9f2c41d07be5a8c3 until 2026-03-02T10:00:00.000Z: Used in Bucharest ...`
fn composed(event: &Event) -> String {
    let mut text = title(event.kind).to_owned();
    if let Some(subject) = &event.subject {
        text.push_str(if is_act(event.kind) { " of " } else { ": " });
        text.push_str(subject.as_str());
    }
    let ban = matches!(event.kind, EventType::TemporaryBan | EventType::Throttled);
    if let Some(until) = facts::word(&event.evidence, "until").filter(|_| ban) {
        text.push_str(" until ");
        text.push_str(until);
    }
    match detail(&event.evidence) {
        Some(detail) => format!("{text}: {detail}"),
        None => format!("{text}."),
    }
}

fn is_act(kind: EventType) -> bool {
    matches!(kind, EventType::TemporaryBan | EventType::PermanentBan)
}

/// What the evidence adds, by what each kind of it has.
fn detail(evidence: &Value) -> Option<String> {
    let said = |value: &Value, name: &str| facts::word(value, name).map(str::to_owned);
    said(&evidence["cause"]["evidence"], "summary")
        .or_else(|| verdict(evidence))
        .or_else(|| said(evidence, "reason"))
        .or_else(|| said(evidence, "error"))
        .or_else(|| limit(evidence))
        .or_else(|| worst(evidence))
        .or_else(|| document(evidence))
        .or_else(|| projects(evidence))
        .or_else(|| service(evidence))
}

/// `benign: the owner is in Bucharest this week`.
fn verdict(evidence: &Value) -> Option<String> {
    let verdict = facts::word(evidence, "verdict")?;
    let note = facts::word(evidence, "note").map_or_else(|| ".".to_owned(), |note| format!(": {note}"));
    Some(format!("{verdict}{note}"))
}

/// `600 of 600 requests in 1min.`; of one request that alone is too much `0 of 50,000 tokens used in 1min, 60,000 asked
/// for.`
fn limit(evidence: &Value) -> Option<String> {
    let (unit, window) = (facts::shown(&evidence["unit"])?, facts::shown(&evidence["window"])?);
    let (unit, asked) = match unit.as_str() {
        "cost_usd" => (String::new(), "requested_cost_usd"),
        "tokens" => (" tokens".to_owned(), "requested_tokens"),
        _ => (format!(" {}", unit.replace('_', " ")), ""),
    };
    let amount = |name: &str| match &evidence[name] {
        Value::String(dollars) => Some(format!("${dollars}")),
        number => number.as_u64().map(whole),
    };
    let (used, limit) = (amount("used")?, amount("limit")?);
    match amount(asked).filter(|_| used != limit) {
        Some(asked) => Some(format!("{used} of {limit}{unit} used in {window}, {asked} asked for.")),
        None => Some(format!("{used} of {limit}{unit} in {window}.")),
    }
}

/// `IMPOSSIBLE_TRAVEL. Ask the key's owner ...`
fn worst(evidence: &Value) -> Option<String> {
    let anomaly = facts::word(evidence, "anomaly")?;
    Some(format!("{anomaly}. {}", facts::word(evidence, "recommendation").unwrap_or_default()))
}

/// What a person changed: `plan free.`, `p-77aa10ce, was p-3f9c2b1a.`
fn document(evidence: &Value) -> Option<String> {
    let word = |name: &str| facts::word(evidence, name);
    let named = word("document").zip(word("name")).map(|(kind, name)| format!("{kind} {name}."));
    named.or_else(|| word("allowlist").map(|entry| format!("allowlist {entry}."))).or_else(|| {
        word("version").zip(word("former_version")).map(|(new, old)| format!("{new}, was {old}."))
    })
}

/// `registered for shop, reported with mail.`
fn projects(evidence: &Value) -> Option<String> {
    let (registered, reported) = (evidence.get("registered")?, evidence.get("reported")?);
    let name = |project: &Value| project.as_str().unwrap_or("no project").to_owned();
    Some(format!("registered for {}, reported with {}.", name(registered), name(reported)))
}

/// `3 events.`, `after 41 seconds.`
fn service(evidence: &Value) -> Option<String> {
    let lost = evidence["lost_events"].as_u64().map(|lost| format!("{lost} events."));
    lost.or_else(|| evidence["seconds"].as_u64().map(|seconds| format!("after {seconds} seconds.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_limit_says_what_was_asked_for_where_some_of_it_was_left() {
        let said = |unit: &str, limit: Value, used: Value| {
            let evidence = json!({
                "window": "1min", "unit": unit, "limit": limit, "used": used, "requested_tokens": 60_000,
                "requested_cost_usd": "0.6",
            });
            super::limit(&evidence).unwrap()
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
