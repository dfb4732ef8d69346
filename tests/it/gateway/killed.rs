//! A process that is killed in the middle of a stream: what was held is charged at the end of the lease.

use std::{path::Path, process::Command};

use reqwest::Client;
use serde_json::{Value, json};

use super::scene::{Provider, chat, nanos, upstream};
use crate::{
    app::{Served, client, keyward},
    redis_server::free_port,
    support::eventually,
};

/// Starts the binary with its gateway on this port, over a directory.
fn start(directory: &Path, port: u16, provider: &str) -> Served {
    Served::start_with(&mut command(directory, port, provider))
}

/// The binary with its gateway on this port, over a directory with the provider's key.
pub(super) fn command(directory: &Path, port: u16, provider: &str) -> Command {
    let config = format!(
        "[reservations]\nlease_seconds = 2\n[gateway]\nlisten = \"127.0.0.1:{port}\"\nestimate = \"strict\"\n\
         {}[[gateway.routes]]\nmodel = \"*\"\nupstreams = [\"openai\"]\n",
        upstream("openai", "openai", provider, directory)
    );
    let (file, store) = (directory.join("keyward.toml"), directory.join("data"));
    std::fs::write(&file, config).unwrap();
    let store = format!("embedded:{}", store.display());
    let file = file.display().to_string();
    let arguments = ["gateway", "--listen", "127.0.0.1:0", "--store", &store, "--config", &file];
    keyward(&arguments)
}

async fn get(client: &Client, url: String) -> Value {
    client.get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn what_a_killed_process_had_on_its_way_is_charged_at_the_end_of_its_lease_and_flagged() {
    let (provider, client, directory) = (Provider::start().await, client(), tempfile::tempdir().unwrap());
    std::fs::write(directory.path().join("provider-key"), "sk-provider").unwrap();
    let port = free_port();
    let served = start(directory.path(), port, &provider.url);
    let issued = client.post(format!("{}/v1/keys", served.url)).json(&json!({ "budget_usd": "10" }));
    let issued: Value = issued.send().await.unwrap().json().await.unwrap();
    let (secret, key_id) = (issued["secret"].as_str().unwrap(), issued["key_id"].as_str().unwrap());
    let prompt = "[mock events=2000 event_delay_ms=20 input=10 output=40]";
    let body = chat(prompt, json!({ "stream": true, "max_tokens": 50 }));
    let held = serde_json::to_vec(&body).unwrap().len() as u64 * 2_000 + 50 * 8_000;
    let url = format!("http://127.0.0.1:{port}/v1/chat/completions");
    let mut stream = client.post(url).bearer_auth(secret).json(&body).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    // Longer than a lease: it is extended while the stream lives.
    let mut events = 0;
    while events < 150 {
        events += stream.chunk().await.unwrap().unwrap().windows(5).filter(|bytes| bytes == b"data:").count();
    }
    served.kill();
    assert!(stream.chunk().await.is_err() || stream.text().await.is_err(), "no clean end");

    let served = start(directory.path(), port, &provider.url);
    let spent = async || {
        let answer = get(&client, format!("{}/v1/limits/key:{key_id}", served.url)).await;
        let budget = answer["limits"].as_array().unwrap().iter().find(|limit| limit["unit"] == "cost_usd");
        let amount = |name: &str| budget.unwrap()[name].as_str().map_or(0, nanos);
        (amount("used"), amount("held"))
    };
    eventually("it is charged, and no longer held", async || spent().await == (held, 0)).await;
    let rows = format!("{}/v1/usage?group_by=key", served.url);
    let flagged = async || {
        let usage = get(&client, rows.clone()).await;
        usage.to_string().contains("\"estimated_requests\":1")
    };
    eventually("usage has it as an estimate", flagged).await;
}
