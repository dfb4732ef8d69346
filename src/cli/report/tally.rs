//! Counting whom the events of the log tell of: by subject, by reason and by detector.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use crate::domain::{
    Millis,
    decision::Reason,
    event::{Call, Event, EventType, RateLimitExceeded, format_millis},
    subject::{Subject, SubjectKind},
    window::Unit,
};

/// Whom a request is put down to that a ban refused which was made before the span.
const EARLIER: &str = "earlier ban";

/// Answers of one kind: those that refused, and those that would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Answers {
    checks: u64,
    records: u64,
    observed_checks: u64,
    observed_records: u64,
}

impl Answers {
    /// A request that would have been refused is let through, so that who asks before it and reports after it gets two
    /// answers about it.
    fn would_refuse(&self) -> u64 {
        self.observed_checks.max(self.observed_records)
    }

    fn refused(&self) -> u64 {
        self.checks + self.records
    }

    fn add(&mut self, event: &Event) {
        let check = event.evidence.call() == Some(Call::Check);
        let answers = match (event.would.is_some(), check) {
            (false, true) => &mut self.checks,
            (false, false) => &mut self.records,
            (true, true) => &mut self.observed_checks,
            (true, false) => &mut self.observed_records,
        };
        *answers += event.count.max(1);
    }
}

/// What the events say about one subject.
#[derive(Debug, Default)]
struct Hit {
    span: Option<(Millis, Millis)>,
    /// By reason and detector.
    answers: BTreeMap<(&'static str, String), Answers>,
    /// Throttles, by the detector that led to them.
    throttles: BTreeMap<String, u64>,
    places: BTreeSet<String>,
}

/// What the events that were read add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    hits: HashMap<Subject, Hit>,
    /// Which detector a ban came of, by whom it holds and since when.
    bans: HashMap<(Subject, Millis), String>,
    keys: HashSet<String>,
}

/// One subject that was hit, or would have been.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub subject: Subject,
    pub first: String,
    pub last: String,
    pub would_refuse: u64,
    pub refused: u64,
    /// Answers to checks and to records that say so.
    pub answers: BTreeMap<&'static str, u64>,
    pub throttles: u64,
    /// How many requests were refused, by the reason.
    pub reasons: BTreeMap<&'static str, u64>,
    pub detectors: BTreeSet<String>,
    pub places: BTreeSet<String>,
    /// What the key spent from the hour of `first` on, US dollars; null for other subjects, and when not known.
    pub cost_usd: Option<String>,
}

/// The total of a reason or a detector.
#[derive(Debug, Default, Serialize)]
pub(super) struct Total {
    pub name: String,
    pub subjects: usize,
    pub would_refuse: u64,
    pub refused: u64,
    pub throttles: u64,
}

/// What was counted, as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub since: String,
    pub until: String,
    /// How the policy is now: `enforce` or `observe`; null from a service that does not say.
    pub enforcement: Value,
    /// Keys that made requests on the days of the span; null when they are too many to be counted.
    pub keys_seen: Option<usize>,
    pub keys_hit: usize,
    pub would_refuse: u64,
    pub refused: u64,
    pub by_reason: Vec<Total>,
    pub by_detector: Vec<Total>,
    /// A row for each subject, most requests first.
    pub subjects: Vec<Row>,
}

impl Tally {
    /// Counts an event. Bans are to come before what they refused.
    pub(super) fn add(&mut self, event: &Event) {
        let Some(subject) = &event.subject else { return };
        let detector = event.detector.clone().unwrap_or_default();
        let since = event.evidence.since();
        let reason = match event.kind {
            EventType::TemporaryBan | EventType::PermanentBan => {
                if let Some(since) = since {
                    self.bans.insert((subject.clone(), since), detector.clone());
                }
                // Of the bans, a finding's alone refuses the very request that it is of.
                let by_request = event.request_id.is_some() && detector != "operator";
                by_request.then_some(Reason::CriticalAnomalyDetected)
            }
            EventType::BannedRequestBlocked => Some(banned(subject)),
            EventType::RateLimitExceeded => Some(limited(event)),
            EventType::KeyNotAllowed => Some(Reason::KeyNotAllowed),
            EventType::UnknownKey => Some(Reason::UnknownKey),
            _ => None,
        };
        // A cut-off that is in shadow mode hits nobody, whatever the policy.
        if event.action.as_deref() == Some("shadow") {
            return;
        }
        let by = match (event.kind, since) {
            (EventType::BannedRequestBlocked, Some(since)) => self.cause(subject, since, event),
            _ => detector,
        };
        let hit = self.hits.entry(subject.clone()).or_default();
        hit.see(event);
        if let Some(reason) = reason {
            hit.answers.entry((reason.name(), by)).or_default().add(event);
            self.keys.extend(event.key_id.clone());
        } else if event.kind == EventType::Throttled {
            *hit.throttles.entry(by).or_default() += event.count.max(1);
        } else {
            hit.answers.entry((banned(subject).name(), by)).or_default();
            self.keys.extend(event.key_id.clone());
        }
    }

