//! How the engine words its events.

use crate::{
    domain::{
        Millis, SECOND,
        actor::Actor,
        alert::{Alert, AlertRule, AlertState, Bar, Fired, Watched},
        decision::{Action, Reason, Would},
        event::{
            AlertRuleFired, BudgetUsed, Cause, DeadLetterAct, DeadLettersChanged, Event, EventGap, EventType,
            EvidenceAmount, KeyCutOff, LimitUsed, PolicyChanged, SpendAnomaly, SpendCheck, SpendSign,
            StandingChanged, StoreDegraded, StoreRecovered, format_millis, wire_name,
        },
        finding::{Finding, Severity},
        ladder,
        limit::{Limit, WHOLE_PERCENT},
        money::Usd,
        record::Record,
        registry::Applied,
        spend::{CheckInterval, Judgement, Sign},
        stable_hash,
        standing::{Standing, StandingDetail, StandingState},
        subject::Subject,
        window::Unit,
        wording::{list, whole},
    },
    store::DocumentKind,
};

/// Most dead letters that an event names.
const MOST_NAMED: usize = 100;

/// An alert rule fired: of a project, key or model, or of everything. Models are no subjects.
pub(super) fn alert(
    rule: &AlertRule,
    name: Option<&str>,
    fired: &Fired,
    start: Millis,
    now: Millis,
) -> Event {
    let whose = whose(rule, name);
    let Fired { observed, threshold, baseline } = fired;
    let bar = match (&rule.bar, baseline) {
        (Bar::TimesBaseline(_), Some((mean, weeks))) => {
            format!("the rule's threshold is {threshold}, from a mean of {mean} over {weeks} weeks")
        }
        _ => format!("the rule's threshold is {threshold}"),
    };
    let details = AlertRuleFired {
        summary: format!("{} of {whose} is {observed}; {bar}.", wire_name(&rule.metric)),
        observed: Some(observed.clone()),
        threshold: Some(threshold.clone()),
        baseline: baseline.as_ref().map(|(mean, _)| mean.clone()),
        samples: baseline.as_ref().map(|(_, weeks)| *weeks),
        ..of_rule(rule, start)
    };
    by_rule_about(rule, name, details, now)
}

/// An alert rule is no longer true of whom it fired at.
pub(super) fn alert_cleared(rule: &AlertRule, name: Option<&str>, alert: &Alert, now: Millis) -> Event {
    let (metric, whose, threshold) = (wire_name(&rule.metric), whose(rule, name), &alert.threshold);
    let details = AlertRuleFired {
        summary: format!(
            "{metric} of {whose} is no longer what the rule fires at; its threshold was {threshold}."
        ),
        state: AlertState::Cleared,
        observed: Some(alert.observed.clone()),
        threshold: Some(threshold.clone()),
        ..of_rule(rule, alert.since)
    };
    Event { severity: Severity::Low, ..by_rule_about(rule, name, details, now) }
}

/// Whose sums they are, for people.
fn whose(rule: &AlertRule, name: Option<&str>) -> String {
    match (rule.scope, name) {
        (Watched::Project, Some(name)) => Subject::project(name).to_string(),
        (Watched::Key, Some(name)) => Subject::key(name).to_string(),
        (Watched::Model, Some(name)) => format!("model {name}"),
        (_, _) => "all requests".to_owned(),
    }
}

fn by_rule_about(rule: &AlertRule, name: Option<&str>, details: AlertRuleFired, now: Millis) -> Event {
    let named = |scope| name.filter(|_| rule.scope == scope);
    let subject = named(Watched::Project).map(Subject::project).or(named(Watched::Key).map(Subject::key));
    let details = AlertRuleFired { model: named(Watched::Model).map(str::to_owned), ..details };
    let key_id = named(Watched::Key).map(str::to_owned);
    Event { subject, key_id, ..by_rule(rule, &details, now) }
}

