//! What a replay came to. It grows with the number of keys, addresses and days, never with that of records.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    BadLine,
    done::{Done, reason_of},
    figures::{DayRow, DetectorRow, Figures, SUBJECTS, SubjectRow},
};
use crate::domain::{
    DAY, HOUR, Millis,
    decision::{Action, Decision},
    finding::{Accused, AnomalyKind, Finding, Severity},
    record::Record,
    subject::Subject,
};

/// The findings that led to a ban: the worst of those that are acted on. Each bans whom it accuses. None where the
/// decision bans nobody anew.
pub(super) fn banning(decision: &Decision) -> impl Iterator<Item = &Finding> {
    let bans = decision.ruling().action >= Action::TemporaryBan;
    let worst = worst(&decision.anomalies).filter(|_| bans).map(|finding| finding.severity);
    decision.anomalies.iter().filter(move |f| f.is_enforced() && Some(f.severity) == worst)
}

/// The enforced finding that weighs most: what was done was done for it.
pub(super) fn worst<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Option<&'f Finding> {
    findings
        .into_iter()
        .filter(|f| f.is_enforced())
        .max_by(|a, b| a.severity.cmp(&b.severity).then(a.score.total_cmp(&b.score)))
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many lines were read.
    pub lines: u64,
    /// Lines that are no records.
    pub bad_lines: u64,
    /// What is wrong with the first of these.
    pub first_bad: Option<String>,
    /// How many records were decided about.
    pub records: u64,
    refused: u64,
    throttled: u64,
    /// Whether some of it was only observed.
    observed: bool,
    span: Option<(Millis, Millis)>,
    keys: HashMap<Arc<str>, PerKey>,
    /// What was done about addresses since they were first banned.
    addresses_banned: HashMap<Subject, Done>,
    /// By the number of the day since 1970.
    days: BTreeMap<i64, DayRow>,
    key_days: u64,
    serious: u64,
    by_reason: BTreeMap<&'static str, u64>,
    detectors: HashMap<AnomalyKind, PerDetector>,
}

/// What is remembered of one key. Days and hours count when they begin: the first of each is in a record that is later
/// than those before it.
#[derive(Debug)]
struct PerKey {
    day: i64,
    done: Done,
    found: Vec<Found>,
}

/// What one detector found about one key.
#[derive(Debug)]
struct Found {
    kind: AnomalyKind,
    /// The hour of the last high or critical finding.
    hour: Option<i64>,
    banned: bool,
}

#[derive(Debug, Default)]
struct PerDetector {
    findings: u64,
    serious: u64,
    keys: u64,
    banned: u64,
}

impl Summary {
    /// Counts one decision about a record.
    pub fn add(&mut self, record: &Record, decision: &Decision, now: Millis) {
        self.records += 1;
        self.span = Some(self.span.map_or((now, now), |(first, last)| (first.min(now), last.max(now))));
        let day = now.div_euclid(DAY);
        let key = self.keys.entry(record.key_id.clone()).or_insert_with(|| PerKey::new(day - 1));
        if day > key.day {
            key.day = day;
            self.key_days += 1;
        }
        let ruling = decision.ruling();
        self.observed |= decision.would.is_some();
        let today = self.days.entry(day).or_insert_with(|| DayRow { day: day * DAY, ..DayRow::default() });
        today.requests += 1;
        if !ruling.allowed {
            self.refused += 1;
            today.refused += 1;
            *self.by_reason.entry(reason_of(&ruling)).or_default() += 1;
        } else if ruling.action == Action::Throttle {
            self.throttled += 1;
            today.throttled += 1;
        }
        key.done.count(&ruling);
        if !decision.anomalies.is_empty() {
            self.add_findings(record, decision, now);
        }
        if let Some(address) = self.addresses_banned.get_mut(&record.address) {
            address.count(&ruling);
        }
    }

    fn add_findings(&mut self, record: &Record, decision: &Decision, now: Millis) {
        let Some(key) = self.keys.get_mut(&record.key_id) else { return };
        for finding in &decision.anomalies {
            let row = self.detectors.entry(finding.kind).or_default();
            self.serious += u64::from(key.count(row, finding, now.div_euclid(HOUR)));
        }
        for finding in banning(decision) {
            let row = self.detectors.entry(finding.kind).or_default();
            key.count_ban(row, finding.kind);
        }
        for accused in [Accused::Key, Accused::Address] {
            let mut found =
                banning(decision).filter(|f| f.accused == accused).map(|f| f.kind.name()).peekable();
            if found.peek().is_none() {
                continue;
            }
            let done = match accused {
                Accused::Key => &mut key.done,
                Accused::Address => self.addresses_banned.entry(record.address.clone()).or_default(),
            };
            done.count_ban(now, found);
            if let Some(today) = self.days.get_mut(&now.div_euclid(DAY)) {
                today.bans += 1;
            }
        }
    }

