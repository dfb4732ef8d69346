//! The way of one request to its decision: [`Decider::record`] and [`Decider::check`] are the whole of it.
//!
//! Each stage owns the former (`stages`). `prepare` makes a `Request` of a record: all that is known before the store
//! is asked. `observe` makes the one trip and returns it `Observed`. `judge` holds it against bans, registry, limits
//! and detectors: it is `Judged`. `respond` climbs the ladder, writes what changed, has the profile learn, and returns
//! the [`Decision`]. [`Decider::explain`] is `record` with a trace.

mod attempts;
mod bans;
mod blocks;
mod crowd;
mod decider;
pub(in crate::engine) mod explain;
pub(in crate::engine) mod frame;
mod idempotency;
mod judge;
mod learn;
mod limits;
mod marks;
mod observe;
mod parts;
mod prepare;
mod repeated;
pub(in crate::engine) mod reservations;
mod respond;
mod shadows;
mod spared;
pub(in crate::engine) mod stages;
mod stops;
mod terms;

pub(in crate::engine) use attempts::Attempts;
pub(in crate::engine) use decider::{Decider, Remembers};

use explain::{Fact, Trace};
use idempotency::{Earlier, InFlight};
use prepare::Step;
use stages::{Observed, Purpose};

use crate::{
    domain::{
        Millis,
        decision::Decision,
        observation::{Charge, ChargeMode, Claim},
        record::Record,
        registry::{NotAllowed, Terms},
        reservation::HoldTerms,
    },
    engine::policy::ActivePolicy,
};

/// Records of a batch that go to the store together. One chunk of all batches is under way at a time, so that whoever
/// asks about one request waits behind some milliseconds of work of the store at most.
const CHUNK: usize = 100;

impl Decider {
    /// Decides about finished requests, in order, and learns from them. Waits for the store once if nothing is found;
    /// for each hundred of many. More than one wait their turn.
    pub(in crate::engine) async fn record(&self, records: &[Record], now: Millis) -> Vec<Decision> {
        if records.len() <= 1 {
            return self.decide(records, now, &mut ()).await;
        }
        let mut decisions = Vec::with_capacity(records.len());
        for chunk in records.chunks(CHUNK) {
            // First come, first served: each chunk waits its turn behind those of others. It is never closed.
            let _turn = self.batches.acquire().await;
            decisions.extend(self.decide(chunk, now, &mut ()).await);
        }
        decisions
    }

    /// Forgets answers that are given to no retry any more.
    pub(in crate::engine) fn forget_old_answers(&self, now: Millis) {
        self.remembers.idempotency.forget_old(now);
    }

    /// How many answers are kept for retries.
    #[cfg(test)]
    pub(in crate::engine) fn answers_kept(&self) -> usize {
        self.remembers.idempotency.len()
    }

    async fn decide(&self, records: &[Record], now: Millis, trace: &mut impl Trace) -> Vec<Decision> {
        let active = self.in_force.policy();
        let (records, terms) = self.terms(records, &active, now);
        let (steps, requests) = self.prepare(&records, terms, &active, now);
        let mut observed = self.observe(requests, &active, now).await.into_iter();
        let mut decisions: Vec<Decision> = Vec::with_capacity(records.len());
        for step in steps {
            let decision = match step {
                Step::Answered(decision) => *decision,
                Step::Waits(record, waiting) => self.wait_for(record, waiting, &active, now).await,
                Step::Asks(in_flight) => {
                    let Some(observed) = observed.next() else { continue };
                    self.conclude(observed, in_flight, &active, now, trace).await
                }
            };
            self.shared.metrics.count(&decision);
            self.shared.count_answer(&decision);
            decisions.push(decision);
        }
        // Where nothing goes on beside the decisions, they count what waits themselves.
        if !self.flushes
            && let Err(error) = self.deferred.charge(now).await
        {
            self.shared.store_failed(&error, now);
        }
        decisions
    }