/// An alert rule fires at more than it tells of.
pub(super) fn crowd(rule: &AlertRule, most: usize, start: Millis, now: Millis) -> Event {
    let of = if rule.scope == Watched::Key { "keys" } else { "names" };
    let metric = wire_name(&rule.metric);
    let details = AlertRuleFired {
        summary: format!("{metric} fires at more than {most} {of}; GET /v1/usage has the others."),
        more_than: Some(most),
        ..of_rule(rule, start)
    };
    by_rule(rule, &details, now)
}

/// An event that tells that so many per cent of a limit are used: about whom the limit is on.
pub(super) fn limit_used(event: Event, applied: &Applied, used: u64, percent: u8) -> Event {
    let is_money = applied.rule.limit.unit == Unit::CostUsd;
    let (kind, detector) =
        if is_money { (EventType::BudgetUsed, "budgets") } else { (EventType::LimitUsed, "limits") };
    let severity = match percent {
        WHOLE_PERCENT.. => Severity::High,
        80.. => Severity::Medium,
        _ => Severity::Low,
    };
    let subject = applied.counter.scope.subject().cloned();
    let (action, detector) = (Some("alert".to_owned()), Some(detector.to_owned()));
    let event = Event { kind, severity, subject, action, detector, ..event };
    if is_money {
        event.with(&budget_details(applied, used, percent))
    } else {
        event.with(&limit_details(applied, used, percent))
    }
}

/// A limit was lowered to what is used of it, or below.
pub(super) fn used_up(applied: &Applied, used: u64, now: Millis) -> Event {
    limit_used(Event::new(now, EventType::LimitUsed, Severity::High, None), applied, used, WHOLE_PERCENT)
}

fn budget_details(applied: &Applied, used: u64, percent: u8) -> BudgetUsed {
    let limit = &applied.rule.limit;
    let (most, spent) = (Usd(limit.most), Usd(used));
    BudgetUsed {
        summary: used_summary(limit, used, percent, &format!("${most}"), &format!("${spent}")),
        percent: percent.into(),
        limit_usd: most.to_string(),
        used_usd: spent.to_string(),
        window: limit.span,
        model: limit.model.as_deref().map(str::to_owned),
        scope: applied.counter.scope.as_str().to_owned(),
    }
}

fn limit_details(applied: &Applied, used: u64, percent: u8) -> LimitUsed {
    let limit = &applied.rule.limit;
    let most = format!("{} {}", whole(limit.most), limit.unit.name().replace('_', " "));
    LimitUsed {
        summary: used_summary(limit, used, percent, &most, &whole(used)),
        percent: percent.into(),
        unit: limit.unit,
        limit: limit.most,
        used,
        window: limit.span,
        model: limit.model.as_deref().map(str::to_owned),
        scope: applied.counter.scope.as_str().to_owned(),
    }
}

fn used_summary(limit: &Limit, used: u64, percent: u8, most: &str, spent: &str) -> String {
    let span = limit.span;
    if percent == WHOLE_PERCENT && used < limit.most {
        format!("{most} per {span} is used up: {spent}, and a request that needs more was refused.")
    } else {
        format!("{percent} % of {most} per {span} are used: {spent}.")
    }
}

/// What tells a rule apart from others, as long as nothing in it is changed.
pub(super) fn rule_id(rule: &AlertRule) -> String {
    let written = serde_json::to_string(rule).unwrap_or_default();
    format!("{:016x}", stable_hash(written.as_bytes()))
}

fn of_rule(rule: &AlertRule, start: Millis) -> AlertRuleFired {
    let times_baseline = match &rule.bar {
        Bar::TimesBaseline(times) => Some(EvidenceAmount::Text(wire_name(times))),
        Bar::Threshold(_) => None,
    };
    AlertRuleFired {
        summary: String::new(),
        name: rule.title(),
        state: AlertState::Firing,
        metric: rule.metric,
        window: rule.window,
        operator: rule.operator,
        scope: rule.scope,
        rule: rule_id(rule),
        start,
        observed: None,
        threshold: None,
        times_baseline,
        baseline: None,
        samples: None,
        model: None,
        more_than: None,
    }
}

