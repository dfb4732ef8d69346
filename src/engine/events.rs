//! How the engine words its events.

use crate::{
    domain::{
        Millis,
        actor::Actor,
        alert::{AlertRule, Bar, Fired, Watched},
        decision::{Action, Reason, Would},
        event::{Event, EventType, format_millis},
        finding::{Finding, Severity},
        ladder,
        record::Record,
        spend::{Judgement, Sign},
        stable_hash,
        standing::{Origin, Standing, StandingDetail, StandingState},
        subject::Subject,
        wording::list,
    },
    store::{DeadLetterAct, DocumentKind},
};

/// Most dead letters that an event names.
const MOST_NAMED: usize = 100;

/// An alert rule fired: of a project, key or model, or of everything. Models are no subjects.
pub fn alert(rule: &AlertRule, name: Option<&str>, fired: &Fired, start: Millis, now: Millis) -> Event {
    let mut event = of_rule(rule, start, now);
    event.subject = match (rule.scope, name) {
        (Watched::Project, Some(name)) => Some(Subject::project(name)),
        (Watched::Key, Some(name)) => Some(Subject::key(name)),
        _ => None,
    };
    event.key_id = name.filter(|_| rule.scope == Watched::Key).map(str::to_owned);
    let model = name.filter(|_| rule.scope == Watched::Model);
    let whose = match (&event.subject, model) {
        (Some(subject), _) => subject.to_string(),
        (None, Some(model)) => format!("model {model}"),
        (None, None) => "all requests".to_owned(),
    };
    let metric = event.evidence["metric"].as_str().unwrap_or_default();
    let Fired { observed, threshold, .. } = fired;
    let bar = match (&rule.bar, &fired.baseline) {
        (Bar::TimesBaseline(_), Some((mean, weeks))) => {
            format!("the rule's threshold is {threshold}, from a mean of {mean} over {weeks} weeks")
        }
        _ => format!("the rule's threshold is {threshold}"),
    };
    event.evidence["summary"] = format!("{metric} of {whose} is {observed}; {bar}.").into();
    event.evidence["observed"] = observed.as_str().into();
    event.evidence["threshold"] = threshold.as_str().into();
    if let Some((mean, weeks)) = &fired.baseline {
        event.evidence["baseline"] = mean.as_str().into();
        event.evidence["samples"] = (*weeks).into();
    }
    if let Some(model) = model {
        event.evidence["model"] = model.into();
    }
    event
}

/// An alert rule fires at more than it tells of.
pub fn crowd(rule: &AlertRule, most: usize, start: Millis, now: Millis) -> Event {
    let mut event = of_rule(rule, start, now);
    let metric = event.evidence["metric"].as_str().unwrap_or_default();
    let of = if rule.scope == Watched::Key { "keys" } else { "names" };
    event.evidence["summary"] =
        format!("{metric} fires at more than {most} {of}; GET /v1/usage has the others.").into();
    event.evidence["more_than"] = most.into();
    event
}

/// What tells a rule apart from others, as long as nothing in it is changed.
pub fn rule_id(rule: &AlertRule) -> String {
    let written = serde_json::to_string(rule).unwrap_or_default();
    format!("{:016x}", stable_hash(written.as_bytes()))
}

fn of_rule(rule: &AlertRule, start: Millis, now: Millis) -> Event {
    let mut evidence = serde_json::json!({
        "metric": rule.metric, "operator": rule.operator, "start": format_millis(start), "scope": rule.scope,
        "rule": rule_id(rule),
    });
    if let Bar::TimesBaseline(times) = &rule.bar {
        evidence["times_baseline"] = serde_json::json!(times);
    }
    let event = Event::new(now, EventType::AlertRule, rule.severity, None);
    Event { evidence, action: Some("alert".to_owned()), detector: Some("alerts".to_owned()), ..event }
}

