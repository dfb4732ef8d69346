//! `keyward explain`, as people run it on traffic that they have recorded.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{keyward, run};

/// Two days of generated traffic with attacks, and what `replay` decides about it.
fn recorded(directory: &Path) -> (PathBuf, Vec<Value>) {
    let (input, output) = (directory.join("records.jsonl"), directory.join("decisions.jsonl"));
    let path = |path: &Path| path.display().to_string();
    let plan = ["simulate", "--days", "2", "--keys", "1", "--attacks", "1", "--rate", "0.3"];
    let made = run(keyward(&plan).args(["--output", &path(&input)]));
    assert_eq!(made.0, 0, "{}", made.2);
    let strict = ["replay", "--preset", "strict"];
    let replayed = run(keyward(&strict).args(["--input", &path(&input), "--output", &path(&output)]));
    assert_eq!(replayed.0, 0, "{}", replayed.2);
    let decisions = std::fs::read_to_string(&output).unwrap();
    (input, decisions.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn explain(input: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = keyward(&["explain", "--preset", "strict"]);
    run(command.arg("--input").arg(input).args(arguments))
}

#[test]
fn what_replay_decided_is_explained_to_people_and_to_programs() {
    let dir = tempfile::tempdir().unwrap();
    let (input, decisions) = recorded(dir.path());
    for reason in ["CRITICAL_ANOMALY_DETECTED", "API_KEY_BANNED"] {
        let refused = |decision: &&Value| decision["reason"] == reason;
        let decision = decisions.iter().find(refused).unwrap();
        let id = decision["request_id"].as_str().unwrap();

        let (code, printed, stderr) = explain(&input, &["--request-id", id, "--json"]);
        assert_eq!((code, stderr.as_str()), (0, ""));
        let account: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(&account["decision"], decision, "explained as it was decided");
        let line = account["line"].as_u64().unwrap();
        assert_eq!(&decisions[line as usize - 1], decision);

        let (code, text, _) = explain(&input, &["--line", &line.to_string()]);
        assert_eq!(code, 0);
        assert!(text.contains(id) && text.contains(account["summary"].as_str().unwrap()), "{text}");
        for section in ["Decision", "Observed", "Usual for the key", "Afterwards"] {
            assert!(text.lines().any(|line| line == section), "{section}: {text}");
        }
        let banned = reason == "API_KEY_BANNED";
        assert_eq!(account["banned_by"]["request_id"].is_string(), banned);
        assert_eq!(account["detectors"].as_array().unwrap().is_empty(), banned);
        assert_eq!(text.contains("impossible_travel"), !banned, "{text}");
    }
}

#[test]
fn what_is_not_there_is_said_with_where_to_look() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("records.jsonl");
    let record = |key: &str| {
        let (at, from) = ("2026-03-02T09:00:00Z", "203.0.113.7");
        json!({ "request_id": "r-1", "key_id": key, "endpoint": "/v1", "source_ip": from, "timestamp": at })
    };
    std::fs::write(&input, format!("{}\n{}\nnonsense\n", record("a"), record("b"))).unwrap();
    let table: &[(&[&str], i32, &str)] = &[
        (&[], 2, "--request-id"),
        (&["--request-id", "r-1", "--line", "1"], 2, "--line"),
        (&["--request-id", "r-2"], 66, "no request has the id r-2 (3 lines, of which 1 are no records)"),
        (&["--request-id", "r-1", "--key-id", "c"], 66, "line 1 (key a), line 2 (key b)"),
        (&["--line", "4"], 66, "has no line 4"),
        (&["--line", "3"], 65, "line 3 is no usage record"),
    ];
    for (arguments, code, words) in table {
        let (got, _, stderr) = explain(&input, arguments);
        assert_eq!(got, *code, "{arguments:?}: {stderr}");
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }
    let (_, text, _) = explain(&input, &["--request-id", "r-1"]);
    assert!(text.contains("the same id is on line 2, of key b"), "{text}");
    let (_, text, _) = explain(&input, &["--request-id", "r-1", "--key-id", "b"]);
    assert!(text.starts_with("Request r-1 of key b"), "{text}");
}
