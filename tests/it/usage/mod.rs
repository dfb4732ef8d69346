//! Usage agrees, to the nano-dollar, with the sum of all records: over instances, lost answers, restarts and outages.

mod cluster;
mod forgetful;
mod oracle;

use std::sync::{Arc, atomic::Ordering::Relaxed};

use futures::future::join_all;
use keyward::{
    domain::{
        DAY, Millis,
        usage::{Bucket, Grouping, Rows, UsageQuery, UsageTable},
    },
    engine::Engine,
    geo::Geo,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use serde_json::{Value, json};

use crate::{
    app::{Served, client},
    redis_server::{self, Server, namespace},
    roles::Roles,
    support::*,
};
use forgetful::Forgetful;
use oracle::{Life, Oracle};

/// Everything that is kept at `now`.
pub(crate) fn all(bucket: Bucket, group: Grouping, now: Millis) -> UsageQuery {
    let span = (bucket.start(now - 500 * DAY), now + DAY);
    UsageQuery { group, ..UsageQuery::new(Rows::Each(bucket), span, now) }
}

/// Asks until the answers are no longer lost.
async fn ask(engine: &Engine, query: &UsageQuery) -> UsageTable {
    for _ in 0..1_000 {
        if let Ok(table) = engine.usage().table(query).await {
            return table;
        }
    }
    panic!("the answers stay lost");
}

/// 20,000 records through three instances at once, with additions that are sent again and again.
async fn is_exact(stores: Vec<Arc<dyn Store>>) {
    const RECORDS: usize = 20_000;
    const AT_ONCE: usize = 25;
    let shelf = tempfile::tempdir().unwrap();
    let lives = stores.into_iter().zip(1..).map(async |(store, seed)| {
        let usage = Forgetful::over(store.clone());
        let store = Arc::new(Roles { usage: usage.clone(), ..Roles::of(store) });
        let geo = Arc::new(Geo::off());
        let engine = Engine::start(store, geo, limits_alone(120_000), options()).await.unwrap();
        let mut life = Life::new(seed, shelf.path());
        let mut oracle = Oracle::default();
        for part in 0..RECORDS / 3 / AT_ONCE + 1 {
            let (records, facts) = life.records(AT_ONCE);
            let decisions = engine.record(&records, life.now).await;
            for (fact, decision) in facts.into_iter().zip(decisions) {
                oracle.count(fact, !decision.allowed);
            }
            if part % 7 == 0 {
                let _ = engine.usage().table(&all(Bucket::Day, Grouping::default(), life.now)).await;
            }
        }
        ask(&engine, &all(Bucket::Day, Grouping::default(), life.now)).await;
        assert!(usage.lost.load(Relaxed) > 10, "answers were lost");
        (engine, oracle, life.now)
    });
    let mut whole = Oracle::default();
    let mut last = None;
    for (engine, oracle, now) in join_all(lives).await {
        whole.merge(oracle);
        last = Some((engine, now));
    }
    let (engine, now) = last.unwrap();
    whole.is_lively();
    for bucket in Bucket::ALL {
        for n in 0..8 {
            let group =
                Grouping { project: n & 1 > 0, model: n & 2 > 0, key: n & 4 > 0, ..Grouping::default() };
            let table = ask(&engine, &all(bucket, group, now)).await;
            assert_eq!(table.rows, whole.rows(bucket, group, now), "{bucket:?} by {group:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_on_redis_is_the_sum_of_all_records() {
    let (url, namespace) = (redis_server::shared().url(), namespace());
    is_exact(join_all((0..3).map(|_| redis(&url, &namespace))).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_in_the_embedded_store_is_the_sum_of_all_records() {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> =
        Arc::new(EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap());
    is_exact(vec![store.clone(), store.clone(), store]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_reaches_the_store_by_itself_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
        Instance::start(Arc::new(store), policy(), options())
    };
    let instance = open().await;
    for _ in 0..5 {
        instance.ask("a").await;
    }
    let everything = |instance: &Instance| all(Bucket::Day, Grouping::default(), instance.engine.now());
    eventually("nobody asked for it, and it is in the store", async || {
        // Not by way of the engine, which would write it first.
        let table = instance.engine.store().usage(&everything(&instance)).await.unwrap();
        table.total.requests == 5
    })
    .await;
    instance.ask("a").await;
    instance.shut_down().await;
    let again = open().await;
    let table = again.engine.usage().table(&everything(&again)).await.unwrap();
    assert_eq!((table.total.requests, table.total.tokens), (6, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_of_an_outage_is_told_afterwards() {
    const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(DURABLE);
    let instance = Instance::on(&server, policy(), with_production_deadline()).await;
    let everything = |instance: &Instance| all(Bucket::Day, Grouping::default(), instance.engine.now());
    let ask = async |times: usize| {
        for _ in 0..times {
            instance.ask("a").await;
        }
    };
    ask(5).await;
    assert_eq!(instance.engine.usage().table(&everything(&instance)).await.unwrap().total.requests, 5);
    ask(3).await;
    server.kill();
    ask(7).await;
    assert!(
        instance.engine.usage().table(&everything(&instance)).await.is_err(),
        "nothing is said to be whole"
    );
    server.start_again(DURABLE);
    instance.healed().await;
    eventually("everything is there", async || {
        let table = instance.engine.usage().table(&everything(&instance)).await;
        table.is_ok_and(|table| table.total.requests == 15)
    })
    .await;
}

#[tokio::test]
async fn usage_that_was_shown_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let client = client();
    let served = Served::start(dir.path());
    for n in 0..10 {
        let record = json!({ "key_id": format!("k{}", n % 3), "endpoint": "/v1/x", "source_ip": "203.0.113.7",
            "model": "gpt-4.1", "tokens_used": 100 + n });
        let answer = client.post(format!("{}/v1/record", served.url)).json(&record).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    let usage = async |served: &Served| {
        let url = format!("{}/v1/usage?group_by=key&bucket=day", served.url);
        client.get(url).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let shown = usage(&served).await;
    assert_eq!((&shown["total"]["requests"], shown["rows"].as_array().unwrap().len()), (&json!(10), 3));
    served.kill();
    let served = Served::start(dir.path());
    assert_eq!(usage(&served).await["rows"], shown["rows"]);
    served.kill();
}
