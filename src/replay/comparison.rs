//! What two policies decided differently about the same requests: per key and address, and over all. It grows with the
//! number of keys about which anything was found or refused.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{
    compared::{Compared, Difference},
    summary::{banning, worst},
};
use crate::domain::{
    Millis,
    decision::{Action, Decision, Reason},
    event::format_millis,
    finding::{Accused, AnomalyKind, Severity},
    policy::Policy,
    record::Record,
    subject::{Subject, SubjectKind},
};

/// Rows of the table; the file of differences has every request.
const ROWS: usize = 50;

/// What a decision was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A finding, of this request or of the one that led to the ban or throttle in force.
    Detector(AnomalyKind),
    /// Something else that refuses.
    Reason(Reason),
    /// Nothing that is known.
    Unknown,
}

impl By {
    /// The anomaly type, or the reason of the refusal, as they are on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detector(kind) => kind.name(),
            Self::Reason(reason) => reason.name(),
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Where two policies differ; `new` is held against `old`.
#[derive(Debug)]
pub struct Comparison {
    rows: HashMap<Subject, Row>,
    findings: BTreeMap<(&'static str, Severity), [u64; 2]>,
    differing: u64,
    /// From which severity a finding leads to a throttle or a ban, under each policy.
    acts_from: [Severity; 2],
}

/// What the two did about one subject.
#[derive(Debug, Default)]
struct Row {
    /// Under the new policy and under the old.
    sides: [Side; 2],
    differing: u64,
    first: Option<First>,
}

#[derive(Debug, Default)]
struct Side {
    refused: u64,
    throttled: u64,
    bans: u64,
    /// A digest of when its bans began and end.
    ban_times: u64,
    /// What led to the last throttle or ban.
    cause: Option<AnomalyKind>,
}

/// The first request about which they differ.
#[derive(Debug)]
struct First {
    at: Millis,
    request_id: Arc<str>,
    by: By,
    done: [(bool, Action); 2],
}

/// How the bans of a subject compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bans {
    NewOnly,
    OldOnly,
    OtherTimes,
    Same,
    None,
}

impl Comparison {
    /// A comparison of two policies in which nothing was compared yet.
    pub fn between(new: &Policy, old: &Policy) -> Self {
        let acts_from = [new, old].map(|p| p.ladder.throttle_from.min(p.ladder.ban_from));
        Self { rows: HashMap::new(), findings: BTreeMap::new(), differing: 0, acts_from }
    }

    /// Holds two decisions about one request against each other. Where what was done differs, says what the severer one
    /// was made for.
    pub fn add(&mut self, record: &Record, new: &Decision, old: &Decision, now: Millis) -> Option<By> {
        let both = [new, old];
        // What each rules, whether it enforces that or only observes.
        let done = both.map(|d| (d.ruling().allowed, d.ruling().action));
        if done == [(true, Action::None); 2] && both.iter().all(|d| d.anomalies.is_empty()) {
            return None;
        }
        for (n, decision) in both.iter().enumerate() {
            for finding in &decision.anomalies {
                self.findings.entry((finding.kind.name(), finding.severity)).or_default()[n] += 1;
            }
            self.note(n, &record.key, Accused::Key, decision);
            let by_address = decision.anomalies.iter().any(|f| f.accused == Accused::Address);
            if by_address || decision.reason == Some(Reason::IpBanned) {
                self.note(n, &record.address, Accused::Address, decision);
            }
        }
        if done[0] == done[1] {
            return None;
        }
        let [new_rank, old_rank] = done.map(|(allowed, action)| (!allowed, action));
        let severer = usize::from(old_rank > new_rank);
        let by = self.by(severer, record, both[severer]);
        self.differing += 1;
        let row = self.rows.entry(record.key.clone()).or_default();
        row.differing += 1;
        row.first.get_or_insert_with(|| First { at: now, request_id: record.request_id.clone(), by, done });
        Some(by)
    }

    /// Counts in the row of `subject` what a decision says about it.
    fn note(&mut self, n: usize, subject: &Subject, accused: Accused, decision: &Decision) {
        let side = &mut self.rows.entry(subject.clone()).or_default().sides[n];
        let of_it = accused == Accused::Key || decision.reason == Some(Reason::IpBanned);
        let ruling = decision.ruling();
        side.refused += u64::from(of_it && !ruling.allowed);
        side.throttled += u64::from(of_it && ruling.allowed && ruling.action == Action::Throttle);
        let found = worst(decision.anomalies.iter().filter(|f| f.accused == accused));
        if let Some(found) = found.filter(|f| f.severity >= self.acts_from[n]) {
            side.cause = Some(found.kind);
        }
        if banning(decision).any(|f| f.accused == accused) {
            side.bans += 1;
            let mut hasher = DefaultHasher::new();
            (side.ban_times, decision.decided_at, decision.retry_at).hash(&mut hasher);
            side.ban_times = hasher.finish();
        }
    }

