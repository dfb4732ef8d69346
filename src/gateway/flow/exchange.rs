//! One upstream after another is asked, until there is an answer, or nobody left to ask.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{extract::Request, response::Response};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    super::{
        dialect::{
            failure::{Failure, Kind},
            surface::Surface,
            usage::Usage,
        },
        route::Candidate,
        upstream::Upstream,
    },
    admit::{Hold, stopped},
    attempt::{Answer, Fault, Whole},
    cache::Kept,
    call::Call,
    entry::take,
    gateway::Gateway,
    pause::Pauses,
    reply,
    settle::Used,
};
use crate::{
    clock,
    domain::{
        decision::{Decision, Reason},
        record::Record,
    },
};

/// How often it is looked whether a request must stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where the answer goes: to the handler, as long as its client is there.
pub(super) type ReplyTo = oneshot::Sender<Response>;

/// Serves one request of one interface.
pub(in crate::gateway) async fn serve(
    gateway: Arc<Gateway>,
    surface: &'static Surface,
    request: Request,
) -> Response {
    let request_id: Arc<str> = uuid::Uuid::now_v7().to_string().into();
    let taken = take(&gateway, surface, request, request_id.clone()).await;
    let call = match taken {
        Ok(call) => call,
        Err(failure) => return reply::failed(surface.dialect, &failure, &request_id),
    };
    let (reply_to, reply) = oneshot::channel();
    let permit = gateway.calls.clone().acquire_owned().await.ok();
    // A task of its own, so that what was held is settled also when the client goes away.
    tokio::spawn(async move {
        let _permit = permit;
        call.run(reply_to).await;
    });
    reply.await.unwrap_or_else(|_| {
        let failure = Failure::new(Kind::UpstreamFailed, "The request was given up.");
        reply::failed(surface.dialect, &failure, &request_id)
    })
}

/// Puts those behind the candidate that failed first, and leaves its upstream out where it is not to be asked again.
fn turn_from(open: &mut Vec<Candidate>, failed: &Candidate, same_again: bool) {
    let behind = open.iter().position(|other| other == failed).map_or(0, |at| at + 1);
    open.rotate_left(behind);
    if !same_again {
        open.retain(|other| other.upstream != failed.upstream);
    }
}

/// How the search for an answer ended.
enum Found {
    /// An upstream answered, and which.
    Answer(Answer, usize),
    /// The client went away, and this is what it pays for.
    Gone(Used),
    /// The request must not go on, and this is what it pays for.
    Stopped(Reason, Used),
    /// Nobody answered; the last one's fault.
    Nobody(Fault),
}

impl Call {
    /// Sees the request through.
    async fn run(mut self, mut reply_to: ReplyTo) {
        let chain = match self.chain() {
            Ok(chain) => chain,
            Err(failure) => return self.refuse(&failure, None, reply_to),
        };
        let first = chain[self.pick(&chain)].clone();
        self.place = self.place_of_answer();
        let kept = self.place.and_then(|place| self.gateway.cache.get(&place));
        let hold = match self.admit(&first, &chain, kept.is_some()).await {
            Ok(hold) => hold,
            Err(refused) => {
                return self.refuse(&refused.failure, refused.decision.as_deref(), reply_to);
            }
        };
        if let Some(kept) = kept {
            return self.give_again(kept, hold, reply_to).await;
        }
        let (found, hold) = self.search(hold, first, &chain, &mut reply_to).await;
        // Nobody is asked any more: its memory is not kept for as long as the answer takes.
        self.body = Bytes::new();
        match found {
            Found::Answer(Answer::Stream(stream), upstream) => {
                let upstream = &self.gateway.upstreams[upstream];
                self.relay(*stream, hold, upstream, reply_to).await;
            }
            Found::Answer(Answer::Whole(whole), _) => self.hand_on(*whole, hold, reply_to).await,
            Found::Gone(used) => drop(self.settle(hold, used, 200).await),
            Found::Stopped(reason, used) => {
                let failure = stopped(reason);
                let decision = self.settle(hold, used, failure.kind.status()).await;
                self.refuse(&failure, decision.as_ref(), reply_to);
            }
            Found::Nobody(fault) => self.give_up(fault, hold, reply_to).await,
        }
    }

