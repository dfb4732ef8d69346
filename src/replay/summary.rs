//! What a replay came to, for people. It grows with the number of keys and addresses, never with that of records.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    sync::Arc,
};

use super::BadLine;
use crate::domain::{
    DAY, HOUR, Millis,
    decision::{Action, Decision},
    event::format_millis,
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
    addresses_banned: HashSet<Subject>,
    key_days: u64,
    serious: u64,
    by_reason: HashMap<&'static str, u64>,
    detectors: HashMap<AnomalyKind, PerDetector>,
}

/// What is remembered of one key. Days and hours count when they begin: the first of each is in a record that is later
/// than those before it.
#[derive(Debug)]
struct PerKey {
    day: i64,
    refused: bool,
    throttled: bool,
    banned: bool,
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
        if !ruling.allowed {
            self.refused += 1;
            key.refused = true;
            *self.by_reason.entry(ruling.reason.map_or("UNKNOWN", |r| r.name())).or_default() += 1;
        } else if ruling.action == Action::Throttle {
            self.throttled += 1;
            key.throttled = true;
        }
        if decision.anomalies.is_empty() {
            return;
        }
        for finding in &decision.anomalies {
            let row = self.detectors.entry(finding.kind).or_default();
            self.serious += u64::from(key.count(row, finding, now.div_euclid(HOUR)));
        }
        for finding in banning(decision) {
            let row = self.detectors.entry(finding.kind).or_default();
            key.count_ban(row, finding.kind);
            match finding.accused {
                Accused::Key => key.banned = true,
                Accused::Address => drop(self.addresses_banned.insert(record.address.clone())),
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
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{} records of {} keys over {} key-days; {} bad lines",
            self.records,
            self.keys.len(),
            self.key_days,
            self.bad_lines
        );
        if let Some(bad) = &self.first_bad {
            let _ = writeln!(out, "  the first bad one: {bad}");
        }
        if let Some((first, last)) = self.span {
            let _ = writeln!(out, "from {} to {}", format_millis(first), format_millis(last));
        }
        let (refused, admitted) = match self.observed {
            true => ("would have been refused", "would have been admitted"),
            false => ("refused", "admitted"),
        };
        let keys = |is: fn(&PerKey) -> bool| self.keys.values().filter(|key| is(key)).count();
        let _ = writeln!(
            out,
            "{} requests {refused}, of {} keys; {} keys and {} addresses would have been banned",
            self.refused,
            keys(|key| key.refused),
            keys(|key| key.banned),
            self.addresses_banned.len(),
        );
        let _ = writeln!(
            out,
            "{} requests {admitted} while throttled, of {} keys",
            self.throttled,
            keys(|key| key.throttled)
        );
        let _ = writeln!(
            out,
            "{:.4} high or critical findings per key-day (once per key, type and hour)",
            self.serious as f64 / self.key_days.max(1) as f64
        );
        let mut reasons: Vec<_> = self.by_reason.iter().collect();
        reasons.sort();
        for (reason, count) in reasons {
            let _ = writeln!(out, "  {refused} for {reason}: {count}");
        }
        self.render_detectors(&mut out);
        out
    }

    fn render_detectors(&self, out: &mut String) {
        let mut rows: Vec<_> = self.detectors.iter().map(|(kind, row)| (kind.name(), row)).collect();
        rows.sort_by_key(|(name, _)| *name);
        if !rows.is_empty() {
            let _ = writeln!(
                out,
                "{:<24}{:>10}{:>16}{:>8}{:>8}",
                "detector", "findings", "high/critical", "keys", "banned"
            );
        }
        for (name, row) in rows {
            let _ = writeln!(
                out,
                "{name:<24}{:>10}{:>16}{:>8}{:>8}",
                row.findings, row.serious, row.keys, row.banned
            );
        }
    }
}

impl PerKey {
    fn new(day: i64) -> Self {
        Self { day, refused: false, throttled: false, banned: false, found: Vec::new() }
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
