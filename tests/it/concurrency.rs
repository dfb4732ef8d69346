//! Many callers on many instances, one key, one limit: never over it in any true span, and not far below it.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use keyward::{
    domain::{
        MINUTE, Millis,
        actor::Actor,
        decision::{Decision, Reason},
        record::Record,
        registry::{Entry, Project},
        window::slack_millis,
    },
    engine::Engine,
    geo::Geo,
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{RedisOptions, RedisStore},
    },
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    redis_server::{self, namespace},
    support::*,
};

/// Tokens per minute.
const LIMIT: u64 = 1_000;
const LARGEST: u64 = 60;
const CALLERS: u64 = 64;
/// Moments at which all callers ask at once; uneven, over about five minutes.
const ROUNDS: i64 = 80;
const START: Millis = 1_760_000_000_000;
/// The furthest two clocks may be apart so that nothing is over-admitted.
const SKEW: Millis = slack_millis(MINUTE);
/// Usage leaves its window at most this long after the minute is over.
const LATE: Millis = MINUTE / 60;

/// One answer: at what true time it was asked for, how much, and what came back.
struct Asked {
    at: Millis,
    tokens: u64,
    decision: Decision,
}

/// The true time of a round.
fn moment(round: i64) -> Millis {
    START + round * 3_700 + (round * round * 97) % 2_900
}

/// What a caller's clock shows at `time`: up to half the slack before or after it.
fn skewed(time: Millis, caller: u64) -> Millis {
    time + (caller as Millis * 7_919) % (SKEW + 1) - SKEW / 2
}

fn tokens(round: i64, caller: u64) -> u64 {
    1 + (round as u64 * 31 + caller * 17) % LARGEST
}

/// All callers ask at each moment, spread over the engines; every one of them many times the limit.
async fn storm(engines: &[Arc<Engine>]) -> Vec<Asked> {
    let intake = intake(MINUTE);
    let mut asked = Vec::new();
    for round in 0..ROUNDS {
        let at = moment(round);
        let mut calls = JoinSet::new();
        for caller in 0..CALLERS {
            let engine = engines[caller as usize % engines.len()].clone();
            let (tokens, now) = (tokens(round, caller), skewed(at, caller));
            let record: Record = record(&intake, "a", json!({"tokens_used": tokens, "admit": true}), now);
            calls.spawn(async move {
                let decision = engine.record(&[record], now).await.remove(0);
                Asked { at, tokens, decision }
            });
        }
        asked.extend(calls.join_all().await);
    }
    asked
}

/// What was admitted in `(from, to]`, by a clock of the reader's choice.
fn admitted(asked: &[Asked], clock: impl Fn(&Asked) -> Millis, from: Millis, to: Millis) -> u64 {
    let inside = |a: &&Asked| a.decision.allowed && (from + 1..=to).contains(&clock(a));
    asked.iter().filter(inside).map(|a| a.tokens).sum()
}

fn judge(asked: &[Asked]) {
    assert!(asked.iter().all(|a| !a.decision.degraded), "the store answered every time");
    let refusals: Vec<_> = asked.iter().filter(|a| !a.decision.allowed).collect();
    assert!(refusals.iter().all(|a| a.decision.reason == Some(Reason::RateLimitExceeded)));
    let demand: u64 = asked.iter().map(|a| a.tokens).sum();
    let through: u64 = asked.iter().filter(|a| a.decision.allowed).map(|a| a.tokens).sum();
    assert!(demand > 10 * through, "{demand} asked for, {through} admitted");
    for a in asked.iter().filter(|a| a.decision.allowed) {
        let true_span = admitted(asked, |a| a.at, a.at - MINUTE, a.at);
        assert!(true_span <= LIMIT, "{true_span} in the minute before {}", a.at - START);
        let decided = a.decision.decided_at;
        let span = admitted(asked, |a| a.decision.decided_at, decided - MINUTE, decided);
        assert!(span <= LIMIT, "{span} in the minute before {}", decided - START);
    }
    // What was refused would have been too much within the window and what it may leave late.
    for a in refusals {
        let span = admitted(asked, |a| a.at, a.at - MINUTE - LATE - SKEW, a.at);
        assert!(span + a.tokens > LIMIT, "{} refused with {span} used at {}", a.tokens, a.at - START);
    }
    for round in (0..ROUNDS).filter(|round| moment(*round) > START + 2 * MINUTE) {
        let at = moment(round);
        let span = admitted(asked, |a| a.at, at - MINUTE - LATE - SKEW, at);
        assert!(span + LARGEST > LIMIT, "only {span} in the minute before {}", at - START);
    }
}

