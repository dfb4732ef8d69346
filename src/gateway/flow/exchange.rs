//! One upstream after another is asked, until there is an answer, or nobody left to ask.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::Request,
    http::{HeaderValue, request::Parts},
    response::Response,
};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    super::{
        dialect::{
            failure::{Failure, Kind},
            request,
            surface::Surface,
            usage::Usage,
        },
        estimate::Measured,
        route::Candidate,
        upstream::{Upstream, headers_up},
    },
    admit::{refusal, stopped},
    attempt::{Answer, Fault, Whole},
    bodies, cache,
    call::{self, Call},
    door::{self, Caller},
    gateway::Gateway,
    hold::Hold,
    reply,
    settle::Used,
};
use crate::{
    clock,
    domain::{decision::Reason, record::Record},
    http::authorize::client::{self, Peer},
};

/// How often it is looked whether a request must stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The pause before the second attempt at most; twice as long before each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause that a provider may ask for, so that the client is not kept from trying by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Parameters of a URL that go on to the provider.
const PARAMETERS: [&str; 2] = ["api-version", "beta"];

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

/// Reads a request: whose it is, and what it asks for.
async fn take(
    gateway: &Arc<Gateway>,
    surface: &'static Surface,
    request: Request,
    request_id: Arc<str>,
) -> Result<Call, Failure> {
    let started = clock::instant();
    let (head, body) = request.into_parts();
    let (caller, record) = caller(gateway, surface.endpoint, &head).await?;
    if let Err(failure) = passes(gateway, surface.endpoint, &caller, &record).await {
        drop(clock::timeout(gateway.times.body, bodies::pass_over(body)).await);
        return Err(failure);
    }
    let held = clock::timeout(gateway.times.body, bodies::read(body, &gateway.memory)).await;
    let late = || Failure::new(Kind::BadRequest, "The body did not come in time.");
    let body = held.map_err(|_| late())??.finish();
    let asked = request::read(&body, surface)
        .map_err(|words| Failure::new(Kind::BadRequest, format!("The request cannot be read: {words}.")))?;
    let model = gateway.routes.meant(&asked.model);
    Ok(Call {
        gateway: gateway.clone(),
        surface,
        model,
        asked,
        measured: Measured::of(&body),
        body,
        headers: headers_up(&head.headers),
        query: head.uri.query().and_then(parameters),
        caller,
        key_id: record.key_id,
        project: record.project,
        request_id,
        started,
        wants_fresh: cache::wants_fresh(&head.headers),
        place: None,
        shows_cost: head.headers.get("x-keyward-cost").is_some_and(|value| value == "stream"),
    })
}

/// Who makes a request, whose key must be registered, and a record of that.
pub(super) async fn caller(
    gateway: &Arc<Gateway>,
    endpoint: &str,
    head: &Parts,
) -> Result<(Caller, Record), Failure> {
    let peer = match head.extensions.get() {
        Some(Peer::Address(address)) => *address,
        Some(Peer::Socket) | None => Ipv4Addr::LOCALHOST.into(),
    };
    let is_trusted = |address: IpAddr| gateway.proxies.iter().any(|network| network.contains(&address));
    let caller = Caller {
        secret: door::credential(&head.headers)?,
        address: client::behind(peer, &head.headers, is_trusted),
        user_agent: door::user_agent(&head.headers),
    };
    let record = known(gateway, endpoint, &caller).await?;
    Ok((caller, record))
}

/// Refuses a caller that is banned, or whose key may no longer be used, before anything else of it is read. Told as any
/// other refusal.
pub(super) async fn passes(
    gateway: &Arc<Gateway>,
    endpoint: &str,
    caller: &Caller,
    record: &Record,
) -> Result<(), Failure> {
    let now = gateway.engine.now();
    let Some(reason) = gateway.engine.stops(record, now) else { return Ok(()) };
    let Ok(mut asking) = call::take(gateway, call::wire(endpoint, caller), now) else {
        return Err(stopped(reason));
    };
    asking.project.clone_from(&record.project);
    let decision = gateway.engine.check(&asking, false, now).await;
    // A ban of its address may spare the key, which only the stored profile tells.
    if decision.allowed { Ok(()) } else { Err(refusal(&decision)) }
}

/// Puts those behind the candidate that failed first, and leaves its upstream out where it is not to be asked again.
fn turn_from(open: &mut Vec<Candidate>, failed: &Candidate, same_again: bool) {
    let behind = open.iter().position(|other| other == failed).map_or(0, |at| at + 1);
    open.rotate_left(behind);
    if !same_again {
        open.retain(|other| other.upstream != failed.upstream);
    }
}