    /// Where the request may go.
    fn chain(&self) -> Result<Vec<Candidate>, Failure> {
        let routes = &self.gateway.routes;
        if self.model.is_empty() {
            return Err(Failure::new(Kind::BadRequest, "`model` is required."));
        }
        let chain = routes.chain(&self.model, self.surface.dialect, &self.key_id);
        if chain.is_empty() {
            let words = match routes.knows(&self.model) {
                true => format!("The model `{}` is not served by this interface.", self.model),
                false => format!("The model `{}` does not exist, or no route leads to it.", self.model),
            };
            return Err(Failure::new(Kind::UnknownModel, words));
        }
        self.fitting(self.allowed(chain))
    }

    /// Candidates whose model the key may use: what it may not use is no fallback for it. All of them where it may
    /// not use the one that it asks for, for the refusal that says so.
    fn allowed(&self, chain: Vec<Candidate>) -> Vec<Candidate> {
        let now = self.gateway.engine.now();
        let is_allowed = |candidate: &Candidate| {
            let record = self.record(self.wire(&candidate.model), now);
            let stops = |record: Record| self.gateway.engine.stops(&record, now);
            record.ok().and_then(stops) != Some(Reason::KeyNotAllowed)
        };
        match chain.split_first() {
            Some((first, others)) if !others.is_empty() && is_allowed(first) => {
                let others = others.iter().filter(|candidate| is_allowed(candidate));
                [first].into_iter().chain(others).cloned().collect()
            }
            _ => chain,
        }
    }

    /// Refuses the request, with what a decision says about limits.
    fn refuse(&self, failure: &Failure, decision: Option<&Decision>, reply_to: ReplyTo) {
        // Nobody is there to read it where this fails.
        drop(reply_to.send(self.refused(failure, decision)));
    }

    /// Asks one upstream after another, `candidate` first; what is held moves on with the model.
    async fn search(
        &self,
        mut hold: Hold,
        mut candidate: Candidate,
        chain: &[Candidate],
        reply_to: &mut ReplyTo,
    ) -> (Found, Hold) {
        let by = self.started + self.gateway.times.deadline;
        let (mut open, mut pauses) = (chain.to_vec(), Pauses::default());
        let mut attempt = 0;
        loop {
            if let Some(over) = self.is_over(&hold, reply_to) {
                return (over, hold);
            }
            let upstream = &self.gateway.upstreams[candidate.upstream];
            let asked = tokio::select! {
                biased;
                () = reply_to.closed() => return (Found::Gone(self.cancelled(&hold, upstream)), hold),
                reason = self.stop(&hold.record) => {
                    return (Found::Stopped(reason, self.cancelled(&hold, upstream)), hold);
                }
                asked = self.ask(&candidate, by.saturating_duration_since(clock::instant())) => asked,
            };
            attempt += 1;
            count_attempt(&upstream.name, asked.as_ref().map_or_else(|fault| fault.outcome, |_| "answered"));
            let fault = match asked {
                Ok(answer) => {
                    upstream.succeeded();
                    return (Found::Answer(answer, candidate.upstream), hold);
                }
                Err(fault) => fault,
            };
            if fault.counts {
                upstream.failed();
            }
            turn_from(&mut open, &candidate, fault.same_again);
            let now = clock::instant();
            pauses.note(&candidate, &fault, now);
            let is_up = |candidate: &Candidate| self.gateway.upstreams[candidate.upstream].is_up(now);
            let next = pauses.next(&open, (&candidate, &fault), attempt, is_up, (now, by));
            let Some((at, pause)) = next.filter(|_| attempt < self.gateway.max_attempts) else {
                return (Found::Nobody(fault), hold);
            };
            let then = open[at].clone();
            tokio::select! {
                biased;
                () = reply_to.closed() => return (Found::Gone(fault.used()), hold),
                reason = self.stop(&hold.record) => return (Found::Stopped(reason, fault.used()), hold),
                () = clock::sleep(pause) => {}
            }
            let goes_on;
            (hold, goes_on) = self.move_on(hold, &fault, &then, chain).await;
            if !goes_on {
                return (Found::Nobody(fault), hold);
            }
            candidate = then;
        }
    }

    /// Why no upstream is asked any more. What was held for the next attempt is not used then.
    fn is_over(&self, hold: &Hold, reply_to: &ReplyTo) -> Option<Found> {
        if reply_to.is_closed() {
            return Some(Found::Gone(Used::Nothing));
        }
        Some(Found::Stopped(self.stops(&hold.record)?, Used::Nothing))
    }

