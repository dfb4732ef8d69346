//! Reservations: an estimate that is held in windows and counters until the request is reported.
//!
//! Each ends once. Its record settles it: what was held is given back, and what was used is charged, in one step. One
//! that nobody settles in time is given back; where its request had left for the provider it is charged instead, and a
//! record that comes within a day corrects that.

mod id;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use id::ReservationId;

use super::{
    DAY, HOUR, MINUTE, Millis,
    counter::{Counter, CounterChange},
    limit::Scope,
    subject::Subject,
    usage::{Bucket, Measured, Totals, UsageDelta, UsageKey},
    window::Counts,
};

/// How long after its end a charged estimate is corrected by a record, in milliseconds.
pub const CORRECTABLE: Millis = DAY;
/// How long after its end a reservation that was given back is remembered, so that its record is told.
pub const REMEMBERED: Millis = HOUR;
/// How long a request that was counted when it was seen on its way is completed by its record, in milliseconds.
pub const COMPLETED_WITHIN: Millis = 10 * MINUTE;

/// How far a reservation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// The estimate is held; where nobody settles it, it is given back at its end.
    #[default]
    Held,
    /// The request has left for the provider; where nobody settles it, the estimate is charged at its end.
    Dispatched,
    /// It ended and the estimate is charged; a record corrects that for as long as [`CORRECTABLE`].
    Charged,
    /// It ended and was given back; it is remembered for as long as [`REMEMBERED`].
    Lapsed,
    /// A record has corrected the charge.
    Corrected,
    /// No estimate: the request was counted when it was seen on its way. Its record completes it until its end; then
    /// the charge stays as it is.
    Observed,
}

impl Stage {
    const ALL: [Self; 6] =
        [Self::Held, Self::Dispatched, Self::Charged, Self::Lapsed, Self::Corrected, Self::Observed];

    /// As a number, by which stores keep it.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The stage with this number.
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether it has not ended.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Dispatched)
    }
}

/// An estimate that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// What the record names, so that it settles this one.
    pub id: Arc<str>,
    /// The public id of the key whose windows hold it.
    pub key: Arc<str>,
    /// When it was charged, by the store; set when it is read.
    #[serde(skip)]
    pub charged_at: Millis,
    /// How far it has come; set when it is read.
    #[serde(skip)]
    pub stage: Stage,
    /// What the windows hold of it.
    pub counts: Counts,
    /// What the estimate costs, in nano-dollars.
    #[serde(default)]
    pub cost_nanos: u64,
    /// What counters hold of it.
    pub counters: Vec<HeldAmount>,
    /// When it ends, if nobody settles it.
    pub until: Millis,
    /// What usage counts of it, should it be charged.
    #[serde(default)]
    pub usage: EstimatedUsage,
    /// By what a record of the same request finds it that does not name it, once it is charged:
    /// [`ReservationId::of_observation`]. `None`: the request was given no id. Stores keep it beside the rest.
    #[serde(skip)]
    pub request: Option<Arc<str>>,
}

/// What usage counts of a charged estimate, beside its tokens and its cost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EstimatedUsage {
    /// The project that the request was to belong to.
    pub project: Option<Arc<str>>,
    /// The model that it was to call, as usage counts it.
    pub model: Option<Arc<str>>,
    /// Tokens of the prompt, as far as they were told apart.
    pub input_tokens: u64,
    /// Tokens of the answer, as far as they were told apart.
    pub output_tokens: u64,
}

/// How a check wants its estimate held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HoldTerms {
    /// For how many milliseconds; `None`: as the settings say.
    pub lease: Option<Millis>,
    /// Whether the request leaves for the provider at once.
    pub dispatched: bool,
}

/// What a counter holds of a reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAmount {
    /// The scope of the counter, as [`Scope::as_str`] writes it.
    pub scope: Arc<str>,
    /// [`Counter::id`].
    pub id: u64,
    /// How much, in the unit of the limit.
    pub amount: u64,
    /// Until when it is held ([`Reservation::holds_until`]).
    pub until: Millis,
    /// Until when it would count if it were used.
    pub counts_until: Millis,
}

impl HeldAmount {
    /// The counter that holds it; `None` when its scope cannot be read.
    pub fn counter(&self) -> Option<Counter> {
        Some(Counter { scope: Scope::parse(&self.scope)?, id: self.id })
    }

