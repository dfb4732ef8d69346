//! What takes over while the store does not answer: an in-process limiter, and the memory of what to write to the store
//! when it is back.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterChange, CounterCharge},
        observation::{Charge, ChargeMode, Observation},
        standing::{Standing, StandingDetail},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::embedded::{Counters, Ledger},
};

/// Subjects that the fallback counts at most.
const MAX_SUBJECTS: usize = 200_000;
/// Local standings that wait for the store at most.
const MAX_STANDINGS: usize = 100_000;

#[derive(Debug, Default)]
struct Owed {
    /// With whether a subject that the store does not know is made known to it.
    usage: HashMap<Subject, (Counts, bool)>,
    standings: HashMap<Subject, (Standing, StandingDetail)>,
    counters: HashMap<(Counter, Millis), u64>,
    /// Amounts that are to be given back.
    backs: Vec<CounterChange>,
}

impl Owed {
    /// Takes an amount out of what a counter is owed until that moment; says what of it was not owed.
    fn take_from(&mut self, counter: &Counter, amount: u64, until: Millis) -> u64 {
        let Some(owed) = self.counters.get_mut(&(counter.clone(), until)) else { return amount };
        let taken = amount.min(*owed);
        *owed -= taken;
        amount - taken
    }
}

/// The in-process limiter and what is owed to the store.
pub(super) struct Fallback {
    counters: Counters,
    ledger: Ledger,
    owed: Mutex<Owed>,
}

impl Default for Fallback {
    fn default() -> Self {
        Self { counters: Counters::new(MAX_SUBJECTS), ledger: Ledger::default(), owed: Mutex::default() }
    }
}

impl Fallback {
    /// Observes a charge in memory, with each limit at this instance's share (thousandths).
    pub(super) fn observe(&self, charge: &Charge, share_permille: u16) -> Observation {
        let limits: WindowLimits = charge.limits.at_share(share_permille);
        let mut charge = Charge { limits, may_create: true, entry: None, ..charge.clone() };
        if charge.counters.is_empty() {
            return self.counters.observe(&charge);
        }
        for counter in &mut charge.counters {
            counter.most = (u128::from(counter.most) * u128::from(share_permille) / 1000) as u64;
        }
        self.ledger.charge(&charge, &self.counters)
    }

    /// Notes changes that the store's counters lack. What is added to one is added up.
    pub(super) fn owe_changes(&self, changes: &[CounterChange]) {
        let mut owed = self.owed.lock();
        for change in changes {
            // What is given back may itself still be owed.
            if let Some((amount, until)) = change.back {
                let rest = owed.take_from(&change.counter, amount, until);
                if rest > 0 && owed.backs.len() < MAX_SUBJECTS {
                    owed.backs.push(CounterChange { back: Some((rest, until)), add: None, ..change.clone() });
                }
            }
            let Some((amount, until)) = change.add else { continue };
            let key = (change.counter.clone(), until);
            if owed.counters.len() < MAX_SUBJECTS || owed.counters.contains_key(&key) {
                let added = owed.counters.entry(key).or_default();
                *added = added.saturating_add(amount);
            }
        }
    }

    /// What counters are owed, taken.
    pub(super) fn take_counters(&self) -> Vec<CounterChange> {
        let mut owed = self.owed.lock();
        let added = std::mem::take(&mut owed.counters).into_iter();
        let mut changes = std::mem::take(&mut owed.backs);
        let added = added.filter(|(_, amount)| *amount > 0);
        changes.extend(added.map(|((counter, until), amount)| CounterChange {
            counter,
            back: None,
            add: Some((amount, until)),
        }));
        changes
    }

    /// Notes what a charge used, for the store to count when it can: its windows, where the subject is known or may be,
    /// and its counters.
    pub(super) fn owe(&self, charge: &Charge, with_windows: bool) {
        if with_windows {
            self.owe_usage(charge);
        }
        let add = |counter: &CounterCharge| CounterChange {
            counter: counter.counter.clone(),
            back: None,
            add: (counter.amount > 0).then_some((counter.amount, counter.until)),
        };
        self.owe_changes(&charge.counters.iter().map(add).collect::<Vec<_>>());
    }

    fn owe_usage(&self, charge: &Charge) {
        let mut owed = self.owed.lock();
        if owed.usage.len() < MAX_SUBJECTS || owed.usage.contains_key(&charge.subject) {
            let (counts, may_create) = owed.usage.entry(charge.subject.clone()).or_default();
            counts.add(&charge.counts);
            *may_create |= charge.may_create;
        }
    }

    /// Notes a standing that the store lacks.
    pub(super) fn owe_standing(&self, subject: &Subject, standing: Standing, detail: StandingDetail) {
        let mut owed = self.owed.lock();
        if owed.standings.len() < MAX_STANDINGS {
            owed.standings.insert(subject.clone(), (standing, detail));
        }
    }

    /// Takes the standings that the store does not have yet.
    pub(super) fn take_standings(&self) -> Vec<(Subject, Standing, StandingDetail)> {
        let standings = std::mem::take(&mut self.owed.lock().standings);
        standings.into_iter().map(|(subject, (standing, detail))| (subject, standing, detail)).collect()
    }

    /// Usage owed, taken, as reports at `now`.
    pub(super) fn take_usage(&self, now: Millis) -> Vec<Charge> {
        let usage = std::mem::take(&mut self.owed.lock().usage);
        usage
            .into_iter()
            .map(|(subject, (counts, may_create))| Charge {
                counts,
                mode: ChargeMode::Report,
                may_create,
                ..Charge::look(subject, now)
            })
            .collect()
    }

    /// Forgets counters of subjects that are long idle.
    pub(super) fn sweep(&self, now: Millis) {
        self.counters.sweep(now);
        self.ledger.sweep(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::limit::Scope;

    #[test]
    fn what_is_given_back_while_it_is_still_owed_is_not_sent_at_all() {
        let fallback = Fallback::default();
        let counter = Counter { scope: Scope::Everything, id: 7 };
        let change = |back, add| CounterChange { counter: counter.clone(), back, add };
        // A reservation is dispatched, and then settled to less, while its budget's slot is away.
        fallback.owe_changes(&[change(Some((300, 60)), Some((300, 9_000)))]);
        fallback.owe_changes(&[change(Some((300, 9_000)), Some((120, 9_000)))]);
        assert_eq!(
            fallback.take_counters(),
            [change(Some((300, 60)), None), change(None, Some((120, 9_000)))]
        );
        fallback.owe_changes(&[change(None, Some((50, 9_000))), change(Some((80, 9_000)), None)]);
        assert_eq!(fallback.take_counters(), [change(Some((30, 9_000)), None)]);
    }
}
