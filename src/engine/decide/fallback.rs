//! What takes over while the store does not answer: an in-process limiter, and the memory of what to write to the store
//! when it is back.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        observation::{Charge, ChargeMode, Observation},
        quota::{Counter, QuotaChange, QuotaCharge},
        standing::{Standing, StandingDetail},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::embedded::{Counters, Quotas},
};

/// Subjects that the fallback counts at most.
const MAX_SUBJECTS: usize = 200_000;
/// Local standings that wait for the store at most.
const MAX_STANDINGS: usize = 100_000;

#[derive(Debug, Default)]
struct Owed {
    usage: HashMap<Subject, Counts>,
    standings: HashMap<Subject, (Standing, StandingDetail)>,
    quotas: HashMap<(Counter, Millis), u64>,
}

/// The in-process limiter and what is owed to the store.
pub struct Fallback {
    counters: Counters,
    quotas: Quotas,
    owed: Mutex<Owed>,
}

impl Default for Fallback {
    fn default() -> Self {
        Self { counters: Counters::new(MAX_SUBJECTS), quotas: Quotas::default(), owed: Mutex::default() }
    }
}

impl Fallback {
    /// Observes a charge in memory, with each limit at this instance's share (thousandths).
    pub fn observe(&self, charge: &Charge, share_permille: u16) -> Observation {
        let limits: WindowLimits = charge.limits.at_share(share_permille);
        let mut charge = Charge { limits, may_create: true, lease: None, ..charge.clone() };
        if charge.quotas.is_empty() {
            return self.counters.observe(&charge);
        }
        for quota in &mut charge.quotas {
            quota.most = (u128::from(quota.most) * u128::from(share_permille) / 1000) as u64;
            quota.held = None;
        }
        self.quotas.observe(&charge, &self.counters)
    }

    /// Notes what the store's counters lack.
    pub fn owe_quotas(&self, quotas: &[QuotaCharge]) {
        let mut owed = self.owed.lock();
        for quota in quotas {
            let key = (quota.counter.clone(), quota.until);
            if owed.quotas.len() < MAX_SUBJECTS || owed.quotas.contains_key(&key) {
                let amount = owed.quotas.entry(key).or_default();
                *amount = amount.saturating_add(quota.amount);
            }
        }
    }

    /// What counters are owed, taken.
    pub fn take_quotas(&self) -> Vec<QuotaChange> {
        let quotas = std::mem::take(&mut self.owed.lock().quotas);
        let change =
            |((counter, until), amount)| QuotaChange { counter, back: None, add: Some((amount, until)) };
        quotas.into_iter().map(change).collect()
    }

    /// Owes again what could not be written.
    pub fn owe_changes(&self, changes: &[QuotaChange]) {
        let mut owed = self.owed.lock();
        for change in changes {
            if let Some((amount, until)) = change.add {
                let owed = owed.quotas.entry((change.counter.clone(), until)).or_default();
                *owed = owed.saturating_add(amount);
            }
        }
    }

    /// Notes usage that the store lacks.
    pub fn owe_usage(&self, subject: &Subject, counts: &Counts) {
        let mut owed = self.owed.lock();
        if owed.usage.len() < MAX_SUBJECTS || owed.usage.contains_key(subject) {
            owed.usage.entry(subject.clone()).or_default().add(counts);
        }
    }

    /// Notes a standing that the store lacks.
    pub fn owe_standing(&self, subject: &Subject, standing: Standing, detail: StandingDetail) {
        let mut owed = self.owed.lock();
        if owed.standings.len() < MAX_STANDINGS {
            owed.standings.insert(subject.clone(), (standing, detail));
        }
    }

    /// Takes the standings that the store does not have yet.
    pub fn take_standings(&self) -> Vec<(Subject, Standing, StandingDetail)> {
        let standings = std::mem::take(&mut self.owed.lock().standings);
        standings.into_iter().map(|(subject, (standing, detail))| (subject, standing, detail)).collect()
    }

    /// Usage owed, taken, as forced charges at `now`.
    pub fn take_usage(&self, now: Millis) -> Vec<Charge> {
        let usage = std::mem::take(&mut self.owed.lock().usage);
        usage
            .into_iter()
            .map(|(subject, counts)| Charge {
                subject,
                now,
                counts,
                limits: WindowLimits::default(),
                mode: ChargeMode::Force,
                peer: None,
                peer_capacity: 1,
                may_create: true,
                observing: false,
                quotas: Vec::new(),
                lease: None,
            })
            .collect()
    }

    /// Forgets counters of subjects that are long idle.
    pub fn sweep(&self, now: Millis) {
        self.counters.sweep(now);
        self.quotas.sweep(now);
    }
}
