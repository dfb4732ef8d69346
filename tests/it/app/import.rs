//! Logs of other programs, from the command line: as records, and through the engine.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{keyward, run};

/// A folder as CloudTrail leaves one: a key that is used in Singapore for an hour, and then in Bucharest.
fn cloudtrail(folder: &Path) {
    let event = |n: usize, minute: usize, address: &str| {
        json!({
            "eventID": format!("e-{n}"), "eventTime": format!("2026-03-02T09:{minute:02}:00Z"),
            "eventSource": "s3.amazonaws.com", "eventName": "GetObject", "sourceIPAddress": address,
            "userAgent": "aws-cli/2.1", "userIdentity": { "accessKeyId": "AKIAIOSFODNN7EXAMPLE" },
        })
    };
    let mut events: Vec<Value> = (0..50).map(|n| event(n, n, "203.0.113.7")).collect();
    events.push(json!({ "eventName": "by a service", "sourceIPAddress": "s3.amazonaws.com" }));
    fs::create_dir_all(folder.join("2026/03/02")).unwrap();
    let last = json!({ "Records": [event(50, 51, "198.51.100.7")] });
    fs::write(folder.join("2026/03/02/a.json"), last.to_string()).unwrap();
    fs::write(folder.join("2026/03/02/b.json"), json!({ "Records": events }).to_string()).unwrap();
}

#[test]
fn a_folder_of_cloudtrail_is_replayed_with_one_command_that_says_who_would_be_banned() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    cloudtrail(&logs);
    let (logs, output) = (logs.display().to_string(), folder.path().join("decisions.jsonl"));
    let decisions = output.display().to_string();
    let arguments =
        ["replay", "--map", "cloudtrail", "--input", &logs, "--output", &decisions, "--preset", "strict"];
    let (code, said, errors) = run(&mut keyward(&arguments));
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("51 records; 1 left out"), "{errors}");
    assert!(
        said.contains("  key:AKIAIOSFODNN7EXAMPLE at 2026-03-02T09:51:00.000Z: IMPOSSIBLE_TRAVEL\n"),
        "who, when and for what: {said}"
    );
    let (_, said, _) = run(keyward(&arguments).arg("--json"));
    let said: Value = serde_json::from_str(&said).unwrap();
    let banned = &said["figures"]["subjects"][0];
    assert_eq!((&said["policy"], &said["figures"]["keys_banned"]), (&json!("as configured"), &json!(1)));
    assert_eq!(banned["first_ban"], "2026-03-02T09:51:00.000Z", "{said}");
    let decisions = fs::read_to_string(output).unwrap();
    let decisions: Vec<Value> = decisions.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(decisions.len(), 51);
    assert_eq!(decisions[0]["key_id"], "AKIAIOSFODNN7EXAMPLE");
    assert_eq!((&decisions[49]["allowed"], &decisions[50]["allowed"]), (&json!(true), &json!(false)));
}

#[cfg(unix)]
#[test]
fn records_that_may_have_keys_in_them_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let logged = json!({
        "ts": 1_772_442_802.5, "status": 200,
        "request": { "remote_ip": "203.0.113.7", "uri": "/a", "headers": { "X-Api-Key": ["sk-1"] } },
    });
    fs::write(path("access.log"), logged.to_string()).unwrap();
    let arguments = ["import", "--map", "caddy", &path("access.log"), "--output", &path("records.jsonl")];
    let (code, _, errors) = run(&mut keyward(&arguments));
    assert_eq!(code, 0, "{errors}");
    let record: Value = serde_json::from_str(&fs::read_to_string(path("records.jsonl")).unwrap()).unwrap();
    assert_eq!(record["api_key"], "sk-1");
    assert_eq!(fs::metadata(path("records.jsonl")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_log_becomes_records_in_order_and_an_input_without_any_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let line = |day: u8| {
        format!(
            "203.0.113.7 - team-a [0{day}/Mar/2026:09:13:22 +0000] \"GET /a HTTP/1.1\" 200 1 \"-\" \"curl/8\"\n"
        )
    };
    fs::write(path("access.log"), line(3) + &line(2)).unwrap();
    let (code, records, errors) = run(&mut keyward(&["import", "--map", "combined", &path("access.log")]));
    assert_eq!(code, 0, "{errors}");
    let records: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let times: Vec<&str> = records.iter().map(|record| record["timestamp"].as_str().unwrap()).collect();
    assert_eq!(times, ["2026-03-02T09:13:22.000Z", "2026-03-03T09:13:22.000Z"]);
    fs::write(path("broken.log.gz"), [0x1f, 0x8b, 8, 0]).unwrap();
    let (logs, output) = ([path("access.log"), path("broken.log.gz")], path("records.jsonl"));
    let arguments = ["import", "--map", "combined", &logs[0], &logs[1], "--json", "--output", &output];
    let (code, counted, errors) = run(&mut keyward(&arguments));
    assert_eq!(code, 0, "{errors}");
    assert!(errors.contains("broken.log.gz: "), "{errors}");
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!((&counted["records"], &counted["unreadable"]), (&json!(2), &json!(0)));
    assert_eq!(counted["unreadable_files"][0]["path"], path("broken.log.gz"));
    let (code, _, errors) = run(&mut keyward(&["import", "--map", "combined", &path("missing.log")]));
    assert_eq!(code, 66, "{errors}");
    fs::write(path("empty.log"), "nonsense\n").unwrap();
    let (code, _, errors) = run(&mut keyward(&["import", "--map", "combined", &path("empty.log")]));
    assert_eq!(code, 65, "{errors}");
    let (code, _, errors) = run(&mut keyward(&["import", "--map", "cloudtrial", &path("access.log")]));
    assert_eq!(code, 66, "{errors}");
    assert!(errors.contains("cloudtrail, litellm"), "{errors}");
    fs::write(path("map.toml"), "[fields]\nkeyid = '/k'\n").unwrap();
    let (code, _, errors) = run(&mut keyward(&["import", "--map", &path("map.toml"), &path("access.log")]));
    assert_eq!(code, 78, "{errors}");
    assert!(errors.contains("fields.keyid is no field"), "{errors}");
}
