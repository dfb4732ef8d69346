//! Recorded traffic under one policy and under two; with analysts' words it is in `verdicts`.

mod verdicts;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};

use super::*;
use crate::{
    config::Sources,
    domain::{
        DAY, MINUTE, SECOND,
        event::format_millis,
        finding::Mode,
        policy::{Policy, Preset},
    },
    store::EventQuery,
};

/// Monday 2026-03-02, 09:00 UTC.
const NOW: Millis = 1_772_442_000_000;
const SINGAPORE: &str = "203.0.113.7";
const BUCHAREST: &str = "198.51.100.7";

fn config(change: impl FnOnce(&mut Policy)) -> Config {
    let mut config = Config::load(&Sources::default()).unwrap();
    change(&mut config.policy);
    config
}

fn strict(policy: &mut Policy) {
    policy.preset = Preset::Strict;
}

fn peppers() -> Peppers {
    Peppers::parse("0123456789abcdef0123").unwrap()
}

async fn replay(change: impl FnOnce(&mut Policy)) -> Replay {
    let geo = Arc::new(Geo::open(&[], true).unwrap());
    Replay::new(&config(change), geo, peppers()).await.unwrap()
}

/// A line about one request of ten tokens, so long after the start.
fn line(key: &str, after: Millis, source_ip: &str) -> Value {
    json!({
        "key_id": key, "endpoint": "/v1/chat", "source_ip": source_ip, "tokens_used": 10,
        "timestamp": format_millis(NOW + after), "request_id": format!("{key}-{}", after / SECOND),
    })
}

/// A key that is at home in Singapore and turns up in Bucharest, three times within ten minutes.
fn traveller(key: &str) -> Vec<Value> {
    let minutes = |n: Millis, from| line(key, n * MINUTE, from);
    vec![
        minutes(0, SINGAPORE),
        minutes(1, BUCHAREST),
        minutes(5, BUCHAREST),
        minutes(10, BUCHAREST),
        minutes(60, SINGAPORE),
    ]
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

async fn run(replay: &mut Replay, input: &str) -> (Vec<Value>, Summary) {
    let mut output = Vec::new();
    let summary = replay.run(input.as_bytes(), &mut output, |_| ()).await.unwrap();
    (read(&output), summary)
}

fn read(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    text.lines()
        .map(|line| if line.is_empty() { Value::Null } else { serde_json::from_str(line).unwrap() })
        .collect()
}

fn allowed(decisions: &[Value]) -> Vec<bool> {
    decisions.iter().map(|decision| decision["allowed"].as_bool().unwrap()).collect()
}

/// A sink that can be looked into afterwards.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Compared {
    new: Summary,
    backtest: Backtest,
    differences: Vec<Value>,
}

impl Compared {
    fn report(&self) -> String {
        self.backtest.comparison.to_string()
    }
}

async fn compare(new: impl FnOnce(&mut Policy), old: impl FnOnce(&mut Policy), input: &str) -> Compared {
    let (mut new, kept) = (replay(new).await, Kept::default());
    let mut backtest = Backtest::between(&new, replay(old).await, Some(Box::new(kept.clone())));
    let new = new.run_beside(input.as_bytes(), io::sink(), |_| (), Some(&mut backtest)).await.unwrap();
    let differences = read(&kept.0.lock().unwrap());
    Compared { new, backtest, differences }
}

#[tokio::test]
async fn each_line_gets_a_line_and_the_first_bad_one_is_reported() {
    let mut lines = text(&traveller("a"));
    lines.insert_str(0, "\nnonsense\n{\"key_id\":\"a\",\"endpoint\":\"/x\",\"source_ip\":\"here\"}\n");
    let (decisions, summary) = run(&mut replay(strict).await, &lines).await;
    assert_eq!(decisions.len(), 8);
    assert_eq!(decisions[0], Value::Null);
    assert_eq!(
        (&decisions[1]["line"], &decisions[2]["errors"][0]["pointer"]),
        (&json!(2), &json!("/source_ip"))
    );
    assert_eq!(allowed(&decisions[3..]), [true, false, false, false, true]);
    let report = summary.render();
    assert!(report.contains("5 records of 1 keys over 1 key-days; 2 bad lines"), "{report}");
    assert!(report.contains("the first bad one: line 2: not valid JSON"), "{report}");
    assert!(
        report.contains(
            "3 requests refused, of 1 keys; 1 keys and 0 addresses would have been banned\n  key:a at 20"
        ),
        "{report}"
    );
    assert!(report.contains("Z: IMPOSSIBLE_TRAVEL\n"), "{report}");
}