/// A key's day is unusual, as it stood at `at`.
pub fn spend_anomaly(
    subject: &Subject,
    found: &Judgement,
    day: Millis,
    at: Millis,
    policy: &str,
    now: Millis,
) -> Event {
    let amount = found.amount;
    let signs: Vec<_> = found.signs.iter().map(|sign| format!("{} {}", sign.name, of_sign(sign))).collect();
    let summary = format!(
        "Spent {} on {}, usually {} a day: {}.",
        amount.words(found.observed),
        &format_millis(day)[..10],
        amount.words(found.mean),
        list(&signs),
    );
    let evidence = serde_json::json!({
        "summary": summary, "day": format_millis(day), "checked_at": format_millis(at), "unit": amount.name(),
        "observed": amount.value(found.observed), "baseline": amount.value(found.mean),
        "threshold": amount.value(found.threshold), "samples": found.days,
        "yesterday": found.yesterday.map(|yesterday| amount.value(yesterday)),
        "signs": found.signs.iter().map(|sign| serde_json::json!({
            "sign": sign.name, "unit": sign.amount.name(), "observed": sign.observed.map(thousandths),
            "threshold": thousandths(sign.limit),
        })).collect::<Vec<_>>(),
    });
    Event {
        key_id: Some(subject.id().to_owned()),
        detector: Some("spend".to_owned()),
        evidence,
        action: Some("alert".to_owned()),
        policy_version: Some(policy.to_owned()),
        ..Event::new(now, EventType::SpendAnomaly, found.severity(), Some(subject.clone()))
    }
}

/// A key is cut off because its day is critical at several checks in a row: when each was, and what the day held then,
/// the newest first.
pub fn key_cut_off(
    subject: &Subject,
    found: &Judgement,
    (day, checks): (Millis, &[(Millis, u64)]),
    policy: &str,
    now: Millis,
) -> Event {
    let at = checks.first().map_or(now, |(at, _)| *at);
    let mut event = spend_anomaly(subject, found, day, at, policy, now);
    let amount = found.amount;
    let held = checks.iter().map(
        |(at, held)| serde_json::json!({ "checked_at": format_millis(*at), "observed": amount.value(*held) }),
    );
    event.evidence["checks"] = held.collect();
    event.evidence["summary"] = format!(
        "Spent {} on {}, usually {} a day; critical at {} hourly checks in a row.",
        amount.words(found.observed),
        &format_millis(day)[..10],
        amount.words(found.mean),
        checks.len(),
    )
    .into();
    Event {
        kind: EventType::KeyCutOff,
        severity: Severity::Critical,
        action: Some("permanent_ban".to_owned()),
        ..event
    }
}

/// The same where the key is left alone after all.
pub fn not_cut_off(mut event: Event, why: &str) -> Event {
    event.evidence["not_cut_off"] = why.into();
    Event { action: Some("shadow".to_owned()), ..event }
}

/// The same where the policy only observes: the key is not cut off.
pub fn cut_off_in_theory(event: Event, now: Millis) -> Event {
    let would = Some(Would::refuse(Action::PermanentBan, Reason::ApiKeyBanned, None, now));
    Event { action: Some(Action::None.name().to_owned()), would, ..event }
}

/// The ban of a key that is cut off.
pub fn banned_by_spend(cut_off: &Event, standing: &Standing) -> Event {
    let mut evidence = standing_evidence(standing);
    evidence["cause"] =
        serde_json::json!({ "anomaly": EventType::SpendAnomaly, "evidence": cut_off.evidence });
    let kind = EventType::PermanentBan;
    Event { kind, severity: ladder::response_severity(kind), evidence, ..cut_off.clone() }
}

fn of_sign(sign: &Sign) -> String {
    let observed = sign.observed.map_or_else(|| "beyond measure".to_owned(), thousandths);
    format!("{observed} (limit {})", thousandths(sign.limit))
}

