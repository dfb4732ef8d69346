//! What must hold whatever comes: bounded memory, capped cardinality, bans that neither fade nor outstay.

use std::sync::Arc;

use keyward::{
    domain::{DAY, HOUR, MINUTE, Millis, SECOND, actor::Actor, observation::Charge, subject::Subject},
    engine::{Engine, EngineOptions},
    geo::Geo,
    store::{
        CounterStore, Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{RedisOptions, RedisStore},
    },
};
use serde_json::json;

use crate::{
    redis_server::{Server, namespace, shared},
    store::support::{START, charge},
    support::*,
};

/// Closed buckets that one window may hold: 60 spans and what leaves late.
const MOST_BUCKETS: u64 = 67;
/// Bytes that all of one key's windows may take, whatever its rate.
const MOST_BYTES: u64 = 32 * 1024;
/// New subjects per minute and address.
const CAP: u32 = 60;

/// When the n-th of 200,000 requests comes: bursts, pauses and a steady trickle over 25 hours.
fn uneven(n: i64) -> Millis {
    let (burst, within) = (n / 1_000, n % 1_000);
    let pace = [0, 7, 80, 400][(burst % 4) as usize];
    START + burst * 450 * SECOND + within * pace
}

#[tokio::test]
async fn the_memory_of_a_key_is_bounded_whatever_its_rate() {
    let namespace = namespace();
    let options =
        RedisOptions { namespace: namespace.clone(), response_timeout: PATIENCE, ..RedisOptions::default() };
    let store = RedisStore::connect(&shared().url(), options).await.unwrap();
    let key = Subject::key("busy");
    for batch in 0..200 {
        let charges: Vec<Charge> =
            (0..1_000).map(|n| charge(&key, uneven(batch * 1_000 + n), 1 + n as u64 * 1_000)).collect();
        let seen = store.observe(&charges).await.unwrap();
        assert!(seen.iter().all(|o| o.admitted));
    }
    assert!(uneven(199_999) > START + 24 * HOUR + 30 * MINUTE);
    let keys = shared().cli(&["KEYS", &format!("{namespace}:*key:busy")]);
    assert_eq!(keys.lines().count(), 5, "the state and four windows: {keys}");
    let mut bytes = 0;
    for key in keys.lines() {
        bytes += shared().cli(&["MEMORY", "USAGE", key, "SAMPLES", "0"]).parse::<u64>().unwrap();
        if shared().cli(&["TYPE", key]) == "zset" {
            let buckets: u64 = shared().cli(&["ZCARD", key]).parse().unwrap();
            assert!(buckets <= MOST_BUCKETS, "{key} has {buckets} buckets");
        }
    }
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

fn capped() -> EngineOptions {
    EngineOptions { new_subjects_per_minute_per_address: CAP, new_subjects_per_minute: 10 * CAP, ..options() }
}

/// 50,000 distinct keys from one address within a minute, each reported twice, in batches.
async fn flood(engine: &Engine, now: Millis) {
    let intake = intake(DAY);
    for batch in 0..50 {
        let keys = || (0..1_000).map(|n| format!("guess-{}", batch * 1_000 + n));
        for status in [200, 401] {
            let records: Vec<_> =
                keys().map(|key| record(&intake, &key, json!({"response_status": status}), now)).collect();
            let decisions = engine.record(&records, now).await;
            assert_eq!(decisions.len(), records.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_keys_leaves_no_more_subjects_in_redis_than_the_cap_allows() {
    let server = Server::start(&[]);
    let instance = Instance::on(&server, limits_alone(1_000), capped()).await;
    let now = START;
    flood(&instance.engine, now).await;
    instance.shut_down().await;
    let subjects = |kind: &str| {
        server.cli(&["KEYS", &format!("kw:1:*:{kind}:key:*")]).lines().filter(|l| !l.is_empty()).count()
    };
    assert_eq!(subjects("s"), CAP as usize, "states");
    assert_eq!(subjects("p"), CAP as usize, "profiles");
    let addresses = server.cli(&["KEYS", "kw:1:*:s:ip:*"]);
    assert!(addresses.lines().count() <= 1, "{addresses}");
}

/// An engine with the caps over an embedded store, whose time is what the test says: no upkeep runs.
async fn embedded() -> (Arc<Engine>, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let engine = Engine::start(store.clone(), Arc::new(Geo::off()), limits_alone(1_000), capped()).await;
    (engine.unwrap(), store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_keys_leaves_no_more_subjects_in_the_embedded_store_than_the_cap_allows() {
    let (engine, store) = embedded().await;
    flood(&engine, START).await;
    let mut known = 0;
    for n in 0..50_000 {
        known +=
            u32::from(store.inspect(&Subject::key(&format!("guess-{n}")), START).await.unwrap().is_some());
    }
    assert_eq!(known, CAP);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_addresses_with_one_bad_key_is_capped_too() {
    let (engine, store) = embedded().await;
    let intake = intake(DAY);
    let address = |n: u32| format!("2001:db8:{:x}:{:x}::1", n / 1_000, n % 1_000);
    for n in 0..2_000 {
        let fields = json!({"response_status": 401, "source_ip": address(n)});
        engine.record(&[record(&intake, "bad", fields, START)], START).await;
    }
    let mut known = 0;
    for n in 0..2_000 {
        let subject = Subject::ip(address(n).parse().unwrap());
        known += u32::from(store.inspect(&subject, START).await.unwrap().is_some());
    }
    assert!(known > 0 && known <= 10 * CAP, "{known} addresses");
}

/// An engine without upkeep over each store, so that time is what the test says.
async fn engines() -> [Arc<Engine>; 2] {
    let start = async |store: Arc<dyn Store>| {
        Engine::start(store, Arc::new(Geo::off()), policy(), options()).await.unwrap()
    };
    let embedded = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
    [start(Arc::new(embedded)).await, start(redis(&shared().url(), &namespace()).await).await]
}

#[tokio::test]
async fn a_ban_ends_on_its_moment_and_a_clock_that_jumps_back_does_not_lift_it() {
    let intake = intake(365 * DAY);
    for engine in engines().await {
        let allowed = async |engine: &Engine, now: Millis| {
            engine.record(&[record(&intake, "a", json!({}), now)], now).await.remove(0).allowed
        };
        let key = Subject::key("a");
        assert!(allowed(&engine, START).await);
        engine.bans().ban(&key, Some(HOUR), "leaked", &Actor::local(), START).await.unwrap();
        for jump in [SECOND, HOUR, 30 * DAY] {
            assert!(!allowed(&engine, START - jump).await, "{jump} ms back");
        }
        assert!(!allowed(&engine, START + HOUR - 1).await);
        assert!(allowed(&engine, START + HOUR).await, "a ban never outlives its end");
        // Another instance, which has only what the store holds, sees it alike.
        assert_eq!(engine.store().standings_in_force(START + HOUR).await.unwrap(), []);
        assert_eq!(engine.store().standings_in_force(START - DAY).await.unwrap().len(), 1);
    }
}
