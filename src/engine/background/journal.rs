//! The journal as it is written: a first line that names the store, a line of JSON for each thing that it lacks, and a
//! last one that counts those.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::deferred_reports::{Counted, Report};
use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCharge},
        debt::DebtBatch,
        event::Event,
        latency::Latencies,
        limit::Scope,
        observation::{Charge, ChargeMode, LedgerEntry},
        profile::Profile,
        reservation::{Reservation, Settles, Stage},
        standing::{Standing, StandingDetail},
        subject::Subject,
        usage::{Measured, Totals, UsageBatch, UsageDelta, UsageKey},
        window::Counts,
    },
    store::{pack_profile, unpack_profile},
};

/// Most bytes of a journal. Beyond it what weighs least is left out: profiles before events, events before usage, and
/// bans last.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// What the store lacks.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) standings: Vec<(Subject, Standing, StandingDetail)>,
    pub(super) debts: Vec<DebtBatch>,
    pub(super) usage: Vec<UsageBatch>,
    pub(super) reports: Vec<Report>,
    pub(super) events: Vec<Event>,
    pub(super) profiles: Vec<(Subject, Profile)>,
}

/// Why a journal is not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unread {
    #[error("it is damaged")]
    Damaged,
    /// Names the store that it is for.
    #[error("it is for another store ({0}); a start over that one writes it there")]
    OfAnother(String),
}

/// One line of a journal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The first line: the store that lacks the rest.
    Of {
        store: String,
    },
    Standing {
        subject: Subject,
        standing: Vec<f64>,
        detail: StandingDetail,
    },
    Debts(Debts),
    Usage {
        instance: Arc<str>,
        seq: u64,
        now: Millis,
        deltas: Vec<Delta>,
    },
    Report(Box<KeptReport>),
    Event(Box<Event>),
    Profile {
        subject: Subject,
        packed: String,
    },
    /// The last line: how many stand between it and the first.
    End(usize),
}

#[derive(Serialize, Deserialize)]
struct Debts {
    instance: Arc<str>,
    number: u64,
    now: Millis,
    charges: Vec<(Subject, Millis, Counts)>,
    changes: Vec<Change>,
}

/// Scope, id, and amounts with their ends.
#[derive(Serialize, Deserialize)]
struct Change {
    scope: String,
    id: u64,
    back: Option<(u64, Millis)>,
    add: Option<(u64, Millis)>,
}

#[derive(Serialize, Deserialize)]
struct Delta {
    minute: Millis,
    key: String,
    totals: String,
    latencies: String,
}

#[derive(Serialize, Deserialize)]
struct KeptReport {
    subject: Subject,
    now: Millis,
    counts: Counts,
    may_create: bool,
    observing: bool,
    counters: Vec<KeptCounter>,
    claim: Option<String>,
    settles: Option<(Arc<str>, bool)>,
    counted_at: Option<Millis>,
    usage: Delta,
    #[serde(default)]
    attempt: u64,
    #[serde(default)]
    observed: Option<Reservation>,
}

#[derive(Serialize, Deserialize)]
struct KeptCounter {
    scope: String,
    id: u64,
    amount: u64,
    most: u64,
    until: Millis,
    block: Option<Millis>,
}

