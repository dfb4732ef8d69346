//! How the engine words its events.

use crate::{
    domain::{
        Millis,
        actor::Actor,
        alert::{AlertRule, Bar, Fired, Watched},
        decision::LimitStatus,
        event::{Event, EventType, format_millis},
        finding::{Finding, Severity},
        ladder,
        money::Usd,
        place::Place,
        quota::Scope,
        record::Record,
        registry::{Applied, NotAllowed},
        spend::{Judgement, Sign},
        stable_hash,
        standing::{Origin, Standing, StandingDetail, StandingState},
        subject::Subject,
        window::Unit,
        wording::list,
    },
    store::DeadLetterAct,
};

/// Most dead letters that an event names.
const MOST_NAMED: usize = 100;

/// What every event about one request has.
pub struct Frame<'a> {
    /// The request.
    pub record: &'a Record,
    /// Where from.
    pub place: Option<&'a Place>,
    /// The policy that judged.
    pub policy_version: &'a str,
    /// When.
    pub now: Millis,
}

impl Frame<'_> {
    fn event(&self, kind: EventType, severity: Severity, subject: &Subject, detector: &str) -> Event {
        Event {
            key_id: Some(self.record.key_id.to_string()),
            source_ip: Some(self.record.source_ip.to_string()),
            place: self.place.map(Place::summary),
            detector: Some(detector.to_owned()),
            request_id: Some(self.record.request_id.to_string()),
            policy_version: Some(self.policy_version.to_owned()),
            ..Event::new(self.now, kind, severity, Some(subject.clone()))
        }
    }

    /// A detector's finding.
    pub fn anomaly(&self, finding: &Finding, subject: &Subject, action: &str) -> Event {
        let kind = EventType::Anomaly(finding.kind);
        Event {
            evidence: finding.evidence.clone(),
            action: Some(if finding.is_enforced() { action } else { "shadow" }.to_owned()),
            ..self.event(kind, finding.severity, subject, finding.kind.detector())
        }
    }

    /// Tells the owner of a key that somebody has wrong credentials in its name. Nothing is held against the key.
    pub fn warning(&self, finding: &Finding) -> Event {
        Event { severity: Severity::Medium, ..self.anomaly(finding, &self.record.key, "alert") }
    }

    /// The one type to alert on, beside the anomaly itself.
    pub fn high_severity(&self, finding: &Finding, subject: &Subject, action: &str) -> Event {
        let evidence = serde_json::json!({ "anomaly": finding.kind, "score": finding.score, "recommendation": finding.recommendation });
        Event { kind: EventType::HighSeverityAnomaly, evidence, ..self.anomaly(finding, subject, action) }
    }

    /// A response of the ladder.
    pub fn response(
        &self,
        kind: EventType,
        subject: &Subject,
        standing: &Standing,
        cause: &Finding,
    ) -> Event {
        let mut evidence = standing_evidence(standing);
        evidence["cause"] = serde_json::json!({ "anomaly": cause.kind, "evidence": cause.evidence });
        Event {
            evidence,
            action: Some(action_of(standing).to_owned()),
            ..self.event(kind, ladder::response_severity(kind), subject, cause.kind.detector())
        }
    }

    /// A request of a banned subject.
    pub fn blocked(&self, subject: &Subject, standing: &Standing) -> Event {
        Event {
            evidence: standing_evidence(standing),
            action: Some(action_of(standing).to_owned()),
            ..self.event(EventType::BannedRequestBlocked, Severity::Low, subject, "ladder")
        }
    }

    /// A ban of an address leaves a key alone that has long succeeded from there.
    pub fn spared(&self, address: &Subject, ban: &Standing) -> Event {
        let until = ban.until.map(format_millis);
        let summary =
            format!("The ban of {address} spares {}, which has long succeeded from there.", self.record.key);
        let evidence = serde_json::json!({
            "summary": summary, "key": self.record.key, "banned_since": format_millis(ban.since), "banned_until": until,
        });
        Event {
            evidence,
            action: Some("none".to_owned()),
            ..self.event(EventType::KeySpared, Severity::Low, address, "ladder")
        }
    }

    /// A request that a limit refused.
    pub fn limited(&self, limit: &LimitStatus) -> Event {
        let amount = |amount: u64| -> serde_json::Value {
            if limit.unit == Unit::CostUsd { Usd(amount).to_string().into() } else { amount.into() }
        };
        let evidence = serde_json::json!({
            "scope": limit.scope, "model": limit.model, "window": limit.window.to_string(), "unit": limit.unit.name(),
            "limit": amount(limit.limit), "used": amount(limit.used), "requested_tokens": self.record.tokens,
            "requested_cost_usd": Usd(self.record.cost().nanos).to_string(),
        });
        Event {
            evidence,
            action: Some("throttle".to_owned()),
            ..self.event(EventType::RateLimitExceeded, Severity::Medium, &self.record.key, "limits")
        }
    }

    /// So many thousandths of a budget are used. Told of whom the budget is; of everything: of nobody.
    pub fn budget_used(&self, applied: &Applied, used: u64, mark: u64, severity: Severity) -> Event {
        let limit = &applied.rule.limit;
        let (percent, most) = (mark / 10, Usd(limit.most));
        let evidence = serde_json::json!({
            "summary": format!("{percent} % of ${most} per {} are used: ${}.", limit.span, Usd(used)),
            "percent": percent, "limit_usd": most.to_string(), "used_usd": Usd(used).to_string(),
            "window": limit.span.to_string(), "model": limit.model, "scope": applied.counter.scope.as_str(),
        });
        let subject = match &applied.counter.scope {
            Scope::Subject(subject) => Some(subject.clone()),
            Scope::Everything => None,
        };
        let event = self.event(EventType::BudgetUsed, severity, &self.record.key, "budgets");
        Event { evidence, action: Some("alert".to_owned()), subject, ..event }
    }

    /// A request that its key may not make. Keys that nobody registered are told by their address, so that a flood of
    /// made-up ones is folded.
    pub fn not_allowed(&self, refusal: NotAllowed) -> Event {
        let words = refusal.words();
        let evidence = serde_json::json!({
            "summary": format!("Refused: {words}."), "cause": refusal.name(), "endpoint": self.record.endpoint,
            "model": self.record.model, "project": self.record.project.as_ref().map(Subject::id),
        });
        let unknown = refusal == NotAllowed::UnknownKey;
        let subject = if unknown { &self.record.address } else { &self.record.key };
        let (kind, severity) = match unknown {
            true => (EventType::UnknownKey, Severity::Low),
            false => (EventType::KeyNotAllowed, Severity::Medium),
        };
        Event { evidence, action: Some("none".to_owned()), ..self.event(kind, severity, subject, "registry") }
    }

    /// A record that names another project than the one that its key is registered to.
    pub fn mismatch(&self, registered: Option<&Subject>) -> Event {
        let evidence = serde_json::json!({
            "registered": registered.map(Subject::id), "reported": self.record.project.as_ref().map(Subject::id),
        });
        let (kind, severity) = (EventType::ProjectMismatch, Severity::Medium);
        Event {
            evidence,
            action: Some("none".to_owned()),
            ..self.event(kind, severity, &self.record.key, "registry")
        }
    }

    /// New subjects came faster than the cap.
    pub fn capped(&self) -> Event {
        self.event(EventType::CardinalityCapped, Severity::Medium, &self.record.address, "limits")
    }
}

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

fn action_of(standing: &Standing) -> &'static str {
    match standing.state {
        StandingState::Clear => "none",
        StandingState::Throttled => "throttle",
        StandingState::TemporarilyBanned => "temporary_ban",
        StandingState::PermanentlyBanned => "permanent_ban",
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

/// Something about the store.
pub fn store(now: Millis, kind: EventType, severity: Severity, evidence: serde_json::Value) -> Event {
    Event { detector: Some("store".to_owned()), evidence, ..Event::new(now, kind, severity, None) }
}
