//! Finding servers of every kind, losing them, and finding them again.

use std::{net::TcpListener, time::Duration};

use keyward::{
    clock,
    domain::{
        calendar::{Calendar, Zone},
        counter::{Counter, CounterCharge},
        event::EventType,
        limit::{Limit, Scope, Span},
        observation::{Charge, LedgerEntry},
        reservation::{Ended, EstimatedUsage, Reservation, Stage},
        subject::Subject,
        window::{Unit, WindowLimits},
    },
    store::{
        CounterStore, EventLog, EventQuery, ReservationStore, Responded, StandingLookup, StandingStore,
        StoreControl, StoreError,
        redis::{RedisOptions, RedisStore},
    },
};

use crate::{
    T0, ban, charge, event, options,
    server::{Cluster, Server, free_port, shared},
    setting, until,
};

/// One of everything that crosses slots or scripts.
async fn round(store: &RedisStore, key: &str) {
    let charges: Vec<_> = (0..12).map(|i| charge(&format!("{key}{}", i % 6), T0, 10)).collect();
    let seen = store.observe(&charges).await.unwrap();
    assert!(seen[..6].iter().all(|o| o.counts[0].requests == 1 && o.created));
    assert!(seen[6..].iter().all(|o| o.counts[0].requests == 2 && !o.created));
    for i in 0..6 {
        let mut respond = setting(&format!("{key}{i}"), ban(Some(T0 + i)));
        respond.events = vec![event(&format!("{key}{i}"), T0, EventType::TemporaryBan)];
        assert!(
            matches!(store.respond(&respond).await.unwrap(), Responded::Done(events) if events.len() == 1)
        );
    }
    let query = EventQuery { limit: 100, ..EventQuery::default() };
    assert_eq!(store.events(&query).await.unwrap().items.len(), 6);
    assert_eq!(store.standings_in_force(0).await.unwrap().len(), 6);
    assert_eq!(store.expire_bans(T0 + 2).await.unwrap(), 3);
    assert_eq!(store.log_end().await.unwrap().0.len(), usize::from(store.partitions()));
    assert!(store.clock().await.unwrap().is_some());
    store.ping().await.unwrap();
}

#[tokio::test]
async fn one_server_that_comes_back_is_found_again() {
    let port = free_port();
    let server = Server::start_on(port, &[]);
    let store = RedisStore::connect(&server.url(), options()).await.unwrap();
    round(&store, "k").await;
    drop(server);
    // Down is said at once, not after a timeout.
    let down = clock::timeout(Duration::from_secs(5), store.ping()).await.unwrap();
    assert!(matches!(down, Err(StoreError::Unavailable(_))), "{down:?}");
    until("the store says that it is down at once", || async {
        let down = store.ping().await;
        down.is_err_and(|error| error.cause().is_some_and(redis::RedisError::is_connection_refusal))
    })
    .await;
    let _server = Server::start_on(port, &[]);
    until("the store is up again", || async { store.ping().await.is_ok() }).await;
    round(&store, "k").await;
}

