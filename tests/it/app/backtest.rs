//! `keyward replay` with policies of one's own and with the verdicts of a running service, as people run it.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use keyward::domain::{
    Millis,
    event::{format_millis, parse_millis},
};
use serde_json::{Value, json};

use super::{Served, client, keyward, run};
use crate::support::{BUCHAREST, SINGAPORE};

/// Monday 2026-03-02, 09:00 UTC.
const NOW: Millis = 1_772_442_000_000;

/// A directory with recorded traffic: a key at home in Singapore that turns up in Bucharest.
struct SinkLeader(tempfile::TempDir);

impl SinkLeader {
    fn new() -> Self {
        let leader = Self(tempfile::tempdir().unwrap());
        leader.file("records.jsonl", &traveller(NOW));
        leader.file("strict.toml", "[policy]\npreset = 'strict'\n");
        leader.file("balanced.toml", "[policy]\npreset = 'balanced'\n");
        leader
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `keyward replay` in the directory.
    fn replay(&self, arguments: &str) -> (i32, String, String) {
        run(&mut replay(self.0.path(), arguments))
    }
}

fn replay(directory: &Path, arguments: &str) -> std::process::Command {
    let mut command = keyward(&["replay"]);
    command.args(arguments.split_whitespace()).current_dir(directory);
    command
}

fn traveller(start: Millis) -> String {
    let line = |seconds: Millis, source_ip| {
        let record = json!({
            "key_id": "a", "endpoint": "/v1/chat", "source_ip": source_ip, "tokens_used": 10,
            "timestamp": format_millis(start + seconds * 1000), "request_id": format!("r-{seconds}"),
        });
        format!("{record}\n")
    };
    [line(0, SINGAPORE), line(60, BUCHAREST), line(300, BUCHAREST)].concat()
}

fn allowed(decisions: &str) -> Vec<bool> {
    let decision = |line: &str| serde_json::from_str::<Value>(line).unwrap()["allowed"].as_bool().unwrap();
    decisions.lines().map(decision).collect()
}

#[test]
fn two_policies_are_compared_in_one_pass() {
    let leader = SinkLeader::new();
    let (code, told, stderr) = leader.replay(
        "--input records.jsonl --policy strict.toml --compare balanced.toml --output new.jsonl --differences d.jsonl",
    );
    assert_eq!((code, stderr.as_str()), (0, ""));
    for words in [
        "new policy: strict.toml (",
        "old policy: balanced.toml (",
        "2 requests of 1 keys were decided differently",
        "banned under the new policy only: 1;",
        "r-60: IMPOSSIBLE_TRAVEL, temporary_ban (old: alert)",
    ] {
        assert!(told.contains(words), "{words}\n{told}");
    }
    assert_eq!(allowed(&leader.read("new.jsonl")), [true, false, false]);
    let differences = leader.read("d.jsonl");
    assert_eq!(differences.lines().count(), 2);
    let first: Value = serde_json::from_str(differences.lines().next().unwrap()).unwrap();
    assert_eq!((&first["new"]["allowed"], &first["old"]["allowed"]), (&json!(false), &json!(true)));
}

#[test]
fn a_policy_stands_in_for_the_configured_one_which_may_be_either_side() {
    let leader = SinkLeader::new();
    let (code, decisions, told) = leader.replay("--input records.jsonl --policy strict.toml");
    assert_eq!((code, allowed(&decisions)), (0, vec![true, false, false]), "{told}");
    assert!(told.contains("1 keys and 0 addresses would have been banned"), "{told}");

    let (_, told, _) = leader.replay("--input records.jsonl --compare strict.toml");
    assert!(told.contains("new policy: as configured") && told.contains("old only"), "{told}");
    assert!(!told.contains("\"allowed\""), "decisions are written where they are asked for: {told}");
    let (_, told, _) = leader.replay("--input records.jsonl --preset strict --compare strict.toml");
    assert!(told.contains("the two policies are the same\n0 requests of 0 keys"), "{told}");
}

#[test]
fn records_come_from_standard_input_and_data_leaves_by_standard_output() {
    let leader = SinkLeader::new();
    let mut command =
        replay(leader.0.path(), "--input - --policy strict.toml --compare balanced.toml --differences -");
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(traveller(NOW).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let [data, told] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(data.lines().count() == 2 && data.lines().all(|line| line.starts_with("{\"line\":")), "{data}");
    assert!(told.contains("2 requests of 1 keys were decided differently"), "{told}");
}

#[test]
fn slips_are_told_before_anything_is_written() {
    let leader = SinkLeader::new();
    leader.file("unknown.toml", "[policy.detectors.traffic_burst]\nfacter = 4");
    leader.file("range.json", r#"{"ladder":{"ban_factor":0.5}}"#);
    leader.file("server.toml", "[server]\nlisten = '127.0.0.1:1'");
    leader.file("verdicts.jsonl", "{\"id\":\"1-1\"}\n");
    let records = leader.read("records.jsonl");
    let table = [
        ("--policy missing.toml", 66, "missing.toml"),
        ("--compare unknown.toml", 78, "did you mean `policy.detectors.traffic_burst.factor`?"),
        ("--policy range.json", 78, "range.json: `policy.ladder.ban_factor` must be from 1 to 1000"),
        ("--policy server.toml", 78, "`policy` is not there"),
        ("--compare records.jsonl", 78, "records.jsonl, line 2"),
        ("--policy strict.toml --preset strict", 2, "--preset"),
        ("--differences d.jsonl", 2, "--compare"),
        ("--output records.jsonl", 2, "--input and --output are both"),
        ("--output ./records.jsonl", 2, "--input and --output are both"),
        ("--compare strict.toml --output - --differences -", 2, "--output and --differences are both -"),
        ("--compare strict.toml --differences strict.toml", 2, "--compare and --differences are both"),
        ("--verdicts missing.jsonl", 66, "missing.jsonl"),
        (
            "--verdicts verdicts.jsonl",
            65,
            "verdicts.jsonl: line 1: not a security event: missing field `time`",
        ),
    ];
    for (arguments, code, words) in table {
        let (got, decisions, stderr) = leader.replay(&format!("--input records.jsonl {arguments}"));
        assert_eq!(got, code, "{arguments}: {stderr}");
        assert!(stderr.contains(words), "{arguments}: {stderr}");
        assert_eq!((decisions.as_str(), &leader.read("records.jsonl")), ("", &records), "{arguments}");
    }
    assert_eq!(leader.replay("--input - --verdicts -").0, 2);
}

#[test]
fn a_file_of_something_else_is_told_and_an_empty_one_is_none_the_worse() {
    let leader = SinkLeader::new();
    leader.file("empty.jsonl", "");
    let (code, told, _) = leader.replay("--input empty.jsonl --compare strict.toml");
    assert!(code == 0 && told.contains("0 records of 0 keys over 0 key-days"), "{told}");
    let (code, told, stderr) = leader.replay("--input strict.toml --compare strict.toml");
    assert_eq!(code, 65, "{told}");
    assert!(
        told.contains("the first bad one: line 1: ") && stderr.contains("strict.toml: no line of it"),
        "{stderr}"
    );
}

#[tokio::test]
async fn what_analysts_said_of_a_running_service_is_heard_in_a_replay() {
    let leader = SinkLeader::new();
    let (data, client) = (leader.path("data"), client());
    let store = format!("embedded:{}", data.display());
    let served = Served::start_with(&mut keyward(&[
        "serve",
        "--preset",
        "strict",
        "--listen",
        "127.0.0.1:0",
        "--store",
        &store,
    ]));
    for from in [SINGAPORE, BUCHAREST] {
        let record = json!({"api_key": "sk-live-traveller", "endpoint": "/v1/chat", "source_ip": from});
        client.post(format!("{}/v1/record", served.url)).json(&record).send().await.unwrap();
    }
    let events = |kind: &str| {
        run(&mut keyward(&["events", "--json", "--all", "--type", kind, "--url", &served.url])).1
    };
    let ban: Value = serde_json::from_str(&events("TEMPORARY_BAN")).unwrap();
    let path = format!("{}/v1/events/{}/feedback", served.url, ban["id"].as_str().unwrap());
    for verdict in ["attack", "benign"] {
        let word = json!({"verdict": verdict, "note": "two offices"});
        assert!(client.post(&path).json(&word).send().await.unwrap().status().is_success());
    }
    let verdicts = events("FEEDBACK_GIVEN");
    assert_eq!(verdicts.lines().count(), 2);
    assert!(!verdicts.contains("sk-live-traveller"));
    leader.file("verdicts.jsonl", &verdicts);
    let newest: Value = serde_json::from_str(verdicts.lines().next().unwrap()).unwrap();
    let at = parse_millis(newest["time"].as_str().unwrap()).unwrap();
    let records = traveller(at - 120_000).replace("\"key_id\":\"a\"", "\"api_key\":\"sk-live-traveller\"");
    leader.file("records.jsonl", &records);

    let pepper = data.join("pepper").display().to_string();
    let with = |verdicts: &str| {
        leader
            .replay(&format!("--input records.jsonl --policy strict.toml --pepper-file {pepper} {verdicts}"))
    };
    assert_eq!(allowed(&with("").1), [true, false, false]);
    let (code, decisions, told) = with("--verdicts verdicts.jsonl");
    assert_eq!((code, allowed(&decisions)), (0, vec![true, false, true]), "{told}");
    assert!(told.contains("2 verdicts honoured: 1 benign (1 lifted a ban), 1 attacks"), "{told}");
    let (_, decisions, told) =
        leader.replay("--input records.jsonl --policy strict.toml --verdicts verdicts.jsonl");
    assert_eq!(allowed(&decisions), [true, false, false]);
    assert!(told.contains("about keys that no record is of") && told.contains("--pepper-file"), "{told}");

    let answer = client.get(format!("{}/v1/policy", served.url)).send().await.unwrap().text().await.unwrap();
    leader.file("policy.json", &answer);
    let (code, told, _) = leader.replay("--input records.jsonl --policy policy.json --compare strict.toml");
    assert!(code == 0 && told.contains("the two policies are the same"), "{told}");
}

#[test]
fn a_report_is_made_beside_the_text_and_never_over_a_file_that_is_read() {
    let leader = SinkLeader::new();
    let two = "--input records.jsonl --policy strict.toml --compare balanced.toml --report";
    let (code, text, words) = leader.replay(&format!("{two} replay.html"));
    assert_eq!((code, words.as_str()), (0, ""));
    let html = leader.read("replay.html");
    assert!(html.contains("strict.toml") && html.contains("balanced.toml"), "{html}");
    let row = text.lines().find(|line| line.starts_with("key:")).unwrap();
    assert!(html.contains(row.split_whitespace().next().unwrap()), "{row}\n{html}");
    let records = leader.read("records.jsonl");
    let (code, _, words) = leader.replay(&format!("{two} records.jsonl"));
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("--input and --report are both records.jsonl"), "{words}");
    assert_eq!(leader.read("records.jsonl"), records);
}
