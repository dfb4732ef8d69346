//! Counters of limits: amounts with the moments at which they stop counting.
//!
//! For a span that slides, that is when the bucket of the amount expires ([`super::window`] has the rule); for a
//! calendar span, when the period ends. A counter knows nothing else of time, so both stores and all spans share one
//! rule.

use serde::{Deserialize, Serialize};

use super::{
    Millis,
    calendar::Zone,
    limit::{Limit, Scope, Span},
    stable_hash,
};

/// Where a limit is counted: a scope, and the limit's identity there. What a limit allows is not part of it, so that
/// raising a limit does not forget what was used.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Counter {
    /// On whom it counts.
    pub scope: Scope,
    /// Unit, span, zone and models, hashed.
    pub id: u64,
}

impl Counter {
    /// The counter of a limit. Limits of a plan on a key and of the key itself share it: what they count is the same.
    pub fn of(scope: &Scope, limit: &Limit, zone: &Zone) -> Self {
        let zone = match limit.span {
            Span::Calendar(_) => zone.name(),
            Span::Sliding(_) => "",
        };
        let model = limit.model.as_deref().unwrap_or("");
        let text = format!("{}\n{}\n{zone}\n{model}", limit.unit.name(), limit.span);
        Self { scope: scope.clone(), id: stable_hash(text.as_bytes()) }
    }

    /// The counter beside that of a limit, which holds 1 while everything is refused that the limit applies to.
    #[must_use]
    pub fn of_block(&self, most: u64) -> Self {
        let text = format!("block\n{:016x}\n{most}", self.id);
        Self { scope: self.scope.clone(), id: stable_hash(text.as_bytes()) }
    }
}

/// What one request charges to one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterCharge {
    /// The counter that is charged.
    pub counter: Counter,
    /// How much, in the limit's unit.
    pub amount: u64,
    /// The most that the counter may hold with it; [`u64::MAX`]: any amount.
    pub most: u64,
    /// When it stops counting ([`Span::counts_until`]).
    pub until: Millis,
    /// Of a block, of which nothing is charged and which may hold nothing: once the charge before it in the list does
    /// not fit, and the block holds nothing, it holds 1 for so many milliseconds.
    pub block: Option<Millis>,
}

impl CounterCharge {
    /// The block of a limit of `most` that is counted in `counter`, to be put behind the charge of that. Milliseconds.
    pub fn of_block((counter, most): (&Counter, u64), length: Millis, now: Millis) -> Self {
        Self { counter: counter.of_block(most), amount: 0, most: 0, until: now + length, block: Some(length) }
    }

    /// The same counter and limit, of which nothing more is charged.
    pub fn of_nothing(&self) -> Self {
        Self { amount: 0, ..self.clone() }
    }
}

/// A change of a counter that no limit is asked about: an amount given back, an amount added, each with its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterChange {
    /// The counter that is changed.
    pub counter: Counter,
    /// The amount that is given back, and its end.
    pub back: Option<(u64, Millis)>,
    /// The amount that is added, and its end.
    pub add: Option<(u64, Millis)>,
}

/// What a counter holds after a charge, or would without it where it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterCount {
    /// The amount that counts now.
    pub used: u64,
    /// When the oldest of it stops counting; `None` when it is empty.
    pub resets_at: Option<Millis>,
}

/// Which of the charges of a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterRefusal {
    /// Its place among the charges; of several the one that keeps out longest.
    pub index: usize,
    /// When it would fit if nobody else came; `None`: it never does.
    pub retry_at: Option<Millis>,
}

/// Amounts that count until some moment, oldest first: what a store keeps of a counter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amounts(pub Vec<(Millis, u64)>);

impl Amounts {
    /// What counts at `now`.
    pub fn used(&self, now: Millis) -> CounterCount {
        let counting = self.0.iter().filter(|(until, _)| *until > now);
        let used = counting.clone().fold(0_u64, |sum, (_, amount)| sum.saturating_add(*amount));
        CounterCount { used, resets_at: counting.clone().next().map(|(until, _)| *until) }
    }

    /// When `amount` would fit below `most`; `None` when never.
    pub fn fits_at(&self, amount: u64, most: u64, now: Millis) -> Option<Millis> {
        if amount > most {
            return None;
        }
        let mut used = self.used(now).used;
        if used.saturating_add(amount) <= most {
            return Some(now);
        }
        for (until, part) in self.0.iter().filter(|(until, _)| *until > now) {
            used -= part;
            if used.saturating_add(amount) <= most {
                return Some(*until);
            }
        }
        None
    }

    /// Counts an amount, and forgets what has ended.
    pub fn add(&mut self, amount: u64, until: Millis, now: Millis) {
        self.0.retain(|(end, _)| *end > now);
        if amount == 0 || until <= now {
            return;
        }
        let at = self.0.partition_point(|(end, _)| *end < until);
        match self.0.get_mut(at) {
            Some((end, part)) if *end == until => *part = part.saturating_add(amount),
            _ => self.0.insert(at, (until, amount)),
        }
    }

    /// Gives an amount back that counted until then; nothing, if it has ended.
    pub fn give_back(&mut self, amount: u64, until: Millis) {
        if let Ok(at) = self.0.binary_search_by_key(&until, |(end, _)| *end) {
            self.0[at].1 = self.0[at].1.saturating_sub(amount);
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    /// Whether nothing counts any more.
    pub fn is_over(&self, now: Millis) -> bool {
        self.0.last().is_none_or(|(end, _)| *end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{limit::Calendar, subject::Subject, window::Unit};

    #[test]
    fn amounts_leave_at_their_time_and_tell_when_more_fits() {
        let mut amounts = Amounts::default();
        for (amount, until) in [(5, 100), (3, 100), (4, 200)] {
            amounts.add(amount, until, 0);
        }
        assert_eq!(amounts.used(0), CounterCount { used: 12, resets_at: Some(100) });
        assert_eq!(amounts.used(100), CounterCount { used: 4, resets_at: Some(200) });
        let fits = |amount| amounts.fits_at(amount, 12, 0);
        assert_eq!([fits(0), fits(8), fits(9), fits(13)], [Some(0), Some(100), Some(200), None]);
        amounts.give_back(2, 100);
        assert_eq!(amounts.used(0).used, 10);
        amounts.add(1, 150, 0);
        amounts.give_back(1, 120);
        assert_eq!(amounts.0, [(100, 6), (150, 1), (200, 4)]);
        amounts.give_back(1, 150);
        amounts.add(1, 250, 100);
        assert_eq!(amounts.0, [(200, 4), (250, 1)]);
        assert_eq!((amounts.is_over(249), amounts.is_over(250)), (false, true));
    }

    #[test]
    fn raising_a_limit_forgets_nothing() {
        let limit = Limit::new(Unit::CostUsd, Span::Calendar(Calendar::Month), 1);
        let raised = Limit { most: 2, ..limit.clone() };
        let scope = Scope::Subject(Subject::project("p"));
        let of = |limit: &Limit, name: &str| Counter::of(&scope, limit, &Zone::named(name).unwrap());
        assert_eq!(of(&limit, "UTC"), of(&raised, "UTC"));
        assert_ne!(of(&limit, "UTC"), of(&limit, "Asia/Tokyo"));
    }
}