impl Leftovers {
    /// Whether the store lacks nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { standings, debts, usage, reports, events, profiles } = self;
        let counts = [standings.len(), debts.len(), usage.len(), reports.len(), events.len(), profiles.len()];
        counts.iter().all(|count| *count == 0)
    }

    /// As a journal for a store, and how many lines had no room in it.
    pub(super) fn write(self, store: &str) -> (Vec<u8>, usize) {
        self.write_within(store, MOST_BYTES)
    }

    fn write_within(self, store: &str, most: usize) -> (Vec<u8>, usize) {
        // It cannot fail: it is a text.
        let mut bytes = serde_json::to_vec(&Line::Of { store: store.to_owned() }).unwrap_or_default();
        bytes.push(b'\n');
        let (mut written, mut lost) = (0, 0);
        for line in self.into_lines() {
            match serde_json::to_vec(&line) {
                Ok(text) if bytes.len() + text.len() < most => {
                    bytes.extend(text);
                    bytes.push(b'\n');
                    written += 1;
                }
                _ => lost += 1,
            }
        }
        // It cannot fail: it is a number.
        bytes.extend(serde_json::to_vec(&Line::End(written)).unwrap_or_default());
        (bytes, lost)
    }

    fn into_lines(self) -> impl Iterator<Item = Line> {
        let standings = self.standings.into_iter().map(|(subject, standing, detail)| Line::Standing {
            subject,
            standing: standing.pack().to_vec(),
            detail,
        });
        let debts = self.debts.into_iter().map(|batch| Line::Debts(batch.into()));
        let reports = self.reports.into_iter().filter_map(|Report { charge, usage }| match usage {
            Counted::Delta(delta) => Some(Line::Report(Box::new((charge, delta).into()))),
            Counted::Record(..) | Counted::Done(_) => None,
        });
        let usage = self.usage.into_iter().map(|UsageBatch { instance, seq, now, deltas }| {
            let deltas = deltas.into_iter().map(Delta::from).collect();
            Line::Usage { instance, seq, now, deltas }
        });
        let events = self.events.into_iter().map(|event| Line::Event(Box::new(event)));
        let profiles = self.profiles.into_iter().filter_map(|(subject, profile)| {
            let packed = hex::encode(pack_profile(&profile, Vec::new()).ok()?);
            Some(Line::Profile { subject, packed })
        });
        standings.chain(debts).chain(reports).chain(usage).chain(events).chain(profiles)
    }

    /// Reads a journal for a store.
    pub(super) fn read(bytes: &[u8], store: &str) -> Result<Self, Unread> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        match lines.next().and_then(|line| serde_json::from_slice(line).ok()) {
            Some(Line::Of { store: of }) if of == store => Self::read_lines(lines).ok_or(Unread::Damaged),
            Some(Line::Of { store: of }) => Err(Unread::OfAnother(of)),
            _ => Err(Unread::Damaged),
        }
    }

    fn read_lines<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<Self> {
        let mut all = Self::default();
        let (mut read, mut end) = (0, None);
        for line in lines {
            match serde_json::from_slice(line).ok()? {
                Line::End(lines) => end = Some((lines, read)),
                line => all.take(line)?,
            }
            read += 1;
        }
        end.filter(|(lines, at)| lines == at && *at + 1 == read).map(|_| all)
    }

    fn take(&mut self, line: Line) -> Option<()> {
        match line {
            Line::Standing { subject, standing, detail } => {
                let standing = Standing::unpack(standing.as_slice().try_into().ok()?);
                self.standings.push((subject, standing, detail));
            }
            Line::Debts(debts) => self.debts.push(debts.read()?),
            Line::Usage { instance, seq, now, deltas } => {
                let deltas = deltas.into_iter().map(Delta::read).collect::<Option<_>>()?;
                self.usage.push(UsageBatch { instance, seq, now, deltas });
            }
            Line::Report(report) => self.reports.push(report.read()?),
            Line::Event(event) => self.events.push(*event),
            Line::Profile { subject, packed } => {
                self.profiles.push((subject, unpack_profile(&hex::decode(packed).ok()?).ok()?));
            }
            Line::End(_) => {}
            Line::Of { .. } => return None,
        }
        Some(())
    }
}

impl From<DebtBatch> for Debts {
    fn from(DebtBatch { instance, number, now, charges, changes }: DebtBatch) -> Self {
        let charges = charges.into_iter().map(|charge| (charge.subject, charge.now, charge.counts)).collect();
        let changes = changes
            .into_iter()
            .map(|CounterChange { counter, back, add }| Change {
                scope: counter.scope.as_str().to_owned(),
                id: counter.id,
                back,
                add,
            })
            .collect();
        Self { instance, number, now, charges, changes }
    }
}