async fn engine(store: Arc<dyn Store>) -> Arc<Engine> {
    Engine::start(store, Arc::new(Geo::off()), limits_alone(LIMIT), options()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_with_skewed_clocks_never_admit_more_than_the_limit_and_use_it_up() {
    let namespace = namespace();
    let connect = async || {
        let options = RedisOptions {
            namespace: namespace.clone(),
            response_timeout: Duration::from_secs(10),
            ..RedisOptions::default()
        };
        let store = RedisStore::connect(&redis_server::shared().url(), options).await.unwrap();
        engine(Arc::new(store)).await
    };
    let engines = join_all((0..4).map(|_| connect())).await;
    judge(&storm(&engines).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_of_the_embedded_store_never_get_more_than_the_limit_and_use_it_up() {
    let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
    judge(&storm(&[engine(Arc::new(store)).await]).await);
}

/// Registers a project with a budget of one dollar; engines that start later know it.
async fn with_a_budget(engine: Arc<Engine>) -> Arc<Engine> {
    let body = serde_json::from_value::<Project>(json!({"budget_usd": "1"})).unwrap().checked().unwrap();
    engine.registry_changes().put("shared", &Entry::Project(body), &Actor::local(), START).await.unwrap();
    engine
}

/// 64 tasks on each of four instances ask for a share of one monthly budget of a project, each with a key of its own:
/// as many are admitted as it holds, to the nano-dollar, whether they reserve or report.
async fn share_a_budget(engines: &[Arc<Engine>], reserve: bool, asked: &serde_json::Value) {
    let intake = intake(MINUTE);
    let mut calls = JoinSet::new();
    let mut cost = 0;
    for task in 0..4 * CALLERS {
        let engine = engines[task as usize % engines.len()].clone();
        let record: Record = record(&intake, &format!("k{task}"), asked.clone(), START);
        cost = record.cost().nanos;
        calls.spawn(async move {
            if reserve {
                engine.check(&record, true, START).await.allowed
            } else {
                engine.record(&[record], START).await.remove(0).allowed
            }
        });
    }
    let admitted = calls.join_all().await.into_iter().filter(|admitted| *admitted).count();
    assert_eq!(admitted as u64, 1_000_000_000 / cost, "at {cost} each");
    assert!(admitted < 4 * CALLERS as usize / 2, "many more ask than it holds");
}

/// The same on four instances over Redis, and on one over its own store.
async fn a_shared_budget_is_admitted_exactly(reserve: bool, asked: &serde_json::Value) {
    let namespace = namespace();
    let connect = async || {
        let options = RedisOptions {
            namespace: namespace.clone(),
            response_timeout: Duration::from_secs(10),
            ..RedisOptions::default()
        };
        let store = RedisStore::connect(&redis_server::shared().url(), options).await.unwrap();
        engine(Arc::new(store)).await
    };
    let mut engines = vec![with_a_budget(connect().await).await];
    engines.extend(join_all((0..3).map(|_| connect())).await);
    share_a_budget(&engines, reserve, asked).await;
    let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
    share_a_budget(&[with_a_budget(engine(Arc::new(store)).await).await], reserve, asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_admit_exactly_what_a_shared_budget_holds() {
    let asked = json!({"project_id": "shared", "cost_usd": 0.009456789});
    for reserve in [false, true] {
        a_shared_budget_is_admitted_exactly(reserve, &asked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_instances_admit_exactly_what_a_budget_holds_where_output_costs_five_times_the_input() {
    let asked = json!({"project_id": "shared", "model": "claude-sonnet-4-5", "tokens_used": 800,
        "prompt_tokens": 300, "completion_tokens": 500});
    a_shared_budget_is_admitted_exactly(true, &asked).await;
}