    /// What gives it back, and with `used` charges it as used.
    pub fn change(&self, used: bool) -> Option<CounterChange> {
        let add = used.then_some((self.amount, self.counts_until));
        Some(CounterChange { counter: self.counter()?, back: Some((self.amount, self.until)), add })
    }
}

/// What is changed of a reservation that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationChange {
    /// It is held for longer, or its request has left for the provider.
    Extend {
        /// It then ends so many milliseconds from now, and never earlier than it did; `None`: when it did.
        lease: Option<Millis>,
        /// Whether the request has left; `false` leaves it as it is.
        dispatched: bool,
    },
    /// What it holds is given back: the request is not made.
    GiveBack,
}

/// What became of the wish to change a reservation.
#[allow(clippy::large_enum_variant, reason = "there is one for each call, and it is taken apart at once")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReservationChanged {
    /// It is so now; given back, it is as it was before.
    Done(Reservation, Vec<CounterChange>),
    /// It had ended before.
    Ended(Stage),
    /// There is none of this id: it was settled or given back, or it never was.
    Unknown,
}

/// What the end of a reservation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had not ended, or somebody was quicker.
    Not,
    /// What it held is given back.
    GivenBack,
    /// Its estimate is charged.
    Charged,
    /// It had ended before, and is no longer remembered.
    Forgotten,
}

impl Reservation {
    /// Whose windows hold it, as a subject.
    pub fn subject(&self) -> Subject {
        Subject::key(&self.key)
    }

    /// Whether a record of this key settles or corrects it at `now`.
    pub fn is_open_to(&self, key: &Subject, now: Millis) -> bool {
        let open = match self.stage {
            Stage::Held | Stage::Observed => self.until > now,
            Stage::Dispatched | Stage::Charged => self.until + CORRECTABLE > now,
            Stage::Lapsed | Stage::Corrected => false,
        };
        open && self.subject() == *key
    }

    /// Whether it was given back, or is about to be.
    pub fn has_lapsed(&self, now: Millis) -> bool {
        self.stage == Stage::Lapsed || self.stage == Stage::Held && self.until <= now
    }

    /// Whether its estimate was charged, or is about to be: what settles it then is a correction.
    pub fn is_charged(&self, now: Millis) -> bool {
        self.stage == Stage::Charged || self.stage == Stage::Dispatched && self.until <= now
    }

    /// When its stage ends.
    pub fn due(&self) -> Millis {
        match self.stage {
            Stage::Held | Stage::Dispatched | Stage::Corrected | Stage::Observed => self.until,
            Stage::Charged => self.until + CORRECTABLE,
            Stage::Lapsed => self.until + REMEMBERED,
        }
    }

    /// Until when a counter holds an amount that would count until `counts_until` if it were used. One that is not
    /// dispatched ends with the lease by itself. One that is may be charged: it never ends before that is decided.
    pub fn holds_until(&self, counts_until: Millis) -> Millis {
        if self.stage == Stage::Held { counts_until.min(self.until) } else { counts_until }
    }

    /// The same at another stage and with another end; each amount is held accordingly.
    pub fn at(self, stage: Stage, until: Millis) -> Self {
        let mut moved = Self { stage, until, ..self };
        for index in 0..moved.counters.len() {
            moved.counters[index].until = moved.holds_until(moved.counters[index].counts_until);
        }
        moved
    }

    /// The same as [`ReservationChange::Extend`] has it at `now`.
    pub fn extended(&self, lease: Option<Millis>, dispatched: bool, now: Millis) -> Self {
        let until = lease.map_or(self.until, |lease| self.until.max(now.saturating_add(lease)));
        let stage = if dispatched { Stage::Dispatched } else { self.stage };
        self.clone().at(stage, until)
    }

