//! Reservations on running instances: how many trips they take, a storm of retries, and what is charged though the
//! instance that held it is gone.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        actor::Actor,
        decision::Settlement,
        record::Record,
        registry::{Entry, Project},
        reservation::{HoldTerms, ReservationChange, ReservationChanged, ReservationId},
        usage::{Bucket, Rows, Totals, UsageQuery},
        window::Unit,
    },
    engine::{Engine, EngineOptions},
    geo::Geo,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{RedisOptions, RedisStore},
    },
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{redis_server::Server, store::support::START, support::*};

/// How many records come three times each.
const RECORDS: usize = 2_000;
/// How many of them come at once.
const AT_ONCE: usize = 250;

async fn engine(store: Arc<dyn Store>) -> Arc<Engine> {
    let mut policy = limits_alone(1);
    policy.limits = Default::default();
    Engine::start(store, Arc::new(Geo::off()), policy, options()).await.unwrap()
}

/// How often a command of a server was called since its statistics were reset.
fn calls(server: &Server, command: &str) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]);
    let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

/// Trips that charge or change something: calls of scripts from outside.
fn trips(server: &Server) -> u64 {
    calls(server, "evalsha") + calls(server, "eval")
}

/// Scripts are known and the key is at hand; then each of the calls is one script, and a record without limits is one
/// that reads once and writes once.
#[tokio::test]
async fn a_reservation_is_one_trip_to_make_one_to_change_and_one_to_settle() {
    let server = Server::start(&[]);
    let engine = engine(redis(&server.url(), "kw").await).await;
    let intake = intake(DAY);
    let asked = |fields: serde_json::Value| record(&intake, "a", fields, START);
    let round = async |terms: HoldTerms, measured: bool| {
        let reset = || drop(server.cli(&["CONFIG", "RESETSTAT"]));
        let took = |what: &str, scripts: u64| {
            assert!(
                !measured || trips(&server) == scripts,
                "{what}: {}",
                server.cli(&["INFO", "commandstats"])
            );
            reset();
        };
        reset();
        let held = engine.reserve(&asked(json!({"tokens_used": 50})), terms, START).await.reserved.unwrap();
        took("to reserve", 1);
        let id = ReservationId::parse(&held.id).unwrap();
        let extend = ReservationChange::Extend { lease: Some(MINUTE * 2), dispatched: true };
        let changed = engine.reservations().change(&id, extend, START).await.unwrap();
        assert!(matches!(changed, ReservationChanged::Done(..)));
        took("to extend", 1);
        let settles = asked(json!({"tokens_used": 20, "reservation_id": &*held.id}));
        let settled = engine.record(&[settles], START).await.remove(0).settlement;
        assert_eq!(settled, Some(Settlement::Settled));
        took("to settle", 1);
        engine.record(&[asked(json!({}))], START).await;
        if measured {
            let of = |command| calls(&server, command);
            assert_eq!(
                (trips(&server), of("get"), of("setrange"), of("set")),
                (1, 1, 1, 0),
                "without limits"
            );
        }
        let many: Vec<Record> = join_all((0..100).map(|_| async {
            let held =
                engine.reserve(&asked(json!({"tokens_used": 5})), terms, START).await.reserved.unwrap();
            asked(json!({"tokens_used": 2, "reservation_id": &*held.id}))
        }))
        .await;
        reset();
        let settled = engine.record(&many, START).await;
        assert!(settled.iter().all(|settled| settled.settlement == Some(Settlement::Settled)));
        took("to settle a hundred, in one pipeline", 100);
    };
    let dispatched = HoldTerms { lease: None, dispatched: true };
    round(dispatched, false).await;
    for terms in [HoldTerms::default(), dispatched] {
        round(terms, true).await;
    }
}

/// Everything that usage sums up.
async fn used(engine: &Engine, now: Millis) -> Totals {
    let span = (Bucket::Day.start(now - HOUR), now + DAY);
    let query = UsageQuery::new(Rows::Each(Bucket::Day), span, now);
    engine.usage().table(&query).await.unwrap().total
}

/// What the project's limit counts.
async fn counted(engine: &Engine, probe: &Record, now: Millis) -> u64 {
    let limits = engine.check(probe, false, now).await.limits;
    limits.iter().find(|limit| limit.scope.is_some() && limit.unit == Unit::Tokens).unwrap().used
}

async fn with_a_limit(engine: &Engine, tokens: u64, now: Millis) {
    let project = json!({"limits": [{"unit": "tokens", "window": "month", "limit": tokens}]});
    let project = serde_json::from_value::<Project>(project).unwrap().checked().unwrap();
    engine.registry_changes().put("shared", &Entry::Project(project), &Actor::local(), now).await.unwrap();
}

