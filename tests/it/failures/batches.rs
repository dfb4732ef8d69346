//! Batches of some callers, and what they do to the answers of others.

use std::time::Duration;

use keyward::engine::EngineOptions;
use serde_json::json;

use crate::{redis_server::Server, support::*};

const BATCH: usize = 1_000;
const CALLERS: usize = 6;
/// Longer than in production, as tests are built without optimisation and run beside others.
const GENEROUS: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_large_batches_of_many_callers_single_requests_are_answered_by_the_store() {
    let server = Server::start(&[]);
    let instance =
        Instance::on(&server, limits_alone(1_000_000_000), EngineOptions { deadline: GENEROUS, ..options() })
            .await;
    let batches = |caller: usize| {
        let record = |n| instance.record(&format!("batch-{caller}-{}", n % 50), json!({}));
        (0..BATCH).map(record).collect::<Vec<_>>()
    };
    let many = async |caller: usize| {
        for _ in 0..3 {
            let decisions = instance.engine.record(&batches(caller), instance.engine.now()).await;
            assert_eq!(decisions.len(), BATCH);
            assert!(decisions.iter().all(|decision| !decision.degraded), "a batch has its turn");
        }
    };
    let singles = async {
        for _ in 0..50 {
            let decision = instance.ask("single").await;
            assert!(!decision.degraded);
        }
    };
    tokio::join!(futures::future::join_all((0..CALLERS).map(many)), singles);
    let key = keyward::domain::subject::Subject::key("batch-0-0");
    let seen = instance.engine.store().inspect(&key, instance.engine.now()).await.unwrap().unwrap();
    assert_eq!(seen.counts[2].requests, 3 * (BATCH / 50) as u64, "each is counted once");
}