fn by_rule(rule: &AlertRule, details: &AlertRuleFired, now: Millis) -> Event {
    Event {
        action: Some("alert".to_owned()),
        detector: Some("alerts".to_owned()),
        ..Event::new(now, EventType::AlertRule, rule.severity, None).with(details)
    }
}

/// A key's day is unusual, as it stood at `at`.
pub(super) fn spend_anomaly(
    subject: &Subject,
    found: &Judgement,
    day: Millis,
    (at, interval): (Millis, CheckInterval),
    policy: &str,
    now: Millis,
) -> Event {
    let signs: Vec<_> = found.signs.iter().map(|sign| format!("{} {}", sign.name, of_sign(sign))).collect();
    let details = of_day(found, day, (at, interval), &list(&signs));
    let event = Event::new(now, EventType::SpendAnomaly, found.severity(), Some(subject.clone()));
    by_spend(event.with(&details), subject, policy)
}

/// What is told of an unusual day, as it stood at `at`; `shown_by`: what shows that it is.
fn of_day(
    found: &Judgement,
    day: Millis,
    (at, interval): (Millis, CheckInterval),
    shown_by: &str,
) -> SpendAnomaly {
    let amount = found.amount;
    let (spent, usual) = (amount.words(found.observed), amount.words(found.mean));
    let summary =
        format!("Spent {spent} on {}, usually {usual} a day: {shown_by}.", &format_millis(day)[..10]);
    let value = |held: u64| EvidenceAmount::of(amount.unit(), held);
    let sign = |sign: &Sign| SpendSign {
        sign: sign.name.to_owned(),
        unit: sign.amount.unit(),
        observed: sign.observed.map(thousandths),
        threshold: thousandths(sign.limit),
    };
    SpendAnomaly {
        summary,
        day,
        checked_at: at,
        interval_seconds: Some(interval.millis() / SECOND),
        unit: amount.unit(),
        observed: value(found.observed),
        baseline: value(found.mean),
        threshold: value(found.threshold),
        samples: found.days,
        yesterday: found.yesterday.map(value),
        signs: found.signs.iter().map(sign).collect(),
    }
}

fn by_spend(event: Event, subject: &Subject, policy: &str) -> Event {
    Event {
        key_id: Some(subject.id().to_owned()),
        detector: Some("spend".to_owned()),
        action: Some("alert".to_owned()),
        policy_version: Some(policy.to_owned()),
        ..event
    }
}

/// A key is cut off because its day is critical at several checks in a row: when each was, and what the day held then,
/// the newest first. `spared`: why it is left alone after all.
pub(super) fn key_cut_off(
    subject: &Subject,
    found: &Judgement,
    (day, interval, checks): (Millis, CheckInterval, &[(Millis, u64)]),
    spared: Option<&str>,
    policy: &str,
    now: Millis,
) -> Event {
    let at = checks.first().map_or(now, |(at, _)| *at);
    let amount = found.amount;
    let (spent, usual) = (amount.words(found.observed), amount.words(found.mean));
    let summary = format!(
        "Spent {spent} on {}, usually {usual} a day; critical at {} checks in a row, {} minutes apart.",
        &format_millis(day)[..10],
        checks.len(),
        interval.minutes(),
    );
    let check = |(at, held): &(Millis, u64)| SpendCheck {
        checked_at: *at,
        observed: EvidenceAmount::of(amount.unit(), *held),
    };
    let details = KeyCutOff {
        spend: SpendAnomaly { summary, ..of_day(found, day, (at, interval), "") },
        checks: checks.iter().map(check).collect(),
        not_cut_off: spared.map(str::to_owned),
    };
    let event = Event::new(now, EventType::KeyCutOff, Severity::Critical, Some(subject.clone()));
    let action = if spared.is_some() { "shadow" } else { Action::PermanentBan.name() };
    Event { action: Some(action.to_owned()), ..by_spend(event.with(&details), subject, policy) }
}

/// The same where the policy only observes: the key is not cut off.
pub(super) fn cut_off_in_theory(event: Event, now: Millis) -> Event {
    let would = Some(Would::refuse(Action::PermanentBan, Reason::ApiKeyBanned, None, now));
    Event { action: Some(Action::None.name().to_owned()), would, ..event }
}

