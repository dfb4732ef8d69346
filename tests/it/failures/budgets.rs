//! Many callers use one budget up, and Redis fails among them: what is admitted in all.
//!
//! Each request is one of a key of its own. One script charges the budget and the windows of the key, so that whether a
//! request was charged can be asked afterwards, also where its answer was lost.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures::future::join_all;
use keyward::{
    clock,
    domain::{
        DAY, MINUTE, Millis,
        actor::Actor,
        calendar::Zone,
        counter::{Counter, CounterCharge},
        limit::{Limit, Scope, Span},
        observation::Charge,
        policy::{OnStoreFailure, Policy},
        registry::{Entry, Project},
        reservation::HoldTerms,
        subject::Subject,
        usage::{Bucket, Rows, UsageQuery},
        window::Unit,
    },
    engine::LEASE,
    store::Store,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    redis_server::Server,
    store::support::{START, charge},
    support::*,
};

const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
/// What each request costs, what the budget is, and how many it holds.
const COST: u64 = 7;
const BUDGET: u64 = 14_003;
const HOLDS: usize = (BUDGET / COST) as usize;
const CALLERS: usize = 16;
/// A caller asks this often.
const PACE: Duration = Duration::from_millis(5);
/// Nothing slides out of it while a test runs.
const SPAN: Span = Span::Sliding(30 * DAY);

fn budget() -> Counter {
    let limit = Limit::new(Unit::Tokens, SPAN, BUDGET);
    Counter::of(&Scope::Subject(Subject::project("shared")), &limit, &Zone::UTC)
}

/// What callers have seen.
#[derive(Default)]
struct Seen {
    admitted: BTreeSet<String>,
    /// Their answers were errors: they may have been charged.
    unanswered: BTreeSet<String>,
}

/// Callers that ask until the budget is full.
struct Callers {
    tasks: JoinSet<Seen>,
    admitted: Arc<AtomicUsize>,
    /// From then on a refusal is the end.
    settled: Arc<AtomicBool>,
}

impl Callers {
    fn start(stores: &[Arc<dyn Store>]) -> Self {
        let (admitted, settled) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut tasks = JoinSet::new();
        for caller in 0..CALLERS {
            let store = stores[caller % stores.len()].clone();
            tasks.spawn(call(store, caller, admitted.clone(), settled.clone()));
        }
        Self { tasks, admitted, settled }
    }

    /// Waits until so many are admitted.
    async fn have(&self, number: usize) {
        eventually("requests are admitted", async || self.admitted.load(SeqCst) >= number).await;
    }

    /// What all have seen, when the budget is full.
    async fn end(self) -> Seen {
        self.settled.store(true, SeqCst);
        let mut all = Seen::default();
        for seen in self.tasks.join_all().await {
            all.admitted.extend(seen.admitted);
            all.unanswered.extend(seen.unanswered);
        }
        all
    }
}

async fn call(
    store: Arc<dyn Store>,
    caller: usize,
    admitted: Arc<AtomicUsize>,
    settled: Arc<AtomicBool>,
) -> Seen {
    let mut seen = Seen::default();
    let mut pace = clock::ticks(PACE);
    for n in 0.. {
        pace.tick().await;
        let last = settled.load(SeqCst);
        let key = format!("k1:{caller}-{n}");
        let until = SPAN.counts_until(START, &Zone::UTC);
        let quota = CounterCharge { counter: budget(), amount: COST, most: BUDGET, until, block: None };
        let asked = Charge { counters: vec![quota], ..charge(&Subject::key(&key), START, COST) };
        match store.observe(&[asked]).await {
            Ok(observed) if observed[0].admitted => {
                admitted.fetch_add(1, SeqCst);
                seen.admitted.insert(key);
            }
            Ok(_) if last => break,
            Ok(_) => {}
            Err(_) => drop(seen.unanswered.insert(key)),
        }
    }
    seen
}

/// Which of the requests are charged in the store.
async fn charged(store: &Arc<dyn Store>, seen: &Seen) -> BTreeSet<String> {
    let asked: Vec<&String> = seen.admitted.union(&seen.unanswered).collect();
    let mut charged = BTreeSet::new();
    for page in asked.chunks(100) {
        let looked = page.iter().map(|key| async move {
            let windows = store.inspect(&Subject::key(key), START).await.unwrap();
            windows.filter(|windows| windows.counts[3].tokens == COST).map(|_| (*key).clone())
        });
        charged.extend(join_all(looked).await.into_iter().flatten());
    }
    charged
}

async fn used(store: &Arc<dyn Store>) -> u64 {
    store.counters(&[budget()], START).await.unwrap()[0].used
}