    /// What moves each amount from where it was held before to where it is held now.
    pub fn moves_from<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = CounterChange> + 'a {
        let both =
            before.counters.iter().zip(&self.counters).filter(|(before, now)| before.until != now.until);
        both.filter_map(|(before, now)| {
            let (back, add) = (Some((before.amount, before.until)), Some((now.amount, now.until)));
            Some(CounterChange { counter: now.counter()?, back, add })
        })
    }

    /// What gives back all that counters hold of it.
    pub fn give_back(&self) -> impl Iterator<Item = CounterChange> + '_ {
        self.counters.iter().filter_map(|held| held.change(false))
    }

    /// What remains of it when it was given back: enough to tell its record.
    pub fn lapsed(self) -> Self {
        let counters = Vec::new();
        let (counts, cost_nanos, usage) = (Counts::default(), 0, EstimatedUsage::default());
        Self { stage: Stage::Lapsed, counts, cost_nanos, counters, usage, request: None, ..self }
    }

    /// What usage counts when the estimate is charged, in the minute of its end; `back`: what takes that away again.
    pub fn usage_delta(&self, back: bool) -> UsageDelta {
        let EstimatedUsage { project, model, input_tokens, output_tokens } = self.usage.clone();
        let key = UsageKey { project, model, key: Some(self.key.clone()), ..UsageKey::default() };
        let (requests, tokens, cost_nanos) = (self.counts.requests, self.counts.tokens, self.cost_nanos);
        let totals =
            Totals { requests, tokens, cost_nanos, input_tokens, output_tokens, ..Totals::default() };
        let key = if back { key.of_estimates_taken_back() } else { key.of_estimates() };
        let measured = Measured { totals, ..Measured::default() };
        UsageDelta { minute: Bucket::Minute.start(self.until), key, measured }
    }
}

/// The reservation that a report settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settles {
    /// [`Reservation::id`], or [`Reservation::request`] of one that is charged.
    pub id: Arc<str>,
    /// The report does not say what was used: the estimate is charged as used.
    pub keeps_estimate: bool,
}

impl Settles {
    /// Whether the estimate of the reservation that was found is charged as used. What was seen on its way has none.
    pub fn keeps(&self, found: &Reservation) -> bool {
        self.keeps_estimate && found.stage != Stage::Observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation(until: Millis) -> Reservation {
        let held = |counts_until: Millis| HeldAmount {
            scope: Scope::Everything.as_str().into(),
            id: 1,
            amount: 5,
            until: counts_until.min(until),
            counts_until,
        };
        Reservation {
            id: "r".into(),
            key: "k".into(),
            charged_at: 0,
            stage: Stage::Held,
            counts: Counts { requests: 1, tokens: 5, ..Counts::default() },
            cost_nanos: 7,
            counters: vec![held(50), held(1_000_000)],
            until,
            usage: EstimatedUsage::default(),
            request: None,
        }
    }

    fn held_until(reservation: &Reservation) -> Vec<Millis> {
        reservation.counters.iter().map(|held| held.until).collect()
    }

    #[test]
    fn a_dispatched_estimate_never_ends_in_a_counter_before_it_is_decided_upon() {
        let held = reservation(100);
        assert_eq!(held_until(&held), [50, 100]);
        let longer = held.extended(Some(200), false, 40);
        assert_eq!((longer.until, longer.stage, held_until(&longer)), (240, Stage::Held, vec![50, 240]));
        let never_shorter = longer.extended(Some(1), false, 40);
        assert_eq!(never_shorter, longer);
        let dispatched = longer.extended(None, true, 40);
        assert_eq!((dispatched.until, held_until(&dispatched)), (240, vec![50, 1_000_000]));
        assert_eq!(
            dispatched.moves_from(&longer).map(|change| change.add).collect::<Vec<_>>(),
            [Some((5, 1_000_000))]
        );
    }

    #[test]
    fn a_charge_is_corrected_for_a_day_and_a_reservation_that_lapsed_never() {
        let key = Subject::key("k");
        let of = |stage: Stage| reservation(100).at(stage, 100);
        let open = |stage: Stage, now: Millis| of(stage).is_open_to(&key, now);
        assert!(open(Stage::Held, 99) && !open(Stage::Held, 100));
        for stage in [Stage::Dispatched, Stage::Charged] {
            assert!(open(stage, 99 + CORRECTABLE) && !open(stage, 100 + CORRECTABLE), "{stage:?}");
        }
        assert!(!open(Stage::Lapsed, 0) && !open(Stage::Corrected, 0));
        assert!(!of(Stage::Held).is_open_to(&Subject::key("other"), 0));
        assert!(open(Stage::Observed, 99) && !open(Stage::Observed, 100));
        let stages = (0..6).map(|number| Stage::of_number(number).unwrap().number());
        assert_eq!(stages.collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(Stage::of_number(6), None);
    }
}