#[tokio::test]
async fn a_connection_whose_answers_stay_out_is_replaced() {
    let server = Server::start(&[]);
    let impatient = RedisOptions { response_timeout: Duration::from_millis(100), ..options() };
    let store = RedisStore::connect(&server.url(), impatient).await.unwrap();
    let connections = || {
        let info = server.cli(&["INFO", "stats"]);
        let line = info.lines().find_map(|l| l.strip_prefix("total_connections_received:")).map(str::trim);
        line.and_then(|n| n.parse::<u64>().ok()).unwrap()
    };
    // Writes wait; the questions below do not.
    server.cli(&["CLIENT", "PAUSE", "100000", "WRITE"]);
    let before = connections();
    for _ in 0..3 {
        let missed = store.observe(&[charge("k", T0, 1)]).await;
        assert!(matches!(missed, Err(StoreError::Deadline(_))), "it may be done all the same: {missed:?}");
    }
    // Asking is a connection too, hence more than one more per question.
    let (mut asked, mut last) = (0, before);
    until("another connection is made", || {
        let now = connections();
        (asked, last) = (asked + 1, now);
        let replaced = now - before > asked;
        async move { replaced }
    })
    .await;
    assert!(last > before);
    server.cli(&["CLIENT", "UNPAUSE"]);
    until("it counts again", || async { store.observe(&[charge("k", T0, 1)]).await.is_ok() }).await;
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_without_the_password() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for url in ["redis", "rediss", "redis+cluster", "redis+sentinel"] {
        let path = if url.ends_with("sentinel") { "/main" } else { "" };
        let url = format!("{url}://user:hunter2@127.0.0.1:{port}{path}");
        let Err(error) = RedisStore::connect(&url, options()).await else { panic!("connected") };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn an_acl_user_signs_in_and_a_wrong_password_is_told_without_it() {
    let server = Server::start(&["--user", "watch", "on", ">hunter2", "~*", "+@all"]);
    let url = |password| format!("redis://watch:{password}@127.0.0.1:{}", server.port);
    round(&RedisStore::connect(&url("hunter2"), options()).await.unwrap(), "k").await;
    let Err(error) = RedisStore::connect(&url("hunter3"), options()).await else { panic!("signed in") };
    assert!(matches!(error, StoreError::Refused(_)) && !error.to_string().contains("hunter"), "{error}");
}

#[tokio::test]
async fn a_full_server_refuses_whole_calls() {
    let server = Server::start(&["--maxmemory-policy", "noeviction"]);
    let store = RedisStore::connect(&server.url(), options()).await.unwrap();
    store.observe(&[charge("k", T0, 1)]).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    let full = store.observe(&[charge("k", T0, 1)]).await;
    assert!(matches!(full, Err(StoreError::Refused(_))), "{full:?}");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(store.inspect(&Subject::key("k"), T0).await.unwrap().unwrap().counts[0].requests, 1);
}

#[tokio::test]
async fn the_first_start_decides_on_partitions_and_a_newer_layout_is_refused() {
    let first = options();
    let other = RedisOptions { partitions: 9, ..first.clone() };
    let url = shared().url();
    assert_eq!(RedisStore::connect(&url, first.clone()).await.unwrap().partitions(), 4);
    assert_eq!(RedisStore::connect(&url, other).await.unwrap().partitions(), 4);
    shared().cli(&["HSET", &format!("{}:1:meta", first.namespace), "lowest_reader", "2"]);
    let refused = RedisStore::connect(&url, first).await.err().unwrap();
    assert!(matches!(refused, StoreError::Incompatible(_)), "{refused}");
}

#[tokio::test]
async fn a_cluster_is_used_in_all_its_slots() {
    let cluster = Cluster::start();
    let options = RedisOptions { partitions: 16, ..options() };
    let store = RedisStore::connect(&cluster.url(), options).await.unwrap();
    round(&store, "k").await;
    assert!(cluster.servers.iter().all(|s| s.cli(&["DBSIZE"]) != "0"), "all nodes hold something");
    for server in &cluster.servers {
        server.cli(&["SCRIPT", "FLUSH"]);
    }
    let charges: Vec<_> = (0..50).map(|i| charge(&format!("c{}", i % 25), T0, 1)).collect();
    let seen = store.observe(&charges).await.unwrap();
    assert!(seen[25..].iter().all(|o| o.counts[0].requests == 2));
    limits_across_slots(&store).await;
    a_reservation_ends(&store).await;
}

#[tokio::test]
async fn the_clock_that_is_followed_on_a_cluster_is_that_of_one_server() {
    let cluster = Cluster::start();
    let store = RedisStore::connect(&cluster.url(), options()).await.unwrap();
    for _ in 0..30 {
        assert!(store.clock().await.unwrap().is_some());
    }
    let asked = |server: &&Server| server.cli(&["INFO", "commandstats"]).contains("cmdstat_time:calls=30,");
    assert_eq!(cluster.servers.iter().filter(asked).count(), 1);
}

/// Limits whose counters are in several slots: all or none, never over, and what is refused or reserved leaves nothing.
async fn limits_across_slots(store: &RedisStore) {
    let day = Span::Calendar(Calendar::Day);
    let limit = Limit::new(Unit::Tokens, day, 0);
    let scopes =
        [Scope::Everything, Scope::Subject(Subject::project("p")), Scope::Subject(Subject::project("q"))];
    let counters = scopes.map(|scope| Counter::of(&scope, &limit, &Zone::UTC));
    let until = day.counts_until(T0, &Zone::UTC);
    let quota = |n: usize, amount, most| CounterCharge {
        counter: counters[n].clone(),
        amount,
        most,
        until,
        block: None,
    };
    let asked = |key: &str, most: [u64; 3]| Charge {
        counters: (0..3).map(|n| quota(n, 7, most[n])).collect(),
        ..charge(key, T0, 1)
    };
    let used = async || -> Vec<u64> {
        store.counters(&counters, T0).await.unwrap().iter().map(|count| count.used).collect()
    };
    let calls = (0..40).map(|n| {
        let charge = asked(&format!("spread-{n}"), [1_000, 100, 1_000]);
        async move { store.observe(&[charge]).await.unwrap().remove(0) }
    });
    let admitted = futures::future::join_all(calls).await;
    let admitted = admitted.iter().filter(|seen| seen.admitted).count() as u64;
    // Requests that are refused in the end may keep others out for a moment, and nothing is ever over.
    assert!((1..=14).contains(&admitted), "{admitted}");
    assert_eq!(used().await, [7 * admitted; 3]);
    let rest = 14 - admitted;
    for n in 0..rest {
        assert!(
            store.observe(&[asked(&format!("rest-{n}"), [1_000, 100, 1_000])]).await.unwrap()[0].admitted
        );
    }
    let refused = store.observe(&[asked("one", [1_000, 100, 1_000])]).await.unwrap().remove(0);
    assert_eq!((refused.admitted, refused.counter_refusal.unwrap().index), (false, 1));
    assert_eq!(refused.counter_refusal.unwrap().retry_at, Some(until));
    let by_window = Charge {
        limits: WindowLimits { tokens: [Some(0); 4], ..WindowLimits::default() },
        ..asked("two", [1_000; 3])
    };
    assert!(!store.observe(&[by_window]).await.unwrap()[0].admitted);
    assert_eq!(used().await, [98; 3], "what was refused was given back");
    // What was confirmed counts on when the moment of an unconfirmed one is over.
    let later = store.counters(&counters, T0 + 60_000).await.unwrap();
    assert!(later.iter().all(|count| count.used == 98), "{later:?}");
}

/// A reservation lives in the slot of its key, and is found by whoever looks for ended ones.
async fn a_reservation_ends(store: &RedisStore) {
    let lease = Reservation {
        id: "rsv".into(),
        key: "leased".into(),
        charged_at: 0,
        counts: charge("leased", T0, 5).counts,
        cost_nanos: 0,
        counters: Vec::new(),
        until: T0 + 60_000,
        stage: Stage::Held,
        usage: EstimatedUsage::default(),
        request: None,
    };
    let entry = Some(Box::new(LedgerEntry { reserves: Some(lease), ..LedgerEntry::default() }));
    store.observe(&[Charge { entry, ..charge("leased", T0, 5) }]).await.unwrap();
    let ended = store.ended_reservations(T0 + 60_000, 10).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(store.end_reservation(&ended[0], T0 + 60_000).await.unwrap(), Ended::GivenBack);
    assert_eq!(store.inspect(&Subject::key("leased"), T0).await.unwrap().unwrap().counts[3].tokens, 0);
}

#[tokio::test]
async fn the_master_that_sentinels_name_is_used_also_after_a_failover() {
    let master = Server::start(&[]);
    let replica = Server::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]);
    let sentinel = Server::sentinel("main", master.port);
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port);
    until("the replica is in step", || async {
        replica.cli(&["INFO", "replication"]).contains("master_link_status:up")
            && sentinel.cli(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port.to_string())
    })
    .await;
    let store = RedisStore::connect(&url, options()).await.unwrap();
    round(&store, "k").await;
    until("the replica has it all", || async { replica.cli(&["DBSIZE"]) == master.cli(&["DBSIZE"]) }).await;
    until("a failover begins", || async { sentinel.cli(&["SENTINEL", "FAILOVER", "main"]) == "OK" }).await;
    until("the replica is the master", || async {
        replica.cli(&["INFO", "replication"]).contains("role:master")
    })
    .await;
    until("the store writes to the new master", || async {
        let written = store.observe(&[charge("after", T0, 1)]).await;
        written.is_ok() && replica.cli(&["--scan", "--pattern", "*:s:key:after"]).contains("after")
    })
    .await;
    assert_eq!(store.standings_in_force(T0 + 2).await.unwrap().len(), 3);
}
