//! Batches of some callers, and what they do to the answers of others.

use std::time::Duration;

use keyward::engine::EngineOptions;
use serde_json::json;

use crate::{redis_server::Server, support::*};

/// So many records of so many callers each: more than go to the store together, and as many as do.
const BATCHES: [(usize, usize); 2] = [(1_000, 6), (100, 60)];
/// Keys of one caller.
const KEYS: usize = 50;
const TIMES: usize = 3;
/// Longer than in production (50 ms), as tests are built without optimisation and run beside others: a chunk of a
/// hundred alone takes about that then. 6,000 records at once take seconds.
const GENEROUS: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_batches_of_many_callers_single_requests_are_answered_by_the_store() {
    let server = Server::start(&[]);
    let instance =
        Instance::on(&server, limits_alone(1_000_000_000), EngineOptions { deadline: GENEROUS, ..options() })
            .await;
    let many = async |(size, caller): (usize, usize)| {
        for _ in 0..TIMES {
            let record = |n| instance.record(&format!("batch-{size}-{caller}-{}", n % KEYS), json!({}));
            let records: Vec<_> = (0..size).map(record).collect();
            let decisions = instance.engine.record(&records, instance.engine.now()).await;
            assert_eq!(decisions.len(), size);
            assert!(decisions.iter().all(|decision| !decision.degraded), "a batch has its turn");
        }
    };
    let callers = BATCHES.iter().flat_map(|(size, callers)| (0..*callers).map(move |caller| (*size, caller)));
    let singles = async {
        for _ in 0..50 {
            let decision = instance.ask("single").await;
            assert!(!decision.degraded);
        }
    };
    tokio::join!(futures::future::join_all(callers.map(many)), singles);
    for (size, _) in BATCHES {
        let key = keyward::domain::subject::Subject::key(&format!("batch-{size}-0-0"));
        let seen = instance.engine.store().inspect(&key, instance.engine.now()).await.unwrap().unwrap();
        assert_eq!(seen.counts[2].requests, (TIMES * size / KEYS) as u64, "each is counted once");
    }
}
