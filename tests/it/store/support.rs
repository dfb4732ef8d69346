//! Short ways to say what the cases do.

use keyward::{
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        observation::{Charge, ChargeMode, Observation, Peer},
        place::PACKED_BYTES,
        standing::{Standing, StandingDetail, StandingState},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::{Refund, Respond, Responded, Store},
};

/// When the cases begin: 2025-10-09T08:53:20Z.
pub(crate) const START: Millis = 1_760_000_000_000;

/// A key.
pub(crate) fn key(id: &str) -> Subject {
    Subject::key(&format!("k1:{id}"))
}

/// One request with so many tokens.
pub(crate) fn counts(tokens: u64) -> Counts {
    Counts { requests: 1, tokens, ..Counts::default() }
}

/// A peer.
pub(crate) fn peer(id: u64) -> Peer {
    Peer { id, data: [id as u8; PACKED_BYTES] }
}

/// Token limits, shortest window first.
pub(crate) fn token_limits(tokens: [Option<u64>; 4]) -> WindowLimits {
    WindowLimits { tokens, ..WindowLimits::default() }
}

/// A charge of one request without limits.
pub(crate) fn charge(subject: &Subject, now: Millis, tokens: u64) -> Charge {
    Charge {
        subject: subject.clone(),
        now,
        counts: counts(tokens),
        limits: WindowLimits::default(),
        mode: ChargeMode::Admit,
        peer: None,
        peer_capacity: 8,
        may_create: true,
        observing: false,
        counters: Vec::new(),
        entry: None,
    }
}

/// Sends one charge.
pub(crate) async fn observe(store: &dyn Store, charge: Charge) -> Observation {
    store.observe(&[charge]).await.unwrap().remove(0)
}

/// The tokens in every window.
pub(crate) fn tokens(observation: &Observation) -> [u64; 4] {
    observation.counts.map(|counts| counts.tokens)
}

/// A temporary ban.
pub(crate) fn ban(version: u64, since: Millis, until: Millis) -> Standing {
    Standing {
        version,
        state: StandingState::TemporarilyBanned,
        since,
        until: Some(until),
        strikes: 1.0,
        strikes_at: since,
        ..Standing::default()
    }
}

/// A ban for good.
pub(crate) fn permanent_ban(version: u64, since: Millis) -> Standing {
    Standing { version, state: StandingState::PermanentlyBanned, since, ..Standing::default() }
}

/// A throttle to a quarter.
pub(crate) fn throttle(version: u64, since: Millis, until: Millis) -> Standing {
    Standing { state: StandingState::Throttled, share_permille: 250, ..ban(version, since, until) }
}

/// A standing that holds nothing against the subject.
pub(crate) fn cleared(version: u64, since: Millis) -> Standing {
    Standing { version, since, ..Standing::default() }
}

/// A detail with this reason.
pub(crate) fn because(reason: &str) -> StandingDetail {
    StandingDetail { reason: reason.to_owned(), evidence: serde_json::json!({"n": 1}), ..Default::default() }
}

/// A change of standing without anything else.
pub(crate) fn change(subject: &Subject, now: Millis, standing: Standing) -> Respond {
    let standing = Some((standing, because("it had to be")));
    Respond { subject: subject.clone(), now, standing, refunds: vec![], events: vec![] }
}

/// Takes a charge back.
pub(crate) fn take_back(
    subject: &Subject,
    now: Millis,
    charged_at: Millis,
    tokens: u64,
    peer: Option<u64>,
) -> Respond {
    let refunds = vec![Refund { charged_at, counts: counts(tokens), peer }];
    Respond { subject: subject.clone(), now, standing: None, refunds, events: vec![] }
}

/// Makes a change that must succeed; the events as appended.
pub(crate) async fn respond(store: &dyn Store, respond: Respond) -> Vec<Event> {
    match store.respond(&respond).await.unwrap() {
        Responded::Done(events) => events,
        Responded::Conflict(current) => panic!("conflict with {current:?}"),
    }
}

/// An event.
pub(crate) fn event(time: Millis, kind: EventType, severity: Severity, subject: Option<&Subject>) -> Event {
    Event {
        evidence: serde_json::from_value(serde_json::json!({"observed": 3.5, "text": "größer \"als\""}))
            .unwrap(),
        request_id: Some("r-1".to_owned()),
        ..Event::new(time, kind, severity, subject.cloned())
    }
}

/// An event of no particular kind about nobody.
pub(crate) fn note(time: Millis) -> Event {
    event(time, EventType::PolicyChanged, Severity::Low, None)
}