    /// What a decision was made for.
    fn by(&self, n: usize, record: &Record, decision: &Decision) -> By {
        let found = worst(decision.anomalies.iter());
        let led =
            found.filter(|f| decision.ruling().action == Action::Alert || f.severity >= self.acts_from[n]);
        if let Some(finding) = led {
            return By::Detector(finding.kind);
        }
        let subject = match decision.reason {
            None | Some(Reason::ApiKeyBanned) => &record.key,
            Some(Reason::IpBanned) => &record.address,
            Some(reason) => return By::Reason(reason),
        };
        let cause = self.rows.get(subject).and_then(|row| row.sides[n].cause);
        cause.map(By::Detector).or(decision.reason.map(By::Reason)).unwrap_or(By::Unknown)
    }
}

impl Row {
    fn bans(&self) -> Bans {
        let [new, old] = &self.sides;
        match (new.bans > 0, old.bans > 0) {
            (false, false) => Bans::None,
            (true, false) => Bans::NewOnly,
            (false, true) => Bans::OldOnly,
            (true, true) if new.ban_times == old.ban_times => Bans::Same,
            (true, true) => Bans::OtherTimes,
        }
    }

    fn differs(&self) -> bool {
        let [new, old] = &self.sides;
        let counts = |side: &Side| (side.refused, side.throttled);
        self.differing > 0 || counts(new) != counts(old) || !matches!(self.bans(), Bans::Same | Bans::None)
    }
}

impl Bans {
    fn name(self) -> &'static str {
        match self {
            Self::NewOnly => "new only",
            Self::OldOnly => "old only",
            Self::OtherTimes => "other times",
            Self::Same => "same",
            Self::None => "-",
        }
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [new, old] = self.done.map(|(allowed, action)| match (allowed, action) {
            (false, Action::Throttle) => "refused",
            (_, action) => action.name(),
        });
        let at = format_millis(self.at);
        write!(f, "{at} {}: {}, {new} (old: {old})", self.request_id, self.by.name())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.figures().fmt(f)
    }
}

impl Comparison {
    /// The figures of which text and HTML are made.
    pub fn figures(&self) -> Compared {
        let mut rows: Vec<_> = self.rows.iter().filter(|(_, row)| row.differs()).collect();
        let count = |bans: Bans| rows.iter().filter(|(_, row)| row.bans() == bans).count();
        let [new_only, old_only, other_times] = [Bans::NewOnly, Bans::OldOnly, Bans::OtherTimes].map(count);
        rows.sort_by_key(|(subject, row)| (row.bans(), std::cmp::Reverse(row.differing), *subject));
        let findings = self.findings.iter();
        Compared {
            differing: self.differing,
            keys: self.rows.values().filter(|row| row.differing > 0).count(),
            totals: self.totals().into(),
            findings: findings.map(|((kind, of), n)| (format!("{kind} {}", of.name()), *n)).collect(),
            new_only,
            old_only,
            other_times,
            more: rows.len().saturating_sub(ROWS),
            rows: rows.iter().take(ROWS).map(|(subject, row)| row.difference(subject)).collect(),
        }
    }

    /// What is counted over all keys, or over all addresses: under the new policy and under the old.
    fn totals(&self) -> [(&'static str, [u64; 2]); 5] {
        let sum = |of: SubjectKind, count: fn(&Side) -> u64| {
            [0, 1].map(|n| {
                let rows = self.rows.iter().filter(|(subject, _)| subject.kind() == of);
                rows.map(|(_, row)| count(&row.sides[n])).sum()
            })
        };
        [
            ("requests refused", sum(SubjectKind::Key, |side| side.refused)),
            ("requests throttled", sum(SubjectKind::Key, |side| side.throttled)),
            ("keys throttled", sum(SubjectKind::Key, |side| u64::from(side.throttled > 0))),
            ("keys banned", sum(SubjectKind::Key, |side| u64::from(side.bans > 0))),
            ("addresses banned", sum(SubjectKind::Ip, |side| u64::from(side.bans > 0))),
        ]
    }
}

impl Row {
    fn difference(&self, subject: &Subject) -> Difference {
        Difference {
            subject: subject.to_string(),
            banned: self.bans().name(),
            refused: [0, 1].map(|n| self.sides[n].refused),
            throttled: [0, 1].map(|n| self.sides[n].throttled),
            differing: self.differing,
            first: self.first.as_ref().map(First::to_string),
        }
    }
}
