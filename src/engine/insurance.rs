//! What takes over while the store does not answer: an in-process limiter, and the memory of what to tell the store
//! when it is back.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{
    domain::{
        Millis,
        observation::{Charge, ChargeMode, Observation},
        standing::{Standing, StandingDetail},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::embedded::Counters,
};

/// Subjects that the insurance counts at most.
const MAX_SUBJECTS: usize = 200_000;
/// Local standings that wait for the store at most.
const MAX_STANDINGS: usize = 100_000;

#[derive(Debug, Default)]
struct Owed {
    usage: HashMap<Subject, Counts>,
    standings: HashMap<Subject, (Standing, StandingDetail)>,
}

/// The in-process limiter and what is owed to the store.
pub struct Insurance {
    counters: Counters,
    owed: Mutex<Owed>,
}

impl Default for Insurance {
    fn default() -> Self {
        Self { counters: Counters::new(MAX_SUBJECTS), owed: Mutex::default() }
    }
}

impl Insurance {
    /// Observes a charge in memory, with each limit at this instance's share (thousandths).
    pub fn observe(&self, charge: &Charge, share_permille: u16) -> Observation {
        let limits: WindowLimits = charge.limits.at_share(share_permille);
        self.counters.observe(&Charge { limits, may_create: true, ..charge.clone() })
    }

    /// Notes usage that the store has to be told.
    pub fn owe_usage(&self, subject: &Subject, counts: &Counts) {
        let mut owed = self.owed.lock();
        if owed.usage.len() < MAX_SUBJECTS || owed.usage.contains_key(subject) {
            owed.usage.entry(subject.clone()).or_default().add(counts);
        }
    }

    /// Notes a standing that the store has to be told.
    pub fn owe_standing(&self, subject: &Subject, standing: Standing, detail: StandingDetail) {
        let mut owed = self.owed.lock();
        if owed.standings.len() < MAX_STANDINGS {
            owed.standings.insert(subject.clone(), (standing, detail));
        }
    }

    /// Standings owed, taken.
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
                quotas: Vec::new(),
                lease: None,
            })
            .collect()
    }

    /// Forgets counters of subjects that are long idle.
    pub fn sweep(&self, now: Millis) {
        self.counters.sweep(now);
    }
}
