//! The Redis store against real servers: its scripts, its connections, and its windows against the model.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

#[path = "../it_support/redis.rs"]
mod server;

mod connections;
mod log;
mod model;
mod observe;
mod profiles;
mod respond;
mod small_things;

use std::{future::Future, time::Duration};

use keyward::{
    clock,
    domain::{
        Millis,
        event::{Event, EventType},
        finding::Severity,
        observation::{Charge, ChargeMode, Peer},
        standing::{Standing, StandingDetail, StandingState},
        subject::Subject,
        window::{Counts, WindowLimits},
    },
    store::{
        Respond,
        redis::{RedisOptions, RedisStore},
    },
};

/// A moment to start from.
pub const T0: Millis = 1_700_000_000_000;

/// Options with a namespace of this test's own.
pub fn options() -> RedisOptions {
    RedisOptions {
        namespace: server::namespace(),
        partitions: 4,
        // Servers of tests share two cores with compilers.
        response_timeout: Duration::from_secs(10),
        connection_timeout: Duration::from_secs(10),
        ..RedisOptions::default()
    }
}

/// A store on the shared server in a namespace of its own.
pub async fn store() -> RedisStore {
    RedisStore::connect(&server::shared().url(), options()).await.unwrap()
}

/// One request of some tokens to a key, charged to nothing limited.
pub fn charge(key: &str, now: Millis, tokens: u64) -> Charge {
    Charge {
        subject: Subject::key(key),
        now,
        counts: Counts { requests: 1, tokens, ..Counts::default() },
        limits: WindowLimits::default(),
        mode: ChargeMode::Admit,
        peer: None,
        peer_capacity: 4,
        may_create: true,
        observing: false,
        counters: Vec::new(),
        entry: None,
    }
}

/// A peer of which only the identity matters.
pub fn peer(id: u64) -> Peer {
    Peer { id, data: [id as u8; 24] }
}

/// A temporary ban of version 1.
pub fn ban(until: Option<Millis>) -> Standing {
    Standing {
        version: 1,
        state: if until.is_some() {
            StandingState::TemporarilyBanned
        } else {
            StandingState::PermanentlyBanned
        },
        since: T0,
        until,
        ..Standing::default()
    }
}

/// A response that sets a standing.
pub fn setting(key: &str, standing: Standing) -> Respond {
    let detail = StandingDetail { reason: "because".into(), ..StandingDetail::default() };
    Respond {
        subject: Subject::key(key),
        now: T0,
        standing: Some((standing, detail)),
        refunds: Vec::new(),
        events: Vec::new(),
    }
}

/// An event about a key.
pub fn event(key: &str, time: Millis, kind: EventType) -> Event {
    Event::new(time, kind, Severity::Medium, Some(Subject::key(key)))
}

/// Tries until it holds; there are no sleeps, each try waits for a server.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let tries = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(clock::timeout(server::DEADLINE, tries).await.is_ok(), "never: {what}");
}
