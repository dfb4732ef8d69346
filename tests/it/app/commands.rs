//! What operators keep in a running service, from the command line: the same acts as over the API.

use serde_json::{Value, json};

use super::{Served, client, keyward, run};

/// A service, and commands that ask it.
struct Scene {
    served: Served,
    _directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { served: Served::start(directory.path()), _directory: directory }
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (code, printed, stderr) = run(keyward(arguments).env("KEYWARD_URL", &self.served.url));
        assert!(code == 0 || stderr.lines().count() == 1, "{arguments:?}: {stderr}");
        (code, printed, stderr)
    }

    /// What a command prints that succeeds.
    fn good(&self, arguments: &[&str]) -> String {
        let (code, printed, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        printed
    }

    /// The same, as JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.good(&[arguments, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }

    /// The code and the one line of a command that fails.
    fn bad(&self, arguments: &[&str]) -> (i32, String) {
        let (code, _, stderr) = self.run(arguments);
        (code, stderr)
    }
}

const LIMITS: &str = r#"limits=[{"unit":"requests","window":"1min","limit":60}]"#;

#[test]
fn plans_projects_and_keys_are_made_changed_shown_and_deleted() {
    let scene = Scene::new();
    assert!(scene.good(&["plan", "set", "free", LIMITS]).contains("name=free\n"));
    scene.good(&["project", "set", "analytics", "plan=free", "budget_usd=250.5", "owner=data team"]);
    let changed = scene.json(&["project", "set", "analytics", "budget_usd=300", "owner=null"]);
    assert_eq!((&changed["budget_usd"], &changed["owner"]), (&"300".into(), &Value::Null));
    assert_eq!(changed["plan"], "free", "what is not named stays");
    scene.good(&["key", "set", "k-one", "project=analytics", "expires=30d", "label=Nightly report"]);

    let listed = scene.good(&["key", "list"]);
    let mut lines = listed.lines();
    assert!(lines.next().unwrap().starts_with("key_id  project    plan"), "{listed}");
    assert!(lines.next().unwrap().starts_with("k-one   analytics  -"), "{listed}");
    assert!(scene.good(&["plan", "list"]).contains("60 requests/1min"));
    assert_eq!(scene.json(&["project", "list"])["id"], "analytics");
    assert!(scene.good(&["key", "show", "k-one"]).contains("label=Nightly report\n"));

    let (code, line) = scene.bad(&["plan", "delete", "free"]);
    assert!(code == 65 && line.contains("in use by project:analytics"), "{line}");
    let (code, line) = scene.bad(&["project", "set", "analytics", "plan=gold", "colour=red"]);
    assert!(code == 65 && line.contains("/colour"), "{line}");
    let (code, line) = scene.bad(&["key", "show", "k-two"]);
    assert!(code == 66 && line.contains("there is no key k-two"), "{line}");
    assert_eq!(scene.bad(&["project", "set", "analytics"]).0, 2);
    assert_eq!(scene.bad(&["project", "set", "analytics", "plan"]).0, 2);

    assert_eq!(scene.good(&["key", "delete", "k-one"]), "key k-one deleted\n");
    assert_eq!(scene.json(&["project", "delete", "analytics"]), json!({ "deleted": "analytics" }));
    assert_eq!(scene.bad(&["key", "delete", "k-one"]).0, 66);
}