/// Each of two thousand records settles a reservation and is sent three times, all at once, over the instances: what it
/// used is charged once, and all three get the same answer.
async fn a_storm_of_retries_charges_each_record_once(instances: &[Instance]) {
    let first = &instances[0];
    let now = first.engine.now();
    with_a_limit(&first.engine, 1_000_000_000, now).await;
    for instance in instances {
        let limited = async || {
            let probe = instance.record("probe", json!({"project_id": "shared", "tokens_used": 0}));
            !instance.engine.check(&probe, false, instance.engine.now()).await.limits.is_empty()
        };
        eventually("the limit is in force", limited).await;
    }
    let mut records = Vec::with_capacity(RECORDS);
    for n in 0..RECORDS {
        let asked = |fields: serde_json::Value| {
            let mut all = json!({"project_id": "shared", "tokens_used": 90});
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            first.record(&format!("k{}", n % 50), all)
        };
        let terms = HoldTerms { lease: Some(HOUR), dispatched: n % 2 == 0 };
        let held = first.engine.reserve(&asked(json!({})), terms, now).await.reserved.unwrap();
        records.push(asked(
            json!({"tokens_used": 70, "request_id": format!("r{n}"), "reservation_id": &*held.id}),
        ));
    }
    let mut answers = Vec::with_capacity(3 * RECORDS);
    // As many at once as one server of tests answers in time.
    for wave in records.chunks(AT_ONCE) {
        let mut calls = JoinSet::new();
        for round in 0..3 {
            for (n, record) in wave.iter().enumerate() {
                let engine = instances[(n + round) % instances.len()].engine.clone();
                let record = record.clone();
                calls.spawn(async move { engine.record(&[record], now).await.remove(0) });
            }
        }
        answers.extend(calls.join_all().await);
    }
    assert_eq!(answers.len(), 3 * RECORDS);
    for answer in &answers {
        assert!(answer.allowed && !answer.degraded, "{answer:?}");
        assert_eq!(answer.settlement, Some(Settlement::Settled), "all three get the same answer");
    }
    let probe = first.record("probe", json!({"project_id": "shared", "tokens_used": 0}));
    assert_eq!(counted(&first.engine, &probe, now).await, RECORDS as u64 * 70);
    let mut all = Totals::default();
    for instance in instances {
        all = used(&instance.engine, now).await;
    }
    assert_eq!((all.requests, all.tokens), (RECORDS as u64, RECORDS as u64 * 70));
}

fn for_a_storm(shares_store: bool) -> EngineOptions {
    EngineOptions { shares_store, idempotency_capacity: 100_000, ..options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_retries_over_two_instances_charges_each_record_once() {
    let server = Server::start(&[]);
    let mut policy = limits_alone(1);
    policy.limits = Default::default();
    // What a slow machine takes long over is no failure of the store.
    let options =
        RedisOptions { response_timeout: Duration::from_secs(10), partitions: 4, ..RedisOptions::default() };
    let store = async || Arc::new(RedisStore::connect(&server.url(), options.clone()).await.unwrap());
    let instance = async || Instance::start(store().await, policy.clone(), for_a_storm(true)).await;
    let instances = [instance().await, instance().await];
    a_storm_of_retries_charges_each_record_once(&instances).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_retries_on_the_embedded_store_charges_each_record_once() {
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let mut policy = limits_alone(1);
    policy.limits = Default::default();
    a_storm_of_retries_charges_each_record_once(&[Instance::start(store, policy, for_a_storm(false)).await])
        .await;
}

/// The instance is gone between the charge and usage; another one finds what is left to do, once.
async fn an_estimate_is_counted_once_whoever_ends_it(
    store: Arc<dyn Store>,
    again: impl AsyncFn() -> Arc<dyn Store>,
) {
    let intake = intake(DAY);
    let asked = |fields: serde_json::Value, now| record(&intake, "a", fields, now);
    let first = engine(store.clone()).await;
    with_a_limit(&first, 100, START).await;
    let dispatched = HoldTerms { lease: Some(SECOND), dispatched: true };
    let estimate = json!({"project_id": "shared", "tokens_used": 60});
    let held = first.reserve(&asked(estimate, START), dispatched, START).await.reserved.unwrap();
    let end = START + SECOND;
    for reservation in store.ended_reservations(end, 10).await.unwrap() {
        store.end_reservation(&reservation, end).await.unwrap();
    }
    drop((first, store));
    let stores = [again().await, again().await];
    let engines = join_all(stores.into_iter().map(engine)).await;
    let probe = asked(json!({"project_id": "shared", "tokens_used": 0}), end);
    let ended = join_all(engines.iter().map(|engine| async {
        engine.reservations().end(end).await.unwrap();
        used(engine, end).await
    }))
    .await;
    assert!(ended.iter().all(|used| (used.requests, used.tokens) == (1, 60)), "{ended:?}");
    assert_eq!(counted(&engines[0], &probe, end).await, 60);
    let settles = json!({"project_id": "shared", "tokens_used": 25, "reservation_id": &*held.id});
    let corrected = engines[1].record(&[asked(settles.clone(), end)], end).await.remove(0).settlement;
    assert_eq!(corrected, Some(Settlement::Corrected));
    let second = engines[0].record(&[asked(settles, end)], end).await.remove(0).settlement;
    assert_eq!(second, Some(Settlement::Unknown));
    let mut all = Totals::default();
    for engine in engines.iter().chain(&engines) {
        all = used(engine, end).await;
    }
    assert_eq!((all.requests, all.tokens), (2, 50));
    assert_eq!(counted(&engines[0], &probe, end).await, 50);
}

#[tokio::test]
async fn an_estimate_that_a_killed_instance_charged_in_redis_is_counted_once_and_corrected_once() {
    let server = Server::start(&[]);
    let open = async || redis(&server.url(), "kw").await;
    an_estimate_is_counted_once_whoever_ends_it(open().await, open).await;
}

#[tokio::test]
async fn an_estimate_that_was_charged_is_counted_once_by_engines_over_one_embedded_store() {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let again = store.clone();
    an_estimate_is_counted_once_whoever_ends_it(store, async || again.clone()).await;
}