/// The ban of a key that is cut off.
pub(super) fn banned_by_spend(cut_off: &Event, standing: &Standing) -> Event {
    let cause = Cause { anomaly: EventType::SpendAnomaly, evidence: cut_off.evidence.clone() };
    let kind = EventType::PermanentBan;
    let event = Event { kind, severity: ladder::response_severity(kind), ..cut_off.clone() };
    event.with(&StandingChanged::by_cause(standing, cause))
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
pub(super) fn detail(cause: &Finding, record: &Record) -> StandingDetail {
    StandingDetail {
        reason: format!("{} ({})", cause.kind.name(), cause.severity.name()),
        detector: Some(cause.kind.detector().to_owned()),
        evidence: cause.evidence.clone(),
        request_id: Some(record.request_id.to_string()),
    }
}

/// What holds a subject to its standing.
pub(super) fn action_of(standing: &Standing) -> Action {
    match standing.state {
        StandingState::Clear => Action::None,
        StandingState::Throttled => Action::Throttle,
        StandingState::TemporarilyBanned => Action::TemporaryBan,
        StandingState::PermanentlyBanned => Action::PermanentBan,
    }
}

/// An operator's act, to which what is told of it is added.
pub(super) fn operator(now: Millis, kind: EventType, severity: Severity, subject: Option<&Subject>) -> Event {
    Event {
        detector: Some("operator".to_owned()),
        key_id: subject.filter(|s| s.as_str().starts_with("key:")).map(|s| s.id().to_owned()),
        ..Event::new(now, kind, severity, subject.cloned())
    }
}

/// An operator had dead letters of a sink sent again, or gave them up: so many, and which, as far as an event has room.
pub(super) fn dead_letters(
    sink: &str,
    act: DeadLetterAct,
    (ids, count): (&[String], usize),
    by: &Actor,
    now: Millis,
) -> Event {
    // Events that are given up do not reach whoever waits for them there.
    let (done, severity) = match act {
        DeadLetterAct::Redeliver => ("to be sent again", Severity::Low),
        DeadLetterAct::Discard => ("given up", Severity::Medium),
    };
    let details = DeadLettersChanged {
        summary: format!("Dead letters of the sink {sink} {done}: {count}."),
        sink: sink.to_owned(),
        act,
        count,
        events: ids.iter().take(MOST_NAMED).cloned().collect(),
        by: Some(by.clone()),
    };
    operator(now, EventType::DeadLettersChanged, severity, None).with(&details)
}

/// The store does not answer any more, for this reason.
pub(super) fn degraded(error: &str, now: Millis) -> Event {
    let details = StoreDegraded { error: error.to_owned() };
    store(now, EventType::StoreDegraded, Severity::High).with(&details)
}

/// The store answers again: since when it did not, and of how many subjects there was usage meanwhile.
pub(super) fn recovered(since: Millis, reconciled: usize, now: Millis) -> Event {
    let details = StoreRecovered { since, seconds: (now - since) / 1000, subjects_reconciled: reconciled };
    store(now, EventType::StoreRecovered, Severity::Medium).with(&details)
}

/// A document was written again that the store had lost.
pub(super) fn restored(kind: DocumentKind, name: &str, now: Millis) -> Event {
    let details = PolicyChanged::Restored {
        document: kind.name().to_owned(),
        name: name.to_owned(),
        reason: "re-asserted: the store had lost it".to_owned(),
    };
    store(now, EventType::PolicyChanged, Severity::Medium).with(&details)
}

/// So many events were lost before they could be kept.
pub(super) fn gap(lost: u64, now: Millis) -> Event {
    let details = EventGap { lost_events: Some(lost), ..EventGap::default() };
    store(now, EventType::EventGap, Severity::High).with(&details)
}

fn store(now: Millis, kind: EventType, severity: Severity) -> Event {
    Event { detector: Some("store".to_owned()), ..Event::new(now, kind, severity, None) }
}