#[tokio::test]
async fn spellings_of_one_key_and_address_are_one_and_a_secret_as_a_public_id_is_a_bad_line() {
    let spelled = |api_key: &str, source_ip: &str, minutes: Millis| {
        let mut line = line("a", minutes * MINUTE, source_ip);
        line.as_object_mut().unwrap().remove("key_id");
        line["api_key"] = api_key.into();
        line
    };
    let lines = [
        spelled("sk-live-4f9a", SINGAPORE, 0),
        line("sk-live-4f9a", SECOND, SINGAPORE),
        spelled(" sk-live-4f9a\t", &format!("64:ff9b::{BUCHAREST}"), 1),
        spelled("sk-live-4f9a", "010.0.0.1", 2),
    ];
    let (decisions, summary) = run(&mut replay(strict).await, &text(&lines)).await;
    assert_eq!(decisions[0]["key_id"], decisions[2]["key_id"]);
    assert_eq!(decisions[2]["anomalies"][0]["type"], "IMPOSSIBLE_TRAVEL", "{}", decisions[2]);
    let bad = |n: usize| (&decisions[n]["line"], &decisions[n]["errors"][0]["pointer"]);
    assert_eq!([bad(1), bad(3)], [(&json!(2), &json!("/key_id")), (&json!(4), &json!("/source_ip"))]);
    assert!(!format!("{decisions:?}").contains("4f9a"), "{decisions:?}");
    let report = summary.render();
    assert!(report.contains("2 records of 1 keys") && report.contains("2 bad lines"), "{report}");
}

#[tokio::test]
async fn nothing_at_all_is_no_error() {
    let (decisions, summary) = run(&mut replay(strict).await, "").await;
    assert!(decisions.is_empty());
    assert!(
        summary.render().starts_with("0 records of 0 keys over 0 key-days; 0 bad lines\n0 requests refused")
    );
    let compared = compare(strict, |_| (), "").await;
    assert!(compared.report().starts_with("0 requests of 0 keys were decided differently"));
}

#[tokio::test]
async fn an_address_that_is_banned_is_no_banned_key() {
    let guess = |n| {
        json!({
            "key_id": format!("guess-{n}"), "endpoint": "/x", "source_ip": BUCHAREST, "response_status": 401,
            "timestamp": format_millis(NOW + n * SECOND),
        })
    };
    let lines: Vec<_> = (0..12).map(guess).collect();
    let (_, summary) = run(&mut replay(|_| ()).await, &text(&lines)).await;
    let report = summary.render();
    assert!(report.contains("0 keys and 1 addresses would have been banned"), "{report}");
    let compared =
        compare(|_| (), |p| p.detectors.credential_stuffing.mode = Mode::Shadow, &text(&lines)).await;
    let report = compared.report();
    assert!(report.contains(&format!("ip:{BUCHAREST}")) && report.contains("new only"), "{report}");
    assert!(
        compared.differences.iter().all(|d| d["by"] == "CREDENTIAL_STUFFING"),
        "{:?}",
        compared.differences
    );
}

#[tokio::test]
async fn what_is_kept_does_not_grow_with_the_number_of_records() {
    let mut engine = replay(|p| {
        strict(p);
        p.ladder.ban_seconds = 1;
        p.ladder.ban_max_seconds = 1;
    })
    .await;
    let lines: Vec<_> =
        (0..2_000).map(|n| line("a", n * MINUTE, [SINGAPORE, BUCHAREST][n as usize % 2])).collect();
    let (decisions, summary) = run(&mut engine, &text(&lines)).await;
    let bans = decisions.iter().filter(|d| d["action"] == "temporary_ban").count();
    assert!(bans > 100, "{bans}");
    let report = summary.render();
    assert!(report.contains("2000 records of 1 keys over 2 key-days"), "{report}");
    let everything = EventQuery { limit: 10, ..EventQuery::default() };
    assert_eq!(engine.engine().store().events(&everything).await.unwrap().items, []);
}

#[tokio::test]
async fn what_one_policy_bans_and_the_other_does_not_is_reported_with_what_did_it() {
    let mut lines = traveller("a");
    lines.extend(traveller("b").into_iter().filter(|line| line["source_ip"] == SINGAPORE));
    lines.sort_by_key(|line| line["timestamp"].to_string());
    let compared = compare(strict, |_| (), &text(&lines)).await;
    let report = compared.report();
    for words in [
        "3 requests of 1 keys were decided differently",
        "banned under the new policy only: 1; under the old only: 0; under both, at other times: 0",
        "2026-03-02T09:01:00.000Z a-60: IMPOSSIBLE_TRAVEL, temporary_ban (old: alert)",
    ] {
        assert!(report.contains(words), "{words}\n{report}");
    }
    assert!(!report.contains("key:b"), "a key that both treat alike is no difference\n{report}");
    let row = report.lines().find(|line| line.starts_with("key:a")).unwrap();
    assert_eq!(
        row.split_whitespace().take(8).collect::<Vec<_>>(),
        ["key:a", "new", "only", "3", "0", "0", "0", "3"]
    );
    assert!(compared.new.render().contains("1 keys and 0 addresses would have been banned"));
    assert!(compared.backtest.summary.render().contains("0 keys and 0 addresses would have been banned"));

    let reversed = compare(|_| (), strict, &text(&lines)).await.report();
    assert!(reversed.contains("old only") && reversed.contains("alert (old: temporary_ban)"), "{reversed}");
}

