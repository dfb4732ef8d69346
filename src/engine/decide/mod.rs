//! The way of one request to its decision: [`Engine::record`] and [`Engine::check`] are the whole of it.
//!
//! `prepare` finds what is known before the store is asked, `observe` makes the one trip to it, `judge` asks the
//! detectors, climbs the ladder, writes what changed and has the profile learn. `fallback` and `breaker` take over while
//! the store does not answer. [`Engine::explain`] is `record` with a trace.

pub(in crate::engine) mod breaker;
pub(in crate::engine) mod budgets;
pub(in crate::engine) mod explain;
pub(in crate::engine) mod fallback;
pub(in crate::engine) mod frame;
pub(in crate::engine) mod idempotency;
mod judge;
mod limits;
mod observe;
pub(in crate::engine) mod prepare;
pub(in crate::engine) mod reservations;
pub(in crate::engine) mod spared;
mod terms;

use explain::{Fact, Trace};

use crate::{
    domain::{Millis, decision::Decision, record::Record},
    engine::Engine,
};

impl Engine {
    /// Decides about finished requests, in order, and learns from them. Waits for the store once if nothing is found.
    pub async fn record(&self, records: &[Record], now: Millis) -> Vec<Decision> {
        self.decide(records, now, &mut ()).await
    }

    async fn decide(&self, records: &[Record], now: Millis, trace: &mut impl Trace) -> Vec<Decision> {
        let active = self.active.load_full();
        let (records, terms) = self.terms(records, &active, now);
        self.load_spared(&records, active.observes(), now).await;
        let mut items = self.prepare(&records, terms, &active, now, prepare::Purpose::Record).await;
        self.observe(&mut items, &active, now).await;
        let mut decisions: Vec<Decision> = Vec::with_capacity(records.len());
        for item in items {
            let mut decision = match item.state {
                prepare::State::Decided(decision) => *decision,
                prepare::State::SameAs(earlier) => decisions[earlier].clone(),
                prepare::State::Observed(observed) => {
                    trace.see(Fact::Observed(&observed));
                    self.judge(item.record, *observed, &active, trace).await
                }
                prepare::State::Waiting(_) => self.unavailable(item.record, &active, now),
            };
            active.policy.enforcement.soften(&mut decision);
            self.remember(item.record, &decision, now).await;
            self.metrics.count(&decision);
            self.count_usage(item.record, &decision, item.elsewhere, now);
            decisions.push(decision);
        }
        decisions
    }

    /// Decides about a request before it is made (`tokens` is the estimate). Counts nothing; a refusal is an event. With
    /// `reserve` the estimate is held until the record settles it, or for the lease of a minute.
    pub async fn check(&self, record: &Record, reserve: bool, now: Millis) -> Decision {
        let active = self.active.load_full();
        let purpose = if reserve { prepare::Purpose::Reserve } else { prepare::Purpose::Check };
        let (records, terms) = self.terms(std::slice::from_ref(record), &active, now);
        self.load_spared(&records, active.observes(), now).await;
        let mut items = self.prepare(&records, terms, &active, now, purpose).await;
        self.observe(&mut items, &active, now).await;
        let mut decision = match items.pop().map(|item| (item.record, item.state)) {
            Some((_, prepare::State::Decided(decision))) => *decision,
            Some((record, prepare::State::Observed(observed))) => {
                self.answer_check(record, &observed, &active)
            }
            _ => self.unavailable(record, &active, now),
        };
        active.policy.enforcement.soften(&mut decision);
        self.metrics.count_check(&decision);
        decision
    }
}
