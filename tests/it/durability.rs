//! An acknowledged ban survives that the store's process, or this one, is killed.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use keyward::{
    domain::{
        actor::Actor,
        decision::Reason,
        registry::{Entry, KeyEntry},
        subject::Subject,
    },
    store::{
        Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
        redis::{RedisOptions, RedisStore},
    },
};

use crate::{
    redis_server::Server,
    store::cases::counters::{half_used, is_half_used},
    support::*,
};

/// Where the child has its store; set in a child alone.
const CHILD: &str = "KEYWARD_TEST_CHILD_DIRECTORY";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_ban_survives_that_redis_is_killed_right_after() {
    const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(DURABLE);
    let key = Subject::key("a");
    let lifted = Subject::key("lifted");
    {
        // It is gone before Redis is back, so that nobody can tell Redis again.
        let instance = Instance::on(&server, policy(), options()).await;
        instance.ban(&lifted).await;
        instance
            .engine
            .bans()
            .lift(&lifted, "found", &Actor::local(), instance.engine.now())
            .await
            .unwrap()
            .unwrap();
        instance.ban(&key).await;
        server.kill();
    }
    server.start_again(DURABLE);
    let instance = Instance::on(&server, policy(), options()).await;
    assert!(instance.holds(&key) && !instance.holds(&lifted));
    assert_eq!(instance.ask("a").await.reason, Some(Reason::ApiKeyBanned));
    assert!(instance.ask("lifted").await.allowed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_ban_survives_that_this_process_is_killed_right_after() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return ban_and_wait_for_the_end(Path::new(&directory)).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "durability::an_acknowledged_ban_survives_that_this_process_is_killed_right_after",
        ])
        .env(CHILD, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let acknowledged = lines.map_while(Result::ok).any(|line| line.ends_with("acknowledged"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(acknowledged, "the child banned");
    let instance = Instance::start(embedded(directory.path()), policy(), options()).await;
    assert!(instance.holds(&Subject::key("a")));
    assert_eq!(instance.ask("a").await.reason, Some(Reason::ApiKeyBanned));
    assert!(instance.ask("b").await.allowed);
}

/// A key that may be used from nowhere that the tests know.
async fn register(instance: &Instance, key: &str) {
    let body = serde_json::json!({"allowed_networks": ["192.0.2.0/24"]});
    let entry = serde_json::from_value::<KeyEntry>(body).unwrap().checked().unwrap();
    instance
        .engine
        .registry_changes()
        .put(key, &Entry::Key(entry), &Actor::local(), instance.engine.now())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registered_key_survives_that_redis_is_killed_and_that_the_embedded_store_is_opened_again() {
    const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(DURABLE);
    let instance = Instance::on(&server, policy(), options()).await;
    register(&instance, "a").await;
    server.kill();
    drop(instance);
    server.start_again(DURABLE);
    let instance = Instance::on(&server, policy(), options()).await;
    assert_eq!(instance.ask("a").await.reason, Some(Reason::KeyNotAllowed));

    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::start(embedded(directory.path()), policy(), options()).await;
    register(&instance, "a").await;
    instance.shut_down().await;
    let instance = Instance::start(embedded(directory.path()), policy(), options()).await;
    assert_eq!(instance.ask("a").await.reason, Some(Reason::KeyNotAllowed));
}

#[tokio::test]
async fn budgets_and_reservations_survive_that_redis_is_killed() {
    const DURABLE: &[&str] = &["--appendonly", "yes", "--appendfsync", "always"];
    let mut server = Server::start(DURABLE);
    let options = || RedisOptions { response_timeout: Duration::from_secs(10), ..RedisOptions::default() };
    let store = RedisStore::connect(&server.url(), options()).await.unwrap();
    half_used(&store).await;
    server.kill();
    drop(store);
    server.start_again(DURABLE);
    is_half_used(&RedisStore::connect(&server.url(), options()).await.unwrap()).await;
}

/// What the child does: it bans, says so, and is killed while it waits.
async fn ban_and_wait_for_the_end(directory: &Path) {
    let instance = Instance::start(embedded(directory), policy(), options()).await;
    assert!(instance.ask("a").await.allowed);
    instance.ban(&Subject::key("a")).await;
    println!("acknowledged");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn embedded(directory: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(directory, EmbeddedOptions::default()).unwrap())
}
