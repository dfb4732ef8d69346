//! Reservations: an estimate that is held in windows and counters until the request is reported.
//!
//! Each ends once. Its record settles it: what was held is given back, and what was used is charged, in one step. One
//! that nobody settles in time is given back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Millis,
    counter::{Counter, CounterChange},
    limit::Scope,
    subject::Subject,
    window::Counts,
};

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
    /// What the windows hold of it.
    pub counts: Counts,
    /// What the estimate costs, in nano-dollars.
    #[serde(default)]
    pub cost_nanos: u64,
    /// What counters hold of it.
    pub counters: Vec<HeldAmount>,
    /// When it ends, if nobody settles it.
    pub until: Millis,
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
    /// Until when it is held: the end of the reservation, or of the span where that comes first.
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

impl Reservation {
    /// Whose windows hold it, as a subject.
    pub fn subject(&self) -> Subject {
        Subject::key(&self.key)
    }

    /// Whether a record of this key may still settle it at `now`.
    pub fn is_open_to(&self, key: &Subject, now: Millis) -> bool {
        self.until > now && self.subject() == *key
    }
}

/// The reservation that a report settles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settles {
    /// [`Reservation::id`].
    pub id: Arc<str>,
    /// The report does not say what was used: the estimate is charged as used.
    pub keeps_estimate: bool,
}