/// Thousandths as a decimal.
fn thousandths(number: u64) -> String {
    let text = format!("{}.{:03}", number / 1000, number % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is kept with a standing for people.
pub fn detail(cause: &Finding, record: &Record) -> StandingDetail {
    StandingDetail {
        reason: format!("{} ({})", cause.kind.name(), cause.severity.name()),
        detector: Some(cause.kind.detector().to_owned()),
        evidence: cause.evidence.clone(),
        request_id: Some(record.request_id.to_string()),
    }
}

/// The numbers of a standing, for events.
pub fn standing_evidence(standing: &Standing) -> serde_json::Value {
    serde_json::json!({
        "since": crate::domain::event::format_millis(standing.since),
        "until": standing.until.map(crate::domain::event::format_millis),
        "strikes": (standing.strikes * 1000.0).round() / 1000.0,
        "origin": if standing.origin == Origin::Operator { "operator" } else { "detector" },
    })
}

/// What holds a subject to its standing.
pub fn action_of(standing: &Standing) -> Action {
    match standing.state {
        StandingState::Clear => Action::None,
        StandingState::Throttled => Action::Throttle,
        StandingState::TemporarilyBanned => Action::TemporaryBan,
        StandingState::PermanentlyBanned => Action::PermanentBan,
    }
}

/// An operator's act. The evidence, an object, gets `by`: who acted; nobody is known of what `replay` does again of a log
/// that does not say.
pub fn operator(
    now: Millis,
    kind: EventType,
    severity: Severity,
    subject: Option<&Subject>,
    by: Option<&Actor>,
    mut evidence: serde_json::Value,
) -> Event {
    if let Some(by) = by {
        evidence["by"] = by.as_str().into();
    }
    Event {
        detector: Some("operator".to_owned()),
        key_id: subject.filter(|s| s.as_str().starts_with("key:")).map(|s| s.id().to_owned()),
        evidence,
        ..Event::new(now, kind, severity, subject.cloned())
    }
}

/// An operator had dead letters of a sink sent again, or gave them up: so many, and which, as far as an event has room.
pub fn dead_letters(
    sink: &str,
    act: DeadLetterAct,
    (ids, count): (&[String], usize),
    by: &Actor,
    now: Millis,
) -> Event {
    let (act, done) = match act {
        DeadLetterAct::Redeliver => ("redeliver", "to be sent again"),
        DeadLetterAct::Discard => ("discard", "given up"),
    };
    let evidence = serde_json::json!({
        "summary": format!("Dead letters of the sink {sink} {done}: {count}."), "sink": sink, "act": act, "count": count,
        "events": ids.iter().take(MOST_NAMED).collect::<Vec<_>>(),
    });
    // Events that are given up do not reach whoever waits for them there.
    let severity = if act == "discard" { Severity::Medium } else { Severity::Low };
    operator(now, EventType::DeadLettersChanged, severity, None, Some(by), evidence)
}

/// The store does not answer any more, for this reason.
pub fn degraded(error: &str, now: Millis) -> Event {
    let evidence = serde_json::json!({ "error": error });
    store(now, EventType::StoreDegraded, Severity::High, evidence)
}

/// The store answers again: since when it did not, and of how many subjects there was usage meanwhile.
pub fn recovered(since: Millis, reconciled: usize, now: Millis) -> Event {
    let evidence = serde_json::json!({
        "since": format_millis(since), "seconds": (now - since) / 1000, "subjects_reconciled": reconciled,
    });
    store(now, EventType::StoreRecovered, Severity::Medium, evidence)
}

/// A document was written again that the store had lost.
pub fn restored(kind: DocumentKind, name: &str, now: Millis) -> Event {
    let evidence = serde_json::json!({
        "document": kind.name(), "name": name, "reason": "re-asserted: the store had lost it",
    });
    store(now, EventType::PolicyChanged, Severity::Medium, evidence)
}

fn store(now: Millis, kind: EventType, severity: Severity, evidence: serde_json::Value) -> Event {
    Event { detector: Some("store".to_owned()), evidence, ..Event::new(now, kind, severity, None) }
}
