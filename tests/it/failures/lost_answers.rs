//! The store counts what it is owed, and its answer is lost: nobody knows, and it is sent again.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use keyward::{
    domain::{
        Millis,
        actor::Actor,
        counter::{Counter, CounterChange, CounterCount},
        debt::DebtBatch,
        observation::{Charge, Observation},
        subject::Subject,
        window::ONE_HOUR,
    },
    engine::Engine,
    geo::Geo,
    store::{
        CounterStore, Store, StoreError, StoreResult,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{redis_server::Server, roles::Roles, support::*};

/// Takes no charge while it is away, and loses the answers to what is owed.
struct Unsteady {
    inner: Arc<dyn CounterStore>,
    away: AtomicBool,
    to_lose: AtomicUsize,
}

fn gone<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the answer was lost".into()))
}

impl CounterStore for Unsteady {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        if self.away.load(Relaxed) { Box::pin(async { gone() }) } else { self.inner.observe(charges) }
    }

    fn inspect<'a>(&'a self, subject: &'a Subject, now: Millis) -> StoreResult<'a, Option<Observation>> {
        self.inner.inspect(subject, now)
    }

    fn change_counters<'a>(&'a self, changes: &'a [CounterChange], now: Millis) -> StoreResult<'a, ()> {
        self.inner.change_counters(changes, now)
    }

    fn settle_debts<'a>(&'a self, batch: &'a DebtBatch) -> StoreResult<'a, ()> {
        Box::pin(async move {
            if self.away.load(Relaxed) {
                return gone();
            }
            self.inner.settle_debts(batch).await?;
            let loses = |left: usize| left.checked_sub(1);
            if self.to_lose.fetch_update(Relaxed, Relaxed, loses).is_ok() { gone() } else { Ok(()) }
        })
    }

    fn counters<'a>(&'a self, counters: &'a [Counter], now: Millis) -> StoreResult<'a, Vec<CounterCount>> {
        self.inner.counters(counters, now)
    }
}

async fn is_counted_once(store: Arc<dyn Store>) {
    let counters = Arc::new(Unsteady {
        inner: store.clone(),
        away: AtomicBool::new(true),
        to_lose: AtomicUsize::new(5),
    });
    let roles = Arc::new(Roles { counters: counters.clone(), ..Roles::of(store.clone()) });
    let engine =
        Engine::start(roles, Arc::new(Geo::off()), limits_alone(1_000_000_000), options()).await.unwrap();
    let intake = intake(300_000);
    for n in 0..200 {
        let record = record(&intake, &format!("owed-{}", n % 20), json!({}), engine.now());
        assert!(engine.record(&[record], engine.now()).await[0].degraded);
    }
    let tokens = async |n: usize| {
        let subject = Subject::key(&format!("owed-{n}"));
        let seen = store.inspect(&subject, engine.now()).await.unwrap();
        seen.map_or(0, |seen| seen.counts[ONE_HOUR].tokens)
    };
    counters.away.store(false, Relaxed);
    let shutdown = CancellationToken::new();
    let upkeep = tokio::spawn(engine.clone().upkeep(shutdown.clone()));
    eventually("the store is back", async || engine.health().degraded_since.is_none()).await;
    shutdown.cancel();
    upkeep.await.unwrap();
    assert_eq!(counters.to_lose.load(Relaxed), 0, "answers were lost");
    for n in 0..20 {
        assert_eq!(tokens(n).await, 100, "key {n}");
    }
}

#[tokio::test]
async fn what_redis_is_owed_is_counted_once_though_its_answers_are_lost() {
    let server = Server::start(&[]);
    is_counted_once(redis(&server.url(), "kw").await).await;
}

#[tokio::test]
async fn what_the_embedded_store_is_owed_is_counted_once_though_its_answers_are_lost() {
    is_counted_once(Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap())).await;
}

/// Reports of a banned key are counted behind their answers: also when the service is stopped right after.
#[tokio::test]
async fn what_was_counted_behind_an_answer_is_written_at_an_orderly_stop() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let engine = Engine::start(store.clone(), Arc::new(Geo::off()), limits_alone(1_000_000_000), options());
    let engine = engine.await.unwrap();
    let (intake, subject) = (intake(300_000), Subject::key("stopped"));
    let report = || record(&intake, "stopped", json!({}), engine.now());
    engine.record(&[report()], engine.now()).await;
    engine.bans().ban(&subject, None, "leaked", &Actor::local(), engine.now()).await.unwrap();
    for _ in 0..100 {
        assert!(!engine.record(&[report()], engine.now()).await[0].allowed);
    }
    let shutdown = CancellationToken::new();
    shutdown.cancel();
    engine.clone().upkeep(shutdown).await;
    let seen = store.inspect(&subject, engine.now()).await.unwrap().unwrap();
    assert_eq!(seen.counts[ONE_HOUR].tokens, 1_010);
}