/// The parameters that go on to the provider. Others may be anything, also a credential.
fn parameters(query: &str) -> Option<String> {
    let is_kept = |pair: &&str| PARAMETERS.contains(&pair.split('=').next().unwrap_or_default());
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// A record of the caller, whose key must be registered. One that is not is reported, so that who tries keys is found.
async fn known(gateway: &Arc<Gateway>, endpoint: &str, caller: &Caller) -> Result<Record, Failure> {
    let now = gateway.engine.now();
    let unknown = || stopped(Reason::UnknownKey);
    let mut wire = call::wire(endpoint, caller);
    wire.response_status = Some(401);
    let mut record = call::take(gateway, wire, now).map_err(|_| unknown())?;
    let registry = gateway.engine.policy().registry.clone();
    let former = record.former_keys.iter().find_map(|key| registry.key(key.id()));
    let Some(held) = registry.key(&record.key_id).or(former) else {
        let engine = gateway.engine.clone();
        // Seen through also when the client goes away meanwhile.
        let reported = tokio::spawn(async move { engine.record(&[record], now).await });
        drop(reported.await);
        return Err(unknown());
    };
    record.project = held.body.project.as_deref().map(crate::domain::subject::Subject::project);
    Ok(record)
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
            Err(failure) => return self.refuse(&failure, reply_to),
        };
        let first = chain[self.pick(&chain)].clone();
        self.place = self.place();
        let kept = self.place.and_then(|place| self.gateway.cache.get(&place));
        let hold = match self.admit(&first, &chain, kept.is_some()).await {
            Ok(hold) => hold,
            Err(failure) => return self.refuse(&failure, reply_to),
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
            Found::Answer(Answer::Whole(whole), _) => self.hand_on(whole, hold, reply_to).await,
            Found::Gone(used) => drop(self.settle(hold, used, 200).await),
            Found::Stopped(reason, used) => {
                let failure = stopped(reason);
                self.settle(hold, used, failure.kind.status()).await;
                self.refuse(&failure, reply_to);
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
        self.fitting(chain)
    }

    fn refuse(&self, failure: &Failure, reply_to: ReplyTo) {
        // Nobody is there to read it where this fails.
        drop(reply_to.send(reply::failed(self.surface.dialect, failure, &self.request_id)));
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
        let mut open = chain.to_vec();
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
            if open.is_empty() || attempt >= self.gateway.max_attempts {
                return (Found::Nobody(fault), hold);
            }
            let then = open[self.pick(&open)].clone();
            let pause = pause(&fault, attempt, then.upstream == candidate.upstream);
            if pause > LONGEST_PAUSE || clock::instant() + pause >= by {
                return (Found::Nobody(fault), hold);
            }
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
        let reason = self.gateway.engine.stops(&hold.record, self.gateway.engine.now())?;
        Some(Found::Stopped(reason, Used::Nothing))
    }

    /// What is charged where nobody waits any more for an answer that has not begun. How much there is by then of one
    /// that comes as a whole, nobody knows.
    fn cancelled(&self, hold: &Hold, upstream: &Upstream) -> Used {
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
        hold: Hold,
        fault: &Fault,
        then: &Candidate,
        chain: &[Candidate],
    ) -> (Hold, bool) {
        if !fault.may_be_billed && then.model == hold.model {
            return (hold, true);
        }
        let Ok(next) = self.admit(then, chain, false).await else { return (hold, false) };
        if fault.may_be_billed {
            self.settle(hold, Used::Unknown, 502).await;
        } else {
            self.give_back(&hold).await;
        }
        (next, true)
    }

    /// Waits until the request must not go on; looks at once, and then every 50 ms.
    pub(super) async fn stop(&self, record: &Record) -> Reason {
        let mut looks = clock::ticks(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(reason) = self.gateway.engine.stops(record, self.gateway.engine.now()) {
                return reason;
            }
        }
    }

    /// Settles a whole answer and hands it on.
    async fn hand_on(&self, whole: Whole, hold: Hold, reply_to: ReplyTo) {
        let is_success = (200..300).contains(&whole.status);
        let used = match (self.surface.usage)(&whole.body) {
            _ if !is_success => Used::Nothing,
            Some(usage) => Used::Exactly(usage),
            None => Used::Unknown,
        };
        let decision = self.settle(hold, used, whole.status).await;
        if let (Used::Exactly(_), Some(place)) = (used, self.place) {
            self.gateway.cache.put(place, &whole);
        }
        drop(reply_to.send(self.whole(whole, decision.as_ref())));
    }

    /// Hands on an answer that is kept: a request like any other, which used nothing.
    async fn give_again(&self, kept: Whole, hold: Hold, reply_to: ReplyTo) {
        let decision = self.settle(hold, Used::Nothing, kept.status).await;
        let mut response = self.whole(kept, decision.as_ref());
        response.headers_mut().insert("x-keyward-cache", HeaderValue::from_static("hit"));
        drop(reply_to.send(response));
    }

    /// Settles a request that nobody answered, and says so: in the last upstream's own words where it had some.
    async fn give_up(&self, fault: Fault, hold: Hold, reply_to: ReplyTo) {
        let used = fault.used();
        let status =
            (*fault.answer).as_ref().map_or_else(|failure| failure.kind.status(), |whole| whole.status);
        let decision = self.settle(hold, used, status).await;
        match *fault.answer {
            Ok(whole) => drop(reply_to.send(self.whole(whole, decision.as_ref()))),
            Err(failure) => self.refuse(&failure, reply_to),
        }
    }
}

fn count_attempt(upstream: &str, outcome: &'static str) {
    let upstream = upstream.to_owned();
    metrics::counter!("keyward_gateway_attempts_total", "upstream" => upstream, "outcome" => outcome)
        .increment(1);
}

/// How long is waited before the next attempt: not at all before another upstream, else as long as the provider asks
/// for, else a random time that grows.
fn pause(fault: &Fault, attempt: usize, is_same: bool) -> Duration {
    if !is_same {
        return Duration::ZERO;
    }
    let longest = FIRST_PAUSE * (1 << attempt.saturating_sub(1).min(6));
    fault.wait.unwrap_or_else(|| longest.mul_f64(jitter()))
}

/// A random share from a half to 1.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    let _ = getrandom::fill(&mut byte);
    0.5 + f64::from(byte[0]) / 510.0
}