    /// Counts a line that is no record.
    pub fn add_bad(&mut self, bad: &BadLine<'_>) {
        self.bad_lines += 1;
        self.first_bad.get_or_insert_with(|| {
            let fields: Vec<_> = bad.errors.iter().map(|e| format!("{} {}", e.pointer, e.detail)).collect();
            let what = if fields.is_empty() { bad.error.clone() } else { fields.join("; ") };
            format!("line {}: {what}", bad.line)
        });
    }

    /// Whether the key was in the records.
    pub fn knows(&self, key_id: &str) -> bool {
        self.keys.contains_key(key_id)
    }

    /// The summary for people.
    pub fn render(&self) -> String {
        self.figures().to_string()
    }

    /// The figures of which text and HTML are made.
    pub fn figures(&self) -> Figures {
        let keys = |is: fn(&PerKey) -> bool| self.keys.values().filter(|key| is(key)).count();
        let (subjects, more_subjects) = self.subjects();
        Figures {
            records: self.records,
            bad_lines: self.bad_lines,
            first_bad: self.first_bad.clone(),
            span: self.span,
            observed: self.observed,
            keys: self.keys.len(),
            key_days: self.key_days,
            refused: self.refused,
            keys_refused: keys(|key| key.done.refused > 0),
            throttled: self.throttled,
            keys_throttled: keys(|key| key.done.throttled > 0),
            keys_banned: keys(|key| key.done.bans > 0),
            addresses_banned: self.addresses_banned.len(),
            serious: self.serious,
            reasons: self.by_reason.iter().map(|(reason, count)| (*reason, *count)).collect(),
            detectors: self.detector_rows(),
            days: self.days.values().copied().collect(),
            subjects,
            more_subjects,
        }
    }

    fn detector_rows(&self) -> Vec<DetectorRow> {
        let row = |(kind, row): (&AnomalyKind, &PerDetector)| {
            let PerDetector { findings, serious, keys, banned } = *row;
            DetectorRow { name: kind.name(), findings, serious, keys, banned }
        };
        let mut rows: Vec<_> = self.detectors.iter().map(row).collect();
        rows.sort_by_key(|row| row.name);
        rows
    }

    /// The first subjects that something was done about, and how many more there are.
    fn subjects(&self) -> (Vec<SubjectRow>, usize) {
        let keys = self.keys.iter().map(|(id, key)| (Subject::key(id), &key.done));
        let addresses = self.addresses_banned.iter().map(|(subject, done)| (subject.clone(), done));
        let mut hit: Vec<_> = keys.chain(addresses).filter(|(_, done)| done.is_anything()).collect();
        hit.sort_by_cached_key(|(subject, done)| {
            (Reverse((done.bans > 0, done.refused, done.bans, done.throttled)), subject.clone())
        });
        let more = hit.len().saturating_sub(SUBJECTS);
        (hit.into_iter().take(SUBJECTS).map(|(subject, done)| done.row(&subject)).collect(), more)
    }
}

impl PerKey {
    fn new(day: i64) -> Self {
        Self { day, done: Done::default(), found: Vec::new() }
    }

    /// Counts a finding about this key in the row of its detector. Says whether it is the first high or critical one of
    /// its hour.
    fn count(&mut self, row: &mut PerDetector, finding: &Finding, hour: i64) -> bool {
        row.findings += 1;
        let known = self.found.iter().position(|found| found.kind == finding.kind);
        let at = known.unwrap_or_else(|| {
            row.keys += 1;
            self.found.push(Found { kind: finding.kind, hour: None, banned: false });
            self.found.len() - 1
        });
        let found = &mut self.found[at];
        if finding.severity < Severity::High {
            return false;
        }
        row.serious += 1;
        let fresh = found.hour.is_none_or(|last| hour > last);
        if fresh {
            found.hour = Some(hour);
        }
        fresh
    }

    /// Counts a ban of this key, or of the address that it came from.
    fn count_ban(&mut self, row: &mut PerDetector, kind: AnomalyKind) {
        let found = self.found.iter_mut().find(|found| found.kind == kind && !found.banned);
        if let Some(found) = found {
            found.banned = true;
            row.banned += 1;
        }
    }
}
