//! Usage on a Redis Cluster: over its slots, for as long as it is kept, and after the service was killed.

use std::{collections::HashSet, path::Path, time::Duration};

use keyward::{
    clock,
    domain::{DAY, HOUR, MINUTE, Millis},
};
use serde_json::{Value, json};

use crate::{
    app::{Served, client, keyward},
    redis_server::Cluster,
    support::eventually,
};

/// What a killed service may lose (docs/costs.md).
const LOST: Duration = Duration::from_secs(1);
const TOKENS: u64 = 11;

fn serve(cluster: &Cluster, directory: &Path) -> Served {
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &cluster.url()]);
    command.env("KEYWARD__SECRETS__DATA_DIRECTORY", directory);
    command.env("KEYWARD__STORE__DEADLINE_MS", "5000");
    Served::start_with(&mut command)
}

async fn record(client: &reqwest::Client, served: &Served, n: usize) -> bool {
    send(client, served, n, None).await
}

async fn send(client: &reqwest::Client, served: &Served, n: usize, time: Option<Millis>) -> bool {
    let model = ["gpt-4.1", "deepseek-v3.2"][n % 2];
    let mut record = json!({"key_id": format!("k{}", n % 5), "project_id": format!("p{}", n % 3), "endpoint": "/v1/x",
        "model": model, "source_ip": "203.0.113.7", "tokens_used": TOKENS});
    if let Some(time) = time {
        record["timestamp"] = json!(keyward::domain::event::format_millis(time));
    }
    let sent = client.post(format!("{}/v1/record", served.url)).json(&record).send().await;
    sent.is_ok_and(|answer| answer.status() == 200)
}

/// Requests and tokens of all roll-ups of a kind, and how many rows there are of project, model and key.
async fn totals(client: &reqwest::Client, served: &Served, bucket: &str) -> (u64, u64, usize) {
    let url = format!("{}/v1/usage?bucket={bucket}&group_by=project,model,key", served.url);
    let table: Value =
        client.get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let figure = |name: &str| table["total"][name].as_u64().unwrap();
    (figure("requests"), figure("tokens"), table["rows"].as_array().unwrap().len())
}

/// Every roll-up in the cluster: its name without the slot, its node, and for how long it is kept yet.
fn roll_ups(cluster: &Cluster) -> Vec<(String, usize, Millis)> {
    let mut all = Vec::new();
    for (node, server) in cluster.servers.iter().enumerate() {
        for key in server.cli(&["--scan", "--pattern", "*:usage:*"]).lines() {
            let kept = server.cli(&["PTTL", key]).parse().unwrap();
            all.push((key.split_once(":usage:").unwrap().1.to_owned(), node, kept));
        }
    }
    all
}

#[tokio::test]
async fn usage_on_a_cluster_is_whole_ends_in_time_and_survives_a_kill_but_for_its_last_second() {
    const FIRST: usize = 300;
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().unwrap();
    let client = client();
    let served = serve(&cluster, directory.path());
    for n in 0..FIRST {
        assert!(record(&client, &served, n).await);
    }
    for bucket in ["minute", "hour", "day"] {
        let (requests, tokens, rows) = totals(&client, &served, bucket).await;
        assert_eq!((requests, tokens), (FIRST as u64, FIRST as u64 * TOKENS), "{bucket}");
        assert!(rows >= 30, "{bucket}: each of project, model and key apart, in {rows} rows");
    }
    let kinds = [("m", MINUTE, 2 * DAY), ("h", HOUR, 35 * DAY), ("d", DAY, 400 * DAY)];
    let held = roll_ups(&cluster);
    for (kind, length, kept) in kinds {
        for detail in ["", "p"] {
            let name = format!("{kind}{detail}:");
            let mut of_kind = held.iter().filter(|(key, ..)| key.starts_with(&name)).peekable();
            assert!(of_kind.peek().is_some(), "{name} is there");
            for (key, _, left) in of_kind {
                assert!((kept - HOUR..=kept + length).contains(left), "{key} is kept for {left} ms yet");
            }
        }
    }
    let (started, mut answered) = (clock::instant(), Vec::new());
    while started.elapsed() < 3 * LOST {
        assert!(record(&client, &served, FIRST + answered.len()).await);
        answered.push(clock::instant());
    }
    served.kill();
    let killed = clock::instant();
    let safe = FIRST + answered.iter().filter(|at| killed - **at >= LOST).count();
    let all = FIRST + answered.len();
    assert!(safe > FIRST && all > safe);
    let served = serve(&cluster, directory.path());
    for bucket in ["minute", "hour", "day"] {
        let (requests, tokens, _) = totals(&client, &served, bucket).await;
        assert!((safe as u64..=all as u64).contains(&requests), "{bucket}: {requests} of {safe} to {all}");
        assert_eq!(tokens, requests * TOKENS, "{bucket}: no record is there in part");
    }
    // The slot of a roll-up goes by its time: those of a dozen days cannot all be on one node.
    let now = keyward::clock::wall();
    for days in 1..=12 {
        assert!(send(&client, &served, 0, Some(now - days * DAY)).await);
    }
    eventually("roll-ups are spread over the nodes", async || {
        let nodes: HashSet<_> = roll_ups(&cluster).into_iter().map(|(_, node, _)| node).collect();
        nodes.len() > 1
    })
    .await;
    served.kill();
}
