//! A provider's bill against the ledger, from a file to an event.

use std::path::Path;

use serde_json::{Value, json};

use super::{Served, client, keyward, run};
use crate::support::eventually;

/// Reports a request that cost so much, and returns the public id of its key.
async fn report(served: &Served, key: &str, model: &str, cost_usd: &str) -> String {
    let body = json!({
        "api_key": key, "endpoint": "/v1/chat/completions", "model": model, "source_ip": "203.0.113.7",
        "prompt_tokens": 100, "completion_tokens": 10, "cost_usd": cost_usd,
    });
    let request = client().post(format!("{}/v1/record", served.url)).json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["key_id"].as_str().unwrap().to_owned()
}

/// The day of UTC that the ledger counts now.
async fn today(served: &Served) -> String {
    let url = format!("{}/v1/usage?bucket=day", served.url);
    let usage: Value = client().get(url).send().await.unwrap().json().await.unwrap();
    usage["from"].as_str().unwrap()[..10].to_owned()
}

fn reconcile(served: &Served, file: &Path, more: &[&str]) -> (i32, String, String) {
    let arguments = ["reconcile", file.to_str().unwrap(), "--url", &served.url];
    run(&mut keyward(&[&arguments, more].concat()))
}

#[tokio::test]
async fn a_bill_that_agrees_is_silent_and_one_that_differs_is_an_event() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let day = today(&served).await;
    let key = report(&served, "sk-one", "gpt-4.1", "0.75").await;
    report(&served, "sk-one", "gpt-4.1", "0.25").await;
    report(&served, "sk-two", "claude-sonnet-4-5", "3").await;
    let file = dir.path().join("bill.csv");
    std::fs::write(&file, format!("day,model,key_id,cost_usd\n{day},gpt-4.1,{key},1.005\n")).unwrap();
    let only = ["--models", "gpt-*"];
    let (code, printed, stderr) = reconcile(&served, &file, &only);
    assert_eq!(code, 0, "{stderr}");
    assert!(printed.contains("0 of 1 rows differ by more than 1%"), "{printed}");
    let (_, printed, _) =
        reconcile(&served, &file, &[&only[..], &["--threshold", "0.1%", "--json"]].concat());
    let seen: Value = serde_json::from_str(&printed).unwrap();
    let row = json!({
        "day": day, "model": "gpt-4.1", "key_id": key, "ledger_usd": "1", "bill_usd": "1.005",
        "difference_usd": "-0.005", "ledger_tokens": 220, "bill_tokens": 0, "exceeds": true,
    });
    assert_eq!((&seen["mismatches"], &seen["rows"]), (&json!(1), &json!([row])));
    let all = async || {
        let url = format!("{}/v1/events?type=USAGE_MISMATCH", served.url);
        let events: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        events["items"].as_array().unwrap().clone()
    };
    eventually("the difference is an event", async || !all().await.is_empty()).await;
    let events = all().await;
    assert_eq!(events.len(), 1, "a bill that agrees is none");
    let summary = events[0]["evidence"]["summary"].as_str().unwrap();
    assert!(
        summary.contains(&format!("most in {day}, gpt-4.1, {key}, 1 USD in the ledger and 1.005")),
        "{summary}"
    );
    // Without the other provider's models left out, they are in no bill.
    let (_, printed, _) = reconcile(&served, &file, &[]);
    assert!(printed.contains("1 of 2 rows differ") && printed.contains("claude-sonnet-4-5"), "{printed}");
}

#[tokio::test]
async fn a_bill_of_tokens_is_compared_by_tokens_and_one_that_cannot_be_read_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let day = today(&served).await;
    report(&served, "sk-one", "gpt-4.1", "1").await;
    let file = dir.path().join("usage.jsonl");
    let line = json!({ "day": day, "model": "gpt-4.1", "in": 100, "out": 40 });
    std::fs::write(&file, line.to_string()).unwrap();
    let map = dir.path().join("map.toml");
    let fields = "day = '/day'\nmodel = '/model'\ninput_tokens = '/in'\noutput_tokens = '/out'\n";
    std::fs::write(&map, format!("[fields]\n{fields}")).unwrap();
    let map = ["--map", map.to_str().unwrap()];
    let (code, printed, stderr) = reconcile(&served, &file, &map);
    assert_eq!(code, 0, "{stderr}");
    assert!(printed.contains("110   140         -30") && printed.contains("amounts are tokens"), "{printed}");
    let (code, _, stderr) = reconcile(&served, &file, &[&map[..], &["--threshold", "0.50"]].concat());
    assert!(code == 65 && stderr.contains("/threshold"), "{stderr}");
    let (code, _, stderr) = reconcile(&served, &file, &["--map", "nowhere"]);
    assert!(code == 66 && stderr.contains("openai-costs"), "{stderr}");
    std::fs::write(&file, "{}").unwrap();
    let (code, _, stderr) = reconcile(&served, &file, &map);
    assert!(code == 65 && stderr.contains("no line has a day and an amount"), "{stderr}");
}