impl Debts {
    fn read(self) -> Option<DebtBatch> {
        let Self { instance, number, now, charges, changes } = self;
        let charge = |(subject, now, counts)| Charge {
            counts,
            mode: ChargeMode::Report,
            may_create: true,
            ..Charge::look(subject, now)
        };
        let change = |Change { scope, id, back, add }| {
            Some(CounterChange { counter: Counter { scope: Scope::parse(&scope)?, id }, back, add })
        };
        let charges = charges.into_iter().map(charge).collect();
        let changes = changes.into_iter().map(change).collect::<Option<_>>()?;
        Some(DebtBatch { instance, number, now, charges, changes })
    }
}

impl From<UsageDelta> for Delta {
    fn from(UsageDelta { minute, key, measured }: UsageDelta) -> Self {
        Self {
            minute,
            key: key.encode(),
            totals: hex::encode(measured.totals.pack()),
            latencies: hex::encode(measured.latencies.pack()),
        }
    }
}

impl Delta {
    fn read(self) -> Option<UsageDelta> {
        let totals = Totals::unpack(&hex::decode(self.totals).ok()?)?;
        let latencies = Latencies::unpack(&hex::decode(self.latencies).ok()?)?;
        let key = UsageKey::decode(self.key.as_bytes())?;
        Some(UsageDelta { minute: self.minute, key, measured: Measured { totals, latencies } })
    }
}

impl From<(Charge, UsageDelta)> for KeptReport {
    fn from((charge, usage): (Charge, UsageDelta)) -> Self {
        let entry = charge.entry.map(|entry| *entry).unwrap_or_default();
        let counters = charge.counters.into_iter().map(|charge| KeptCounter {
            scope: charge.counter.scope.as_str().to_owned(),
            id: charge.counter.id,
            amount: charge.amount,
            most: charge.most,
            until: charge.until,
            block: charge.block,
        });
        Self {
            subject: charge.subject,
            now: charge.now,
            counts: charge.counts,
            may_create: charge.may_create,
            observing: charge.observing,
            counters: counters.collect(),
            claim: entry.claim.map(|claim| format!("{claim:032x}")),
            settles: entry.settles.map(|settles| (settles.id, settles.keeps_estimate)),
            counted_at: entry.counted_at,
            usage: usage.into(),
            attempt: entry.attempt,
            observed: entry.reserves,
        }
    }
}