    fn cause(&self, subject: &Subject, since: Millis, event: &Event) -> String {
        let known = self.bans.get(&(subject.clone(), since)).cloned();
        let by = if event.evidence.is_by_operator() { "operator" } else { EARLIER };
        known.unwrap_or_else(|| by.to_owned())
    }

    /// What was counted, without costs.
    pub(super) fn report(
        self,
        (since, until): (Millis, Millis),
        enforcement: &Value,
        seen: Option<usize>,
    ) -> Report {
        let by_reason = totals(&self.hits, |(reason, _)| (*reason).to_owned(), |_| None);
        let by_detector = totals(&self.hits, |(_, detector)| detector.clone(), |hit| Some(&hit.throttles));
        let mut subjects: Vec<Row> = self.hits.into_iter().map(|(subject, hit)| hit.row(subject)).collect();
        subjects.sort_by_key(|row| (std::cmp::Reverse(row.would_refuse + row.refused), row.subject.clone()));
        Report {
            since: format_millis(since),
            until: format_millis(until),
            enforcement: enforcement.clone(),
            keys_seen: seen,
            keys_hit: self.keys.len(),
            would_refuse: subjects.iter().map(|row| row.would_refuse).sum(),
            refused: subjects.iter().map(|row| row.refused).sum(),
            by_reason,
            by_detector,
            subjects,
        }
    }
}

impl Report {
    /// Puts down what keys spent.
    pub(super) fn put_costs(&mut self, costs: &HashMap<Subject, String>) {
        for row in &mut self.subjects {
            row.cost_usd = costs.get(&row.subject).cloned();
        }
    }
}

impl Hit {
    fn see(&mut self, event: &Event) {
        let (first, last) = self.span.unwrap_or((event.time, event.time));
        self.span = Some((first.min(event.time), last.max(event.time)));
        let place = event.place.iter().flat_map(|place| [&place.city, &place.country]);
        let place: Vec<&str> = place.filter_map(Option::as_deref).filter(|name| !name.is_empty()).collect();
        if !place.is_empty() {
            self.places.insert(place.join(", "));
        }
    }

    fn row(self, subject: Subject) -> Row {
        let (first, last) = self.span.unwrap_or_default();
        let sum = |of: fn(&Answers) -> u64| self.answers.values().map(of).sum();
        let mut reasons: BTreeMap<&'static str, u64> = BTreeMap::new();
        for ((reason, _), answers) in &self.answers {
            *reasons.entry(reason).or_default() += answers.would_refuse() + answers.refused();
        }
        let detectors = self.answers.keys().map(|(_, detector)| detector).chain(self.throttles.keys());
        Row {
            subject,
            first: format_millis(first),
            last: format_millis(last),
            would_refuse: sum(Answers::would_refuse),
            refused: sum(Answers::refused),
            answers: BTreeMap::from([
                ("check", sum(|answers| answers.checks + answers.observed_checks)),
                ("record", sum(|answers| answers.records + answers.observed_records)),
            ]),
            throttles: self.throttles.values().sum(),
            reasons,
            detectors: detectors.cloned().collect(),
            places: self.places.clone(),
            cost_usd: None,
        }
    }
}

/// Why a ban on this kind of subject refuses.
fn banned(subject: &Subject) -> Reason {
    match subject.kind() {
        SubjectKind::Key => Reason::ApiKeyBanned,
        SubjectKind::Ip => Reason::IpBanned,
        SubjectKind::Project => Reason::ProjectBanned,
    }
}

/// Why a limit refuses: of dollars it is a budget.
fn limited(event: &Event) -> Reason {
    let is_of_dollars = |limit: RateLimitExceeded| limit.unit == Unit::CostUsd;
    if event.read().is_some_and(is_of_dollars) { Reason::BudgetExceeded } else { Reason::RateLimitExceeded }
}

/// Sums by a part of what answers are counted by.
fn totals(
    hits: &HashMap<Subject, Hit>,
    name: impl Fn(&(&'static str, String)) -> String,
    throttles: impl Fn(&Hit) -> Option<&BTreeMap<String, u64>>,
) -> Vec<Total> {
    let mut totals: BTreeMap<String, (HashSet<&Subject>, Total)> = BTreeMap::new();
    for (subject, hit) in hits {
        for (key, answers) in &hit.answers {
            let (subjects, total) = totals.entry(name(key)).or_default();
            subjects.insert(subject);
            total.would_refuse += answers.would_refuse();
            total.refused += answers.refused();
        }
        for (detector, count) in throttles(hit).into_iter().flatten() {
            let (subjects, total) = totals.entry(detector.clone()).or_default();
            subjects.insert(subject);
            total.throttles += count;
        }
    }
    let named = totals.into_iter();
    let mut totals: Vec<Total> =
        named.map(|(name, (subjects, total))| Total { name, subjects: subjects.len(), ..total }).collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.would_refuse + total.refused));
    totals
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