#[tokio::test]
async fn each_difference_is_a_line_with_both_decisions() {
    let compared = compare(strict, |_| (), &text(&traveller("a"))).await;
    let [first, second, _] = &compared.differences[..] else { panic!("{:?}", compared.differences) };
    assert_eq!(first["line"], 2);
    assert_eq!(first["time"], "2026-03-02T09:01:00.000Z");
    assert_eq!((&first["request_id"], &first["key_id"]), (&json!("a-60"), &json!("a")));
    assert_eq!((&first["source_ip"], &first["by"]), (&json!(BUCHAREST), &json!("IMPOSSIBLE_TRAVEL")));
    assert_eq!(
        (&first["new"]["action"], &first["old"]["action"]),
        (&json!("temporary_ban"), &json!("alert"))
    );
    assert_eq!(first["new"]["retry_after_seconds"], 1800);
    assert_eq!(first["old"].get("reason"), None);
    assert_ne!(first["new"]["policy_version"], first["old"]["policy_version"]);
    assert_eq!(
        (&second["new"]["reason"], &second["by"]),
        (&json!("API_KEY_BANNED"), &json!("IMPOSSIBLE_TRAVEL"))
    );
}

#[tokio::test]
async fn a_policy_differs_in_nothing_from_itself() {
    let compared = compare(strict, strict, &text(&traveller("a"))).await;
    assert_eq!(compared.differences, Vec::<Value>::new());
    let report = compared.report();
    assert!(report.starts_with("0 requests of 0 keys") && !report.contains("key:a"), "{report}");
    assert_eq!(compared.new.render(), compared.backtest.summary.render());
}

#[tokio::test]
async fn bans_that_end_at_other_times_are_reported() {
    let longer = |p: &mut Policy| {
        strict(p);
        p.ladder.ban_seconds = 7200;
    };
    let report = compare(longer, strict, &text(&traveller("a"))).await.report();
    assert!(report.contains("under both, at other times: 1"), "{report}");
    assert!(
        report.contains("2026-03-02T10:00:00.000Z a-3600: IMPOSSIBLE_TRAVEL, temporary_ban (old: none)"),
        "{report}"
    );
}

#[tokio::test]
async fn a_limit_is_named_where_it_makes_the_difference() {
    let limited = |p: &mut Policy| p.limits.tokens = [("1min".to_owned(), 25)].into();
    let lines: Vec<_> = (0..4).map(|n| line("a", n * SECOND, SINGAPORE)).collect();
    let compared = compare(limited, |_| (), &text(&lines)).await;
    assert_eq!(compared.differences.len(), 2);
    assert_eq!(compared.differences[0]["by"], "RATE_LIMIT_EXCEEDED");
    assert!(
        compared.report().contains("a-2: RATE_LIMIT_EXCEEDED, refused (old: none)"),
        "{}",
        compared.report()
    );
}

#[tokio::test]
async fn figures_are_by_day_and_by_key_and_sum_up_to_those_of_the_text() {
    let keys: Vec<String> = (0..60).map(|n| format!("k{n:02}")).collect();
    let mut lines: Vec<Value> = keys.iter().flat_map(|key| traveller(key)).collect();
    lines.sort_by_key(|line| line["timestamp"].to_string());
    lines.push(line("k00", 3 * DAY, SINGAPORE));
    let (_, summary) = run(&mut replay(strict).await, &text(&lines)).await;
    let figures = summary.figures();
    assert_eq!(figures.to_string(), summary.render());
    assert_eq!((figures.records, figures.keys, figures.keys_banned), (301, 60, 60));
    let midnight = NOW.div_euclid(DAY) * DAY;
    let days: Vec<_> = figures.days.iter().map(|day| (day.day, day.requests, day.bans)).collect();
    assert_eq!(days, [(midnight, 300, 60), (midnight + 3 * DAY, 1, 0)]);
    assert_eq!(figures.days.iter().map(|day| day.refused).sum::<u64>(), figures.refused);
    assert_eq!(figures.reasons.iter().map(|(_, requests)| requests).sum::<u64>(), figures.refused);
    assert_eq!((figures.subjects.len(), figures.more_subjects), (50, 10));
    let row = figures.subjects.iter().find(|row| row.subject == "key:k01").unwrap();
    assert_eq!((row.requests, row.refused, row.bans), (5, 3, 1));
    assert_eq!(row.first_ban, Some(NOW + MINUTE));
    assert!(row.detectors.contains(&"IMPOSSIBLE_TRAVEL"), "{row:?}");
    assert_eq!(row.reasons, [("API_KEY_BANNED", 2), ("CRITICAL_ANOMALY_DETECTED", 1)]);
}
