//! The store counts what it is owed, or what is reported, and its answer is lost: nobody knows, and it is sent again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use keyward::{
    domain::{
        DAY, Millis,
        actor::Actor,
        counter::{Counter, CounterChange, CounterCount},
        debt::DebtBatch,
        limit::Scope,
        observation::{Charge, Observation},
        record::Record,
        subject::Subject,
        usage::{Rows, UsageKey, UsageQuery},
        window::ONE_HOUR,
    },
    engine::{Engine, EngineOptions},
    geo::Geo,
    store::{
        CounterStore, Store, StoreError, StoreResult,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{redis_server::Server, roles::Roles, support::*};

/// Takes no charge while it is away, and loses the answers to what is owed, and to charges where it is told to.
struct Unsteady {
    inner: Arc<dyn CounterStore>,
    away: AtomicBool,
    to_lose: AtomicUsize,
    charges: AtomicU8,
}

/// What becomes of charges: they are answered; they are made, or not, and no answer comes in time.
const ANSWERED: u8 = 0;
const MADE: u8 = 1;
const LOST: u8 = 2;
/// A part of the store is away: it makes nothing of what comes together with a charge of the key `gone`.
const PARTLY: u8 = 3;
/// They are made, and one more part of each did not answer.
const HALF: u8 = 4;

impl Unsteady {
    fn over(store: &Arc<dyn Store>, is_away: bool, to_lose: usize) -> Arc<Self> {
        let (away, to_lose) = (AtomicBool::new(is_away), AtomicUsize::new(to_lose));
        Arc::new(Self { inner: store.clone(), away, to_lose, charges: AtomicU8::new(ANSWERED) })
    }
}

/// What a part of the store may lack.
fn lacking() -> CounterChange {
    let counter = Counter { scope: Scope::Everything, id: 4 };
    CounterChange { counter, back: None, add: Some((10, Millis::MAX / 2)) }
}

fn gone<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("the answer was lost".into()))
}