    /// What is charged where nobody waits any more for an answer that has not begun. How much there is by then of one
    /// that comes as a whole, nobody knows; without a connection nothing has left.
    fn cancelled(&self, hold: &Hold, upstream: &Upstream) -> Used {
        if !self.is_sent.load(Ordering::Acquire) {
            return Used::Nothing;
        }
        if upstream.bills_after_cancel || !self.asked.stream {
            return Used::Unknown;
        }
        Used::Metered(Usage { input: Some(hold.prompt.reserved), output: Some(0), ..Usage::default() })
    }

    /// The position of the next candidate: the first that is not left alone, else the first.
    fn pick(&self, open: &[Candidate]) -> usize {
        let now = clock::instant();
        let is_up = |candidate: &Candidate| self.gateway.upstreams[candidate.upstream].is_up(now);
        open.iter().position(is_up).unwrap_or_default()
    }

    /// What is held for the next attempt: the same, unless the last one may be billed, or another model is asked for.
    /// `false`, and what was held, where nothing more is admitted.
    async fn move_on(
        &self,
        mut hold: Hold,
        fault: &Fault,
        then: &Candidate,
        chain: &[Candidate],
    ) -> (Hold, bool) {
        if !fault.may_be_billed && then.model == hold.model {
            return (hold, true);
        }
        if !fault.may_be_billed {
            // Before anything else is held: a budget need not have room for both.
            self.give_back(&mut hold).await;
        }
        let Ok(next) = self.admit(then, chain, false).await else { return (hold, false) };
        if fault.may_be_billed {
            let decision = self.settle(hold, Used::Unknown, 502).await;
            self.billed.fetch_add(decision.map_or(0, |decision| decision.cost.nanos), Ordering::AcqRel);
        }
        (next, true)
    }

    /// Why the request must not go on; `None` while it may. A key that is registered no more may not, whatever the
    /// policy says of keys that nobody knows: here they are refused.
    fn stops(&self, record: &Record) -> Option<Reason> {
        let engine = &self.gateway.engine;
        let registry = &engine.policy().registry;
        let is_known = registry.has_key(&record.key_id)
            || record.former_keys.iter().any(|key| registry.has_key(key.id()));
        let reason = engine.stops(record, engine.now());
        reason.or_else(|| (!is_known).then_some(Reason::UnknownKey))
    }

    /// Waits until the request must not go on; looks at once, and then every 50 ms.
    pub(super) async fn stop(&self, record: &Record) -> Reason {
        let mut looks = clock::ticks(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(reason) = self.stops(record) {
                return reason;
            }
        }
    }

    /// Settles a whole answer and hands it on.
    async fn hand_on(&self, whole: Whole, hold: Hold, reply_to: ReplyTo) {
        let is_success = (200..300).contains(&whole.status);
        let used = match whole.usage {
            _ if !is_success => Used::Nothing,
            Some(usage) => Used::Exactly(usage),
            None => Used::Unknown,
        };
        let decision = self.settle(hold, used, whole.status).await;
        if let (200, Used::Exactly(_), Some(place)) = (whole.status, used, self.place) {
            self.gateway.cache.put(place, &whole.headers, &whole.body);
        }
        drop(reply_to.send(self.whole(whole, decision.as_ref())));
    }

    /// Hands on an answer that is kept: a request like any other, which used nothing.
    async fn give_again(&self, kept: Kept, hold: Hold, reply_to: ReplyTo) {
        let decision = self.settle(hold, Used::Nothing, 200).await;
        drop(reply_to.send(self.again(kept, decision.as_ref())));
    }

    /// Settles a request that nobody answered, and says so: in the last upstream's own words where it had some.
    async fn give_up(&self, fault: Fault, hold: Hold, reply_to: ReplyTo) {
        let used = fault.used();
        let status =
            (*fault.answer).as_ref().map_or_else(|failure| failure.kind.status(), |whole| whole.status);
        let decision = self.settle(hold, used, status).await;
        match *fault.answer {
            Ok(whole) => drop(reply_to.send(self.whole(whole, decision.as_ref()))),
            Err(failure) => self.refuse(&failure, decision.as_ref(), reply_to),
        }
    }
}

fn count_attempt(upstream: &str, outcome: &'static str) {
    let upstream = upstream.to_owned();
    metrics::counter!("keyward_gateway_attempts_total", "upstream" => upstream, "outcome" => outcome)
        .increment(1);
}