impl KeptReport {
    fn read(self) -> Option<Report> {
        let counter = |kept: KeptCounter| {
            let counter = Counter { scope: Scope::parse(&kept.scope)?, id: kept.id };
            let KeptCounter { amount, most, until, block, .. } = kept;
            Some(CounterCharge { counter, amount, most, until, block })
        };
        let claim = match self.claim {
            Some(text) => Some(u128::from_str_radix(&text, 16).ok()?),
            None => None,
        };
        let settles = self.settles.map(|(id, keeps_estimate)| Settles { id, keeps_estimate });
        let (attempt, counted_at) = (self.attempt, self.counted_at);
        // Nothing else is held by what waits.
        let reserves = self.observed.map(|held| Reservation { stage: Stage::Observed, ..held });
        let entry = LedgerEntry { claim, attempt, settles, reserves, counted_at };
        let charge = Charge {
            counts: self.counts,
            mode: ChargeMode::Report,
            may_create: self.may_create,
            observing: self.observing,
            counters: self.counters.into_iter().map(counter).collect::<Option<_>>()?,
            entry: Some(Box::new(entry)),
            ..Charge::look(self.subject, self.now)
        };
        Some(Report { charge, usage: Counted::Delta(self.usage.read()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{event::EventType, finding::Severity, ladder::operator_ban};

    const STORE: &str = "redis://db:6379 kw";

    fn counter() -> Counter {
        Counter { scope: Scope::Subject(Subject::key("a")), id: u64::MAX }
    }

    fn delta() -> UsageDelta {
        let totals = Totals { requests: 3, tokens: 70, ..Totals::default() };
        let measured = Measured { totals, latencies: Latencies::of(Some(12.5)) };
        UsageDelta {
            minute: 60_000,
            key: UsageKey { key: Some("a".into()), ..UsageKey::default() },
            measured,
        }
    }

    fn observed() -> Reservation {
        let json = serde_json::json!({"id": "o", "key": "a", "until": 9, "counts": Counts::default(), "counters": []});
        let read: Reservation = serde_json::from_value(json).unwrap();
        Reservation { stage: Stage::Observed, ..read }
    }

    fn report() -> Report {
        let entry = LedgerEntry {
            claim: Some(u128::MAX),
            attempt: 11,
            settles: Some(Settles { id: "r".into(), keeps_estimate: true }),
            counted_at: Some(4),
            reserves: Some(observed()),
        };
        let charged = CounterCharge { counter: counter(), amount: 7, most: 9, until: 8, block: Some(6) };
        let charge = Charge {
            counts: Counts { requests: 1, ..Counts::default() },
            mode: ChargeMode::Report,
            may_create: true,
            counters: vec![charged],
            entry: Some(Box::new(entry)),
            ..Charge::look(Subject::key("a"), 5)
        };
        Report { charge, usage: Counted::Delta(delta()) }
    }

    fn everything() -> Leftovers {
        let standing = operator_ban(&Standing::default(), Some(1_000), 5);
        let detail = StandingDetail { reason: "stolen\nkey".to_owned(), ..StandingDetail::default() };
        let charge = Charge {
            counts: Counts { tokens: 9, ..Counts::default() },
            mode: ChargeMode::Report,
            may_create: true,
            ..Charge::look(Subject::project("p"), 5)
        };
        let change = CounterChange { counter: counter(), back: Some((1, 2)), add: None };
        let debts = DebtBatch {
            instance: "i".into(),
            number: 4,
            now: 5,
            charges: vec![charge],
            changes: vec![change],
        };
        let mut profile = Profile { requests: 3, ..Profile::default() };
        profile.count_flagged(1_760_000_000_000, 7, 9);
        Leftovers {
            standings: vec![(Subject::key("a"), standing, detail)],
            debts: vec![debts],
            usage: vec![UsageBatch { instance: "i".into(), seq: 2, now: 5, deltas: vec![delta()] }],
            reports: vec![report()],
            events: vec![Event::new(5, EventType::StoreDegraded, Severity::High, None)],
            profiles: vec![(Subject::key("a"), profile)],
        }
    }

    #[test]
    fn what_was_written_is_read_again_to_the_last_number() {
        let (bytes, lost) = everything().write(STORE);
        let (read, whole) = (Leftovers::read(&bytes, STORE).unwrap(), everything());
        assert_eq!(lost, 0);
        assert_eq!((read.standings, read.debts, read.usage), (whole.standings, whole.debts, whole.usage));
        assert_eq!((read.events, read.profiles), (whole.events, whole.profiles));
        let (there, here) = (&read.reports[0], report());
        assert_eq!(there.charge, here.charge);
        let Counted::Delta(usage) = &there.usage else { panic!("it was one") };
        assert_eq!(*usage, delta());
    }

    #[test]
    fn a_journal_that_was_cut_short_is_damaged_wherever_it_was_cut() {
        let (bytes, _) = everything().write(STORE);
        for length in 0..bytes.len() {
            let read = Leftovers::read(&bytes[..length], STORE).map(drop);
            assert_eq!(read, Err(Unread::Damaged), "{length} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_journal_for_another_store_or_namespace_is_not_read() {
        let (bytes, _) = everything().write(STORE);
        for other in ["redis://db:6379 other", "redis://other:6379 kw", "embedded", ""] {
            let read = Leftovers::read(&bytes, other).map(drop);
            assert_eq!(read, Err(Unread::OfAnother(STORE.to_owned())), "{other}");
        }
    }

    #[test]
    fn where_there_is_no_room_bans_are_the_last_to_be_left_out() {
        let (all, _) = everything().write(STORE);
        let (bytes, lost) = everything().write_within(STORE, all.len() / 2);
        let read = Leftovers::read(&bytes, STORE).unwrap();
        assert!(lost > 0 && read.standings.len() == 1 && read.profiles.is_empty(), "{lost}");
    }
}