    /// The decision about a record that the store has seen, and what follows from it: usage, and the answer to retries.
    async fn conclude(
        &self,
        mut observed: Observed<'_>,
        in_flight: InFlight<'_>,
        active: &ActivePolicy,
        now: Millis,
        trace: &mut impl Trace,
    ) -> Decision {
        let record = observed.known.record;
        if observed.key.claim != Claim::Fresh {
            return self.repeat(record, observed.key.claim, in_flight, active, now).await;
        }
        trace.see(Fact::Observed(&observed));
        let reported = observed.charge.mode == ChargeMode::Report;
        let (estimate, completes) = (observed.kept_estimate().cloned(), observed.completes());
        let waits = observed.waits.take();
        let is_whole = waits.is_none() && !observed.key.unfinished;
        let judged = self.judge(observed, active, trace);
        let mut decision = self.respond(judged, active, trace).await;
        active.policy.enforcement.soften(&mut decision);
        let refused = !decision.allowed;
        match waits {
            // A refused admission charges nothing.
            Some(_) if !reported && refused => self.usage_book.count(record, refused, now),
            Some(charge) => {
                let charge = Charge { mode: ChargeMode::Report, ..*charge };
                self.deferred.count(record, Some(charge), refused, now);
            }
            None if completes => self.usage_book.complete(record, refused, now),
            None => self.usage_book.count_kept(record, estimate.as_ref(), refused, now),
        }
        // A refused admission is forgotten: nothing was counted, and a retry after its time deserves a fresh look.
        let remembered = reported || decision.ruling().allowed;
        in_flight.answer(&decision, remembered, now);
        // Whose charge waits finds by its claim whether it was made, which an answer would replace.
        if remembered && is_whole {
            self.answers.add(record, &decision);
        }
        decision
    }

    /// Decides about a request before it is made (its tokens and cost are the estimate). Counts nothing; a refusal is
    /// an event. With `reserve` the estimate is held until the record settles it, or for as long as the settings say.
    pub(in crate::engine) async fn check(&self, record: &Record, reserve: bool, now: Millis) -> Decision {
        let purpose = if reserve { Purpose::Reserve(HoldTerms::default()) } else { Purpose::Check };
        self.check_for(record, purpose, now).await
    }

    /// The same, and holds the estimate as the terms say.
    pub(in crate::engine) async fn reserve(
        &self,
        record: &Record,
        terms: HoldTerms,
        now: Millis,
    ) -> Decision {
        self.check_for(record, Purpose::Reserve(terms), now).await
    }

    async fn check_for(&self, record: &Record, purpose: Purpose, now: Millis) -> Decision {
        let active = self.in_force.policy();
        let (records, mut terms) = self.terms(std::slice::from_ref(record), &active, now);
        let decision = match records.first() {
            Some(record) if terms.first().is_some_and(|terms| terms.refusal == Some(NotAllowed::Canary)) => {
                return self.canary_asked_for(record, now).await;
            }
            Some(record) => {
                self.check_one(record, terms.pop().unwrap_or_default(), purpose, &active, now).await
            }
            None => self.unavailable(record, &active, now),
        };
        self.shared.metrics.count_check(&decision);
        self.shared.count_answer(&decision);
        decision
    }

    /// Decides about the check of a key that nobody may use as about its use, which used nothing else: whoever asks
    /// for it is told no, and no record follows.
    async fn canary_asked_for(&self, record: &Record, now: Millis) -> Decision {
        let used = Record { tokens: 0, cost_nanos: Some(0), admit: false, ..record.clone() };
        let decision = self.decide(&[used], now, &mut ()).await.pop();
        decision.unwrap_or_else(|| self.unavailable(record, &self.in_force.policy(), now))
    }

    async fn check_one(
        &self,
        record: &Record,
        terms: Terms,
        purpose: Purpose,
        active: &ActivePolicy,
        now: Millis,
    ) -> Decision {
        self.load_spared(record, active, now).await;
        if let Some(refused) = self.refuse_at_once(record, &terms, active, now, purpose) {
            return refused;
        }
        let identity = record.identity().filter(|_| purpose != Purpose::Check);
        let in_flight = match self.remembers.idempotency.begin(identity, now) {
            Earlier::Answered(answer) => return (*answer).clone(),
            Earlier::InFlight(waiting) => return self.wait_for(record, waiting, active, now).await,
            Earlier::None(in_flight) => in_flight,
        };
        let request = self.request(record, terms, active, now, purpose);
        let Some(observed) = self.observe(vec![request], active, now).await.pop() else {
            return self.unavailable(record, active, now);
        };
        if observed.key.claim != Claim::Fresh {
            return self.repeat(record, observed.key.claim, in_flight, active, now).await;
        }
        let mut decision = self.answer_check(&observed, active);
        active.policy.enforcement.soften(&mut decision);
        in_flight.answer(&decision, decision.ruling().allowed, now);
        if decision.reserved.is_some() {
            self.answers.add(record, &decision);
        }
        decision
    }
}