impl CounterStore for Unsteady {
    fn observe<'a>(&'a self, charges: &'a [Charge]) -> StoreResult<'a, Vec<Observation>> {
        Box::pin(async move {
            if self.away.load(Relaxed) {
                return gone();
            }
            let late = Err(StoreError::Deadline(Duration::from_millis(1)));
            match self.charges.load(Relaxed) {
                MADE => self.inner.observe(charges).await.and(late),
                LOST => late,
                HALF => {
                    let unfinished = |seen| Observation { unfinished: true, owed: vec![lacking()], ..seen };
                    Ok(self.inner.observe(charges).await?.into_iter().map(unfinished).collect())
                }
                PARTLY if charges.iter().any(|charge| charge.subject == Subject::key("gone")) => gone(),
                _ => self.inner.observe(charges).await,
            }
        })
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
    let counters = Unsteady::over(&store, true, 5);
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

/// Reports go to an instance whose store takes some of them and loses the answer, does not take others, and then is
/// away; each is sent again to another instance, before the store is back or after. Each is charged once.
async fn reports_with_an_id_are_charged_once_though_their_answers_are_lost(
    store: Arc<dyn Store>,
    instances: &str,
) {
    const EACH: usize = 40;
    for retried_first in [true, false] {
        let key = format!("lost-{instances}-{retried_first}");
        let counters = Unsteady::over(&store, false, 0);
        let roles = Arc::new(Roles { counters: counters.clone(), ..Roles::of(store.clone()) });
        let quick = || EngineOptions { shares_store: true, deadline: Duration::from_millis(20), ..options() };
        let start = async |store: Arc<dyn Store>, options| {
            Engine::start(store, Arc::new(Geo::off()), limits_alone(1_000_000_000), options).await.unwrap()
        };
        let (unlucky, other) = (start(roles, quick()).await, start(store.clone(), quick()).await);
        let intake = intake(300_000);
        let reports = |from: usize| -> Vec<Record> {
            let id = |n: usize| json!({"request_id": format!("r{n}"), "tokens_used": 10});
            (from..from + EACH).map(|n| record(&intake, &key, id(n), unlucky.now())).collect()
        };
        let batches = [reports(0), reports(EACH), reports(2 * EACH)];
        for (batch, becomes) in batches.iter().zip([MADE, LOST, ANSWERED]) {
            counters.charges.store(becomes, Relaxed);
            counters.away.store(becomes == ANSWERED, Relaxed);
            let answers = unlucky.record(batch, unlucky.now()).await;
            assert!(answers.iter().all(|answer| answer.allowed && answer.degraded));
        }
        let retry = async || {
            for batch in &batches {
                let again = batch.chunks(1).map(|one| other.record(one, other.now()));
                futures::future::join_all(again).await;
            }
        };
        let recover = async || {
            counters.away.store(false, Relaxed);
            let shutdown = CancellationToken::new();
            let upkeep = tokio::spawn(unlucky.clone().upkeep(shutdown.clone()));
            eventually("the store is back", async || unlucky.health().degraded_since.is_none()).await;
            shutdown.cancel();
            upkeep.await.unwrap();
        };
        if retried_first {
            retry().await;
            recover().await;
        } else {
            recover().await;
            retry().await;
        }
        let all = 3 * EACH as u64;
        let seen = store.inspect(&Subject::key(&key), other.now()).await.unwrap().unwrap();
        let held = (seen.counts[ONE_HOUR].requests, seen.counts[ONE_HOUR].tokens);
        assert_eq!(held, (all, 10 * all), "retried first: {retried_first}");
        let span = (other.now() - DAY, other.now() + DAY);
        let only = UsageKey { key: Some(key.as_str().into()), ..UsageKey::default() };
        let query = UsageQuery { only, ..UsageQuery::new(Rows::Whole, span, other.now()) };
        unlucky.usage().table(&query).await.unwrap();
        let used = other.usage().table(&query).await.unwrap().total;
        assert_eq!((used.requests, used.tokens), (all, 10 * all), "retried first: {retried_first}");
    }
}

/// Reports of a key whose part of the store is away go on waiting, and hold up no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_part_of_the_store_does_not_take_holds_up_nothing_else() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let counters = Unsteady::over(&store, true, 0);
    let roles = Arc::new(Roles { counters: counters.clone(), ..Roles::of(store.clone()) });
    let start = Engine::start(roles, Arc::new(Geo::off()), limits_alone(1_000_000_000), options());
    let (engine, intake) = (start.await.unwrap(), intake(300_000));
    for n in 0..10 {
        let key = if n % 2 == 0 { "gone" } else { "there" };
        let id = json!({"request_id": format!("r{n}"), "tokens_used": 10});
        assert!(engine.record(&[record(&intake, key, id, engine.now())], engine.now()).await[0].degraded);
    }
    counters.charges.store(PARTLY, Relaxed);
    counters.away.store(false, Relaxed);
    let shutdown = CancellationToken::new();
    let upkeep = tokio::spawn(engine.clone().upkeep(shutdown.clone()));
    let tokens = async |key| {
        let seen = store.inspect(&Subject::key(key), engine.now()).await.unwrap();
        seen.map_or(0, |seen| seen.counts[ONE_HOUR].tokens)
    };
    eventually("the others are charged", async || tokens("there").await == 50).await;
    assert_eq!(tokens("gone").await, 0);
    counters.charges.store(ANSWERED, Relaxed);
    eventually("these are charged, too", async || tokens("gone").await == 50).await;
    shutdown.cancel();
    upkeep.await.unwrap();
    let span = (engine.now() - DAY, engine.now() + DAY);
    let used = engine.usage().table(&UsageQuery::new(Rows::Whole, span, engine.now())).await.unwrap().total;
    assert_eq!((tokens("there").await, used.requests, used.tokens), (50, 10, 100));
}

/// Of a charge with a name no part is owed that may be made: it is sent again until all parts answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_of_which_a_part_did_not_answer_is_sent_again_by_its_name_and_counted_once() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let counters = Unsteady::over(&store, false, 0);
    counters.charges.store(HALF, Relaxed);
    let roles = Arc::new(Roles { counters: counters.clone(), ..Roles::of(store.clone()) });
    let start = Engine::start(roles, Arc::new(Geo::off()), limits_alone(1_000_000_000), options());
    let (engine, intake) = (start.await.unwrap(), intake(300_000));
    let subject = Subject::key("half");
    for n in 0..10 {
        let id = json!({"request_id": format!("r{n}"), "tokens_used": 10});
        let answer = engine.record(&[record(&intake, "half", id, engine.now())], engine.now()).await;
        assert!(answer[0].allowed && !answer[0].degraded);
    }
    let shutdown = CancellationToken::new();
    let upkeep = tokio::spawn(engine.clone().upkeep(shutdown.clone()));
    counters.charges.store(ANSWERED, Relaxed);
    let span = (engine.now() - DAY, engine.now() + DAY);
    let usage = UsageQuery::new(Rows::Whole, span, engine.now());
    eventually("usage is written", async || engine.usage().table(&usage).await.unwrap().total.requests == 10)
        .await;
    shutdown.cancel();
    upkeep.await.unwrap();
    let seen = store.inspect(&subject, engine.now()).await.unwrap().unwrap().counts[ONE_HOUR];
    let used = engine.usage().table(&usage).await.unwrap().total;
    assert_eq!((seen.requests, seen.tokens, used.requests, used.tokens), (10, 100, 10, 100));
    let lacked = store.counters(&[lacking().counter], engine.now()).await.unwrap()[0].used;
    assert_eq!(lacked, 0, "the part was made when the charge was sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_to_redis_are_charged_once_though_their_answers_are_lost() {
    let server = Server::start(&[]);
    let store = redis(&server.url(), "kw").await;
    reports_with_an_id_are_charged_once_though_their_answers_are_lost(store, "redis").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_to_the_embedded_store_are_charged_once_though_their_answers_are_lost() {
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    reports_with_an_id_are_charged_once_though_their_answers_are_lost(store, "embedded").await;
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