#[test]
fn a_file_takes_the_place_of_the_whole_and_fields_are_laid_over_it() {
    let scene = Scene::new();
    scene.good(&["project", "set", "shop", "budget_usd=10", "owner=us"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shop.json");
    std::fs::write(&path, r#"{"budget_usd":20}"#).unwrap();
    let file = path.to_str().unwrap();
    let put = scene.json(&["project", "set", "shop", "timezone=Asia/Tokyo", "--file", file]);
    assert_eq!((&put["budget_usd"], &put["timezone"]), (&"20".into(), &"Asia/Tokyo".into()));
    assert_eq!(put["owner"], Value::Null, "what the file does not have is gone");
    std::fs::write(&path, "[1]").unwrap();
    let (code, line) = scene.bad(&["project", "set", "shop", "--file", file]);
    assert!(code == 65 && line.contains("is no JSON object"), "{line}");
    assert_eq!(scene.bad(&["project", "set", "shop", "--file", "missing.json"]).0, 66);
}

#[test]
fn the_secret_of_a_key_that_is_issued_is_the_first_line_and_is_shown_this_once() {
    let scene = Scene::new();
    let issued = scene.good(&["key", "issue", "label=first"]);
    let secret = issued.lines().next().unwrap();
    assert!(secret.starts_with("kwk_") && issued.contains("label=first\n"), "{issued}");
    let key_id = issued.lines().find_map(|line| line.strip_prefix("key_id=")).unwrap();
    let rotated = scene.json(&["key", "rotate", key_id, "--overlap", "1h"]);
    assert!(rotated["secret"].as_str().unwrap().starts_with("kwk_") && rotated["replaces"] == key_id);
    let shown = scene.json(&["key", "show", key_id]);
    assert_eq!(shown["replaced_by"], rotated["key_id"]);
    assert!(!shown.to_string().contains(secret));
    // A secret that was taken for an id is not repeated.
    let (code, line) = scene.bad(&["key", "show", secret]);
    assert!(code == 66 && !line.contains(secret), "{line}");
}

#[test]
fn entries_of_the_allowlist_end_after_a_length_or_at_a_time() {
    let scene = Scene::new();
    let put = scene.json(&["allow", "set", "pair:SG~RO", "reason=office in Bucharest", "expires=30d"]);
    assert_eq!(put["entry"], "pair:SG~RO");
    assert!(put["expires"].is_string());
    scene.good(&["allow", "set", "ip:203.0.113.0/24", "reason=load test", "expires=2099-01-01T00:00:00Z"]);
    let listed = scene.good(&["allow", "list"]);
    assert!(
        listed.contains("2099-01-01T00:00:00.000Z") && listed.contains("office in Bucharest"),
        "{listed}"
    );
    let (code, line) = scene.bad(&["allow", "set", "pair:SG~RO", "reason=x", "expires=soon"]);
    assert!(code == 65 && line.contains("/expires"), "{line}");
    scene.good(&["allow", "delete", "pair:SG~RO"]);
    assert_eq!(scene.bad(&["allow", "show", "pair:SG~RO"]).0, 66);
}

#[test]
fn settings_of_the_policy_are_changed_one_by_one_or_as_a_whole() {
    let scene = Scene::new();
    let burst = ["policy", "show", "detectors.traffic_burst"];
    assert!(scene.good(&burst).contains("detectors.traffic_burst.mode=enforce\n"));
    let former = scene.json(&["policy", "show"]);
    let set = ["policy", "set", "detectors.traffic_burst.mode=shadow", "enforcement=observe"];
    let said = scene.good(&set);
    let policy = scene.json(&["policy", "show"]);
    assert!(said.contains(policy["version"].as_str().unwrap()), "{said}");
    assert_eq!(policy["enforcement"], "observe");
    assert!(scene.good(&burst).contains("mode=shadow\n"));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.json");
    std::fs::write(&path, former.to_string()).unwrap();
    let (code, line) = scene.bad(&["policy", "set", "--file", path.to_str().unwrap()]);
    assert!(code == 65 && line.to_lowercase().contains("changed"), "{line}");
    let mut whole = policy;
    whole["enforcement"] = "enforce".into();
    std::fs::write(&path, whole.to_string()).unwrap();
    scene.good(&["policy", "set", "--file", path.to_str().unwrap()]);
    assert_eq!(scene.json(&["policy", "show"])["enforcement"], "enforce");

    let (code, line) = scene.bad(&["policy", "set", "detectors.traffic_brust.mode=shadow"]);
    assert!(code == 2 && line.contains("no field detectors.traffic_brust.mode"), "{line}");
    let (code, line) = scene.bad(&["policy", "set", "detectors.traffic_burst.mode=loud"]);
    assert!(code == 65 && line.contains("/detectors/traffic_burst/mode"), "{line}");
    assert_eq!(scene.bad(&["policy", "show", "detectors.nothing"]).0, 66);
}

#[test]
fn another_policy_is_tried_and_former_ones_are_listed() {
    let scene = Scene::new();
    let change = ["detectors.traffic_burst.mode=shadow", "limits.tokens.1min=7"];
    let tried = scene.good(&[&["policy", "preview"][..], &change, &["--since", "1h"]].concat());
    let first = tried.lines().next().unwrap();
    assert!(first.starts_with("0 findings in 0 events from "), "{tried}");
    assert!(tried.lines().last().unwrap().ends_with(": limits.tokens.1min"), "{tried}");
    assert!(scene.good(&["policy", "versions"]).is_empty(), "nothing was put in force");
    let (code, line) = scene.bad(&["policy", "preview", "ladder.ban_factor=0.5"]);
    assert!(code == 65 && line.contains("/ladder/ban_factor"), "{line}");

    scene.good(&[&["policy", "set"][..], &change[..1]].concat());
    let listed = scene.good(&["policy", "versions"]);
    let version = scene.json(&["policy", "show"])["version"].as_str().unwrap().to_owned();
    let [head, changed] = listed.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(head.contains(&version) && head.ends_with("  by local"), "{listed}");
    assert_eq!(changed, r#"  detectors.traffic_burst.mode: "enforce" -> "shadow""#);
}

#[tokio::test]
async fn usage_limits_and_verdicts_are_shown_for_a_span_of_time() {
    let scene = Scene::new();
    let record = json!({
        "key_id": "k-one", "project_id": "analytics", "endpoint": "/v1/chat/completions", "model": "gpt-4.1",
        "prompt_tokens": 812, "completion_tokens": 120, "source_ip": "203.0.113.7",
    });
    let answer = client().post(format!("{}/v1/record", scene.served.url)).json(&record).send().await.unwrap();
    assert!(answer.status().is_success());

    let limits = scene.good(&["limits", "key:k-one"]);
    assert!(limits.lines().next().unwrap().contains("remaining"), "{limits}");
    assert!(limits.lines().any(|line| line.contains("tokens") && line.contains("932")), "{limits}");
    assert_eq!(scene.json(&["limits", "key:k-one"])["subject"], "key:k-one");
    assert_eq!(scene.bad(&["limits", "ip:203.0.113.7"]).0, 65);

    let usage = scene.json(&["usage", "--by", "project", "--since", "1h", "--project", "analytics"]);
    assert_eq!((&usage["total"]["requests"], &usage["rows"][0]["project"]), (&1.into(), &"analytics".into()));
    let table = scene.good(&["usage", "--by", "project,model", "--bucket", "day", "--since", "1h"]);
    assert!(table.contains("analytics  gpt-4.1  1"), "{table}");
    assert!(table.lines().last().unwrap().starts_with("total"), "{table}");
    assert!(scene.good(&["usage", "--since", "1h", "--csv"]).starts_with("start,requests,"));
    assert!(scene.good(&["usage", "--forecast"]).contains("month.so_far.requests=1\n"));
    let (code, line) = scene.bad(&["usage", "--by", "colour"]);
    assert!(code == 65 && line.contains("/group_by"), "{line}");
    assert_eq!(scene.bad(&["usage", "--since", "yesterday"]).0, 2);

    scene.good(&["ban", "key:k-one", "--for", "1h"]);
    let event = scene.json(&["events", "--type", "TEMPORARY_BAN"]);
    let id = event["id"].as_str().unwrap();
    let words = scene.good(&["feedback", "give", id, "attack", "--note", "seen in a paste"]);
    assert_eq!(words, format!("event {id} was an attack\n"));
    let given = scene.json(&["feedback", "list", "--since", "1h"]);
    assert_eq!(given["type"], "FEEDBACK_GIVEN");
    assert_eq!(scene.good(&["feedback", "list", "--since", "2h", "--until", "1h"]), "");
    assert_eq!(scene.bad(&["feedback", "give", "e0-1-1", "benign"]).0, 66);
    assert_eq!(scene.bad(&["feedback", "give", id, "perhaps"]).0, 2);
}