/// Every write that Redis answered is on its disk. So what was answered is charged, what was charged is all that the
/// budget holds, and of what was not answered no more was charged than was under way when Redis was killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_admits_exactly_what_it_holds_though_redis_is_killed_twice_meanwhile() {
    let mut server = Server::start(DURABLE);
    let stores = [redis(&server.url(), "kw").await, redis(&server.url(), "kw").await];
    let callers = Callers::start(&stores);
    for part in [HOLDS / 3, HOLDS * 2 / 3] {
        callers.have(part).await;
        server.kill();
        server.start_again(DURABLE);
    }
    callers.have(HOLDS * 2 / 3 + CALLERS).await;
    let seen = callers.end().await;
    let charged = charged(&stores[0], &seen).await;
    assert!(charged.is_superset(&seen.admitted), "what was admitted is charged");
    assert_eq!((charged.len(), used(&stores[0]).await), (HOLDS, HOLDS as u64 * COST));
    let silent = charged.len() - seen.admitted.len();
    assert!(silent <= 2 * CALLERS, "{silent} were charged without an answer");
}

/// A master with its replica, and who watches them.
struct Pair {
    master: Server,
    replica: Server,
    sentinel: Server,
}

impl Pair {
    async fn start() -> Self {
        let master = Server::start(&[]);
        let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
        let sentinel = Server::sentinel("main", master.port);
        eventually("the replica is in step, and known", async || {
            replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
                && sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port.to_string())
        })
        .await;
        assert_eq!(sentinel.cli(&["SENTINEL", "SET", "main", "down-after-milliseconds", "300"]), "OK");
        Self { master, replica, sentinel }
    }

    async fn store(&self) -> Arc<dyn Store> {
        redis(&format!("redis+sentinel://127.0.0.1:{}/main", self.sentinel.port), "kw").await
    }
}

