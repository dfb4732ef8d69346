//! Random histories of reservations, told to the service and to an exact oracle: reserve, extend, dispatch, give back,
//! settle, settle late or again, ban, unban, expire, kill.
//!
//! Time is injected. A twentieth of the histories runs in every suite, by a fresh seed that is printed;
//! `KEYWARD_HISTORIES=1000` runs all, and `KEYWARD_SEED=…` runs those of a seed again.

mod oracle;
mod run;

use std::{sync::Arc, time::Duration};

use keyward::store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
    redis::{RedisOptions, RedisStore},
};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::{Builder, Runtime};

use self::run::{Run, Step, steps};
use crate::redis_server::{self, Cluster};

/// How many histories are run of the thousand where nobody asks for more.
const IN_EVERY_SUITE: u32 = 50;

/// The seed of a run: the one that is asked for, or a fresh one.
fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    match std::env::var("KEYWARD_SEED") {
        Ok(text) => {
            hex::decode_to_slice(text.trim(), &mut seed).expect("KEYWARD_SEED is 64 hexadecimal digits")
        }
        Err(_) => getrandom::fill(&mut seed).unwrap(),
    }
    seed
}

fn histories() -> u32 {
    std::env::var("KEYWARD_HISTORIES")
        .map_or(IN_EVERY_SUITE, |text| text.parse().expect("a number of histories"))
}

/// Runs random histories, each on a store of its own.
fn tell(runtime: &Runtime, open: impl AsyncFn() -> Arc<dyn Store>) {
    let seed = seed();
    println!("KEYWARD_SEED={} for {} histories", hex::encode(seed), histories());
    let config =
        Config { cases: histories(), failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let told = TestRunner::new_with_rng(config, rng).run(&steps(), |steps: Vec<Step>| {
        runtime.block_on(async {
            let mut run = Run::start(open().await).await;
            for step in &steps {
                run.make(step).await?;
            }
            run.end().await
        })
    });
    told.unwrap_or_else(|error| panic!("KEYWARD_SEED={}: {error}", hex::encode(seed)));
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(url: &str) -> Arc<dyn Store> {
    let options = RedisOptions {
        namespace: redis_server::namespace(),
        partitions: 5,
        response_timeout: Duration::from_secs(10),
        connection_timeout: Duration::from_secs(10),
        ..RedisOptions::default()
    };
    Arc::new(RedisStore::connect(url, options).await.unwrap())
}

#[test]
fn every_reservation_of_a_random_history_ends_in_exactly_one_way_on_the_embedded_store() {
    tell(&runtime(), async || Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap()) as _);
}

#[test]
fn every_reservation_of_a_random_history_ends_in_exactly_one_way_on_redis() {
    let url = redis_server::shared().url();
    tell(&runtime(), async || connect(&url).await);
}

#[test]
fn every_reservation_of_a_random_history_ends_in_exactly_one_way_on_a_cluster_of_three() {
    let cluster = Cluster::start();
    let url = cluster.url();
    tell(&runtime(), async || connect(&url).await);
}
