//! `keyward report` against the real binary: while it observes, after it enforces, and when nobody is there.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use reqwest::Client;
use serde_json::{Value, json};

use super::{DEADLINE, Served, client, keyward, run};

use keyward::clock;

/// Documentation addresses that the demo database puts far apart.
const SINGAPORE: &str = "203.0.113.7";
const BUCHAREST: &str = "198.51.100.7";

struct Desk {
    served: Served,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Desk {
    fn open(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = format!("embedded:{}", dir.path().display());
        let mut command =
            keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--preset", "strict"]);
        let served = Served::start_with(command.args(flags).env("KEYWARD__EVENTS__FOLD_SECONDS", "1"));
        Self { served, client: client(), _dir: dir }
    }

    async fn record(&self, key: &str, address: &str) -> Value {
        let body = json!({
            "key_id": key, "endpoint": "/v1", "source_ip": address, "model": "gpt-4.1", "tokens_used": 1000,
        });
        let url = format!("{}/v1/record", self.served.url);
        self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap()
    }

    /// A key that travels, then goes on: its first refusal and so many more.
    async fn travel(&self, key: &str, more: usize) -> Value {
        self.record(key, SINGAPORE).await;
        let found = self.record(key, BUCHAREST).await;
        for _ in 0..more {
            self.record(key, SINGAPORE).await;
        }
        found
    }

    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        run(keyward(arguments).env("KEYWARD_URL", &self.served.url))
    }

    /// The report, once it counts so many requests. Events and usage reach the log a moment after the answer.
    fn report(&self, field: &str, count: u64) -> Value {
        let until = clock::instant() + DEADLINE;
        loop {
            let (code, printed, stderr) = self.ask(&["report", "--since", "1h", "--json"]);
            assert_eq!(code, 0, "{stderr}");
            let report: Value = serde_json::from_str(&printed).unwrap();
            if report[field] == count && report["keys_seen"] == 3 {
                return report;
            }
            assert!(clock::instant() < until, "{report:#}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_enforcement_would_have_hit_is_listed_with_reasons_detectors_and_costs() {
    let desk = Desk::open(&["--enforcement", "observe"]);
    let found = desk.travel("thief", 4).await;
    assert_eq!((&found["allowed"], &found["would"]["action"]), (&json!(true), &json!("temporary_ban")));
    for key in ["quiet", "calm"] {
        assert_eq!(desk.record(key, SINGAPORE).await["allowed"], true);
    }
    let report = desk.report("would_refuse", 5);
    assert_eq!((&report["enforcement"], &report["refused"]), (&json!("observe"), &json!(0)));
    assert_eq!((&report["keys_hit"], &report["keys_seen"]), (&json!(1), &json!(3)));
    let rows = report["subjects"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["subject"]), (1, &json!("key:thief")));
    assert_eq!(rows[0]["reasons"], json!({ "API_KEY_BANNED": 4, "CRITICAL_ANOMALY_DETECTED": 1 }));
    assert_eq!(rows[0]["detectors"], json!(["impossible_travel"]));
    assert!(rows[0]["places"].as_array().unwrap().contains(&json!("Bucharest, RO")), "{report:#}");
    assert!(rows[0]["cost_usd"].as_str().unwrap().parse::<f64>().unwrap() > 0.0, "{report:#}");

    let (_, table, _) = desk.ask(&["report"]);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for part in ["the policy observes", "1 of 3 keys seen", "key:thief", "impossible_travel"] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let (_, status, _) = desk.ask(&["status"]);
    assert!(status.contains("only observes") && status.contains("not enforced"), "{status}");
    let (_, empty, _) =
        desk.ask(&["report", "--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"]);
    assert!(empty.contains("Nobody was hit."), "{empty}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_enforcement_did_hit_is_listed_as_refused() {
    let desk = Desk::open(&[]);
    assert_eq!(desk.travel("thief", 2).await["allowed"], false);
    for key in ["quiet", "calm"] {
        desk.record(key, SINGAPORE).await;
    }
    let report = desk.report("refused", 3);
    assert_eq!((&report["enforcement"], &report["would_refuse"]), (&json!("enforce"), &json!(0)));
    assert_eq!(report["by_detector"][0]["name"], "impossible_travel");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_is_text_json_or_one_file() {
    let desk = Desk::open(&[]);
    assert_eq!(desk.travel("thief", 2).await["allowed"], false);
    let until = clock::instant() + DEADLINE;
    let week = loop {
        let (code, printed, stderr) = desk.ask(&["report", "--week", "--json"]);
        assert_eq!(code, 0, "{stderr}");
        let week: Value = serde_json::from_str(&printed).unwrap();
        if week["bans"].as_array().unwrap().len() == 1 && week["spend"]["requests"].as_u64() >= Some(2) {
            break week;
        }
        assert!(clock::instant() < until, "{week:#}");
    };
    assert_eq!(
        (&week["bans"][0]["subject"], &week["bans"][0]["outcome"]),
        (&json!("key:thief"), &json!("holds"))
    );
    let (_, text, _) = desk.ask(&["report", "--week"]);
    for part in ["Impossible travel", "key:thief", "in force", "Spend: By day"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let file = desk._dir.path().join("week.html");
    let (code, printed, stderr) = desk.ask(&["report", "--week", "--html", file.to_str().unwrap()]);
    assert_eq!((code, printed.as_str()), (0, ""), "{stderr}");
    let html = std::fs::read_to_string(&file).unwrap();
    assert!(html.contains("key:thief") && html.contains("<svg") && !html.contains("<script"), "{html}");
    let (code, _, stderr) = desk.ask(&["report", "--html", "x.html"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("--week"), "{stderr}");
}

#[test]
fn a_report_without_a_service_or_with_a_wrong_span_says_what_to_do() {
    let (code, _, stderr) = run(&mut keyward(&["report", "--url", "http://127.0.0.1:1"]));
    assert_eq!(code, 69, "{stderr}");
    assert!(stderr.contains("no service answers") && stderr.contains("keyward serve"), "{stderr}");
    let (code, _, stderr) = run(&mut keyward(&["report", "--since", "yesterday"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("such as 12h or 7d"), "{stderr}");
    let (code, _, stderr) = run(&mut keyward(&["report", "--since", "1d", "--until", "2d"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("--since must be before --until"), "{stderr}");
}

#[test]
fn a_service_that_only_observes_says_so_where_nobody_can_miss_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("embedded:{}", dir.path().display());
    let mut served = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store])
        .env("KEYWARD_ENFORCEMENT", "observe")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(served.stderr.take().unwrap()).lines().map_while(Result::ok);
    let said = lines.skip_while(|line| !line.contains(" listens on ")).nth(1);
    served.kill().unwrap();
    served.wait().unwrap();
    assert!(said.as_ref().is_some_and(|line| line.contains("OBSERVES ONLY")), "{said:?}");
}