/// The new master knows what was replicated in time. What the old one answered and did not pass on is lost, and room
/// for it is given out again: beyond that, nothing is. Each request is charged wholly or not at all on the new master.
async fn what_a_failover_loses_is_given_out_again_and_nothing_else(crash: bool) {
    let mut pair = Pair::start().await;
    let stores = [pair.store().await, pair.store().await];
    let callers = Callers::start(&stores);
    callers.have(HOLDS / 3).await;
    if crash {
        pair.master.kill();
    } else {
        eventually("a failover begins", async || {
            pair.sentinel.cli(&["SENTINEL", "FAILOVER", "main"]) == "OK"
        })
        .await;
    }
    eventually("the replica is the master", async || {
        pair.replica.cli(&["INFO", "replication"]).contains("role:master")
    })
    .await;
    // Until it has become a replica, the old one goes on answering those that are connected to it.
    eventually("the old master takes no more writes", async || {
        crash || pair.master.cli(&["INFO", "replication"]).contains("role:slave")
    })
    .await;
    // Refused for lack of room by now, if at all, by the new one; all that it says now holds.
    let until_now = callers.admitted.load(SeqCst);
    eventually("callers are answered by the new master", async || {
        let at = pair.replica.cli(&["INFO", "commandstats"]);
        at.contains("cmdstat_evalsha") || at.contains("cmdstat_eval:")
    })
    .await;
    let seen = callers.end().await;
    let charged = charged(&stores[0], &seen).await;
    let lost = seen.admitted.difference(&charged).count();
    println!("crash {crash}: {} admitted, {lost} of them lost; {until_now} until then", seen.admitted.len());
    assert_eq!((charged.len(), used(&stores[0]).await), (HOLDS, HOLDS as u64 * COST));
    assert!(seen.admitted.len() <= HOLDS + lost, "{} admitted, {lost} lost", seen.admitted.len());
    assert!(lost <= until_now, "what the new master admitted is not lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_a_budget_admits_no_more_than_it_holds_and_replication_lost() {
    what_a_failover_loses_is_given_out_again_and_nothing_else(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_master_crashed_a_budget_admits_no_more_than_it_holds_and_replication_lost() {
    what_a_failover_loses_is_given_out_again_and_nothing_else(true).await;
}

/// Nothing but the budget, and nothing is let through that the store has not admitted.
fn strictly_by_the_store() -> Policy {
    let mut policy = limits_alone(1);
    policy.limits = Default::default();
    policy.on_store_failure.record = OnStoreFailure::Deny;
    policy.on_store_failure.check = OnStoreFailure::Deny;
    policy
}

/// Reserves and settles, until the budget is full. A request is made as soon as it has a reservation, whatever becomes
/// of its report.
async fn reserve_and_settle(instance: &Instance, name: &str, made: &AtomicUsize, at: impl Fn() -> Millis) {
    let mut pace = clock::ticks(PACE);
    for n in 0.. {
        pace.tick().await;
        let asked = |fields: serde_json::Value| {
            let mut all = json!({"project_id": "shared", "tokens_used": COST});
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            instance.record(&format!("{name}-{n}"), all)
        };
        let held = instance.engine.check(&asked(json!({})), true, at()).await;
        let Some(reservation) = held.reserved else {
            if held.degraded {
                continue;
            }
            return;
        };
        made.fetch_add(1, SeqCst);
        let report = asked(json!({"reservation_id": &*reservation.id}));
        instance.engine.record(&[report], at()).await;
    }
}

/// Reservations that were replicated outlive their master: those that are settled while nobody answers are charged at
/// what was used, once, and of the others those that had left for the provider are charged when their time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_outlive_a_failover_and_each_ends_in_one_way() {
    const EACH: usize = 10;
    let mut pair = Pair::start().await;
    let instance = Instance::start(pair.store().await, strictly_by_the_store(), options()).await;
    let (engine, begun) = (&instance.engine, instance.engine.now());
    let limits = json!({"limits": [{"unit": "tokens", "window": "30d", "limit": BUDGET}]});
    let project = Entry::Project(serde_json::from_value::<Project>(limits).unwrap().checked().unwrap());
    engine.registry_changes().put("shared", &project, &Actor::local(), begun).await.unwrap();
    let asked = |key: &str, fields: serde_json::Value| {
        let mut all = json!({"project_id": "shared", "tokens_used": 2 * COST});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        instance.record(key, all)
    };
    let mut held = Vec::new();
    for (name, dispatched) in [("settled", true), ("sent", true), ("held", false)] {
        for n in 0..EACH {
            let terms = HoldTerms { lease: Some(MINUTE), dispatched };
            let key = format!("{name}-{n}");
            let reserved = engine.reserve(&asked(&key, json!({})), terms, begun).await.reserved.unwrap();
            held.push((key, reserved.id));
        }
    }
    assert_eq!(pair.master.cli(&["WAIT", "1", "10000"]), "1", "the replica has them");
    pair.master.kill();
    // From the first report on nobody answers, until the replica is the master.
    for (key, id) in &held[..EACH] {
        let report = asked(key, json!({"tokens_used": COST, "reservation_id": &**id}));
        engine.record(&[report], engine.now()).await;
    }
    eventually("the replica is the master", async || {
        pair.replica.cli(&["INFO", "replication"]).contains("role:master")
    })
    .await;
    instance.healed().await;
    let used = async |now| {
        let answer = engine.check(&asked("looks", json!({"tokens_used": 0})), false, now).await;
        answer.limits.iter().find(|limit| limit.scope.is_some()).map(|limit| limit.used)
    };
    let each = EACH as u64 * COST;
    eventually("what was used is charged", async || used(begun).await == Some(each + 2 * each + 2 * each))
        .await;
    let later = begun + 2 * MINUTE;
    engine.reservations().end(later).await.unwrap();
    assert_eq!(used(later).await, Some(each + 2 * each), "what had not left is given back");
    let span = (Bucket::Day.start(begun), Bucket::Day.start(begun) + 2 * DAY);
    let query = UsageQuery::new(Rows::Whole, span, later);
    eventually("usage has them once", async || {
        let total = engine.usage().table(&query).await.unwrap().total;
        (total.requests, total.tokens) == (2 * EACH as u64, 3 * each)
    })
    .await;
}

/// Reservations come from Redis alone, so that no more are made than the budget holds. Every report is charged once: at
/// once, or when Redis is back, also where Redis took it and the answer was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_that_are_settled_while_redis_is_killed_are_charged_once_and_never_too_many_made() {
    let mut server = Server::start(DURABLE);
    let instances = Instance::pair(&server, strictly_by_the_store(), options()).await;
    let limits = json!({"limits": [{"unit": "tokens", "window": "30d", "limit": BUDGET}]});
    let project = Entry::Project(serde_json::from_value::<Project>(limits).unwrap().checked().unwrap());
    instances[0]
        .engine
        .registry_changes()
        .put("shared", &project, &Actor::local(), instances[0].engine.now())
        .await
        .unwrap();
    eventually("both know it", async || {
        instances.iter().all(|i| i.engine.policy().registry.projects().contains_key("shared"))
    })
    .await;
    let made = AtomicUsize::new(0);
    let names: Vec<String> = (0..CALLERS).map(|caller| format!("c{caller}")).collect();
    let callers = join_all(names.iter().enumerate().map(|(caller, name)| {
        let instance = &instances[caller % 2];
        reserve_and_settle(instance, name, &made, || instance.engine.now())
    }));
    let trouble = async {
        for part in [HOLDS / 3, HOLDS * 2 / 3] {
            eventually("requests are made", async || made.load(SeqCst) >= part).await;
            server.kill();
            server.start_again(DURABLE);
        }
    };
    tokio::join!(callers, trouble);
    for instance in &instances {
        instance.healed().await;
    }
    let used = async |now| {
        let asked = instances[0].record("looks", json!({"project_id": "shared", "tokens_used": 0}));
        let answer = instances[0].engine.check(&asked, false, now).await;
        answer.limits.iter().find(|limit| limit.scope.is_some()).unwrap().used
    };
    // What is still held for requests that never were is free by then.
    let later = instances[0].engine.now() + LEASE + MINUTE;
    let first = made.load(SeqCst);
    eventually("what was made meanwhile is charged", async || used(later).await >= first as u64 * COST).await;
    assert_eq!(used(later).await, first as u64 * COST, "nothing is charged twice");
    reserve_and_settle(&instances[1], "rest", &made, || later).await;
    let made = made.load(SeqCst);
    println!("{made} of {HOLDS} made, {first} of them amid the trouble");
    assert_eq!(made, HOLDS);
}
