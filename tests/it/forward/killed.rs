//! The one who sends is killed in mid-batch, ten times: as one instance over its own store, and as two that share
//! Redis.

use std::{path::Path, process::Command, time::Duration};

use keyward::store::{
    EventWriter, StoreControl,
    embedded::{EmbeddedOptions, EmbeddedStore},
    redis::{RedisOptions, RedisStore},
};
use serde_json::Value;

use super::{
    SECRET, events,
    receiver::{Mood, Receiver},
    whole,
};
use crate::{
    app::{Served, client, keyward},
    redis_server::Server,
};

const BATCH: usize = 20;
const EVENTS: usize = 4_000;
const KILLS: usize = 10;

/// A slow webhook, so that there is a middle to be killed in.
async fn receiver() -> Receiver {
    Receiver::start(|_| Mood::Slow(Duration::from_millis(10))).await
}

fn serve(directory: &Path, store: &str, url: &str) -> Command {
    let config = directory.join("keyward.toml");
    let secret = directory.join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let text = format!(
        "[[sinks]]\nname = \"siem\"\ntype = \"webhook\"\nurl = \"{url}\"\nsecret = \"file:{}\"\nstart = \"beginning\"\n\
         types = [\"TEMPORARY_BAN\"]\nallow_networks = [\"127.0.0.0/8\"]\nbatch = {BATCH}\n",
        secret.display()
    );
    std::fs::write(&config, text).unwrap();
    let pepper = directory.join("pepper.txt");
    std::fs::write(&pepper, "0123456789abcdef0123456789abcdef").unwrap();
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
    command.arg("--config").arg(config).arg("--pepper-file").arg(pepper);
    command
}

#[tokio::test]
async fn one_instance_that_is_killed_ten_times_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let filled = EmbeddedStore::open(&data, EmbeddedOptions::default()).unwrap();
    filled.append(&events(EVENTS)).await.unwrap();
    filled.close().await.unwrap();
    drop(filled);
    let receiver = receiver().await;
    let store = format!("embedded:{}", data.display());
    for _ in 0..KILLS {
        let served = Served::start_with(&mut serve(directory.path(), &store, &receiver.url));
        let before = receiver.events().len();
        receiver.until(before + 60).await;
        served.kill();
    }
    let last = Served::start_with(&mut serve(directory.path(), &store, &receiver.url));
    receiver.until_all(EVENTS).await;
    last.terminate();
    let twice = whole(&receiver.events(), EVENTS);
    assert!(twice <= KILLS * BATCH, "{twice} came twice");
}

#[tokio::test]
async fn two_instances_take_over_from_each_other_and_lose_nothing() {
    let redis = Server::start(&[]);
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let filled = RedisStore::connect(&url, RedisOptions::default()).await.unwrap();
    filled.append(&events(EVENTS)).await.unwrap();
    let receiver = receiver().await;
    let directory = tempfile::tempdir().unwrap();
    let start = || Served::start_with(&mut serve(directory.path(), &url, &receiver.url));
    let (mut instances, client) = (vec![start(), start()], client());
    for _ in 0..KILLS {
        let before = receiver.events().len();
        receiver.until(before + 60).await;
        // Whoever sends now is killed; the other goes on, and a new one waits.
        let mut leading = None;
        for (n, instance) in instances.iter().enumerate() {
            let sinks: Value =
                client.get(format!("{}/v1/sinks", instance.url)).send().await.unwrap().json().await.unwrap();
            if sinks["items"][0]["leading"] == true {
                leading = Some(n);
            }
        }
        instances.remove(leading.expect("one of them sends")).kill();
        instances.push(start());
    }
    receiver.until_all(EVENTS).await;
    let twice = whole(&receiver.events(), EVENTS);
    assert!(twice <= KILLS * BATCH, "{twice} came twice");
}
