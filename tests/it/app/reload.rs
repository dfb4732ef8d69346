//! Settings that change while the service runs: upon SIGHUP, and when their file changes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{DEADLINE, Served, client, keyward, operator::token};
use crate::support::eventually;
use keyward::clock;

/// A service with a file of settings and a token for its first administrator.
struct Scene {
    directory: tempfile::TempDir,
    served: Served,
    admin: (String, String),
}

impl Scene {
    /// Serves with the settings, and looks at the file every so many seconds; 0: upon SIGHUP only.
    fn start(settings: &str, reload_seconds: u8) -> Self {
        let (directory, admin) = (tempfile::tempdir().unwrap(), token("admin"));
        let file = directory.path().join("keyward.toml");
        std::fs::write(&file, format!("{settings}\n{}", admin.1)).unwrap();
        let store = format!("embedded:{}", directory.path().join("data").display());
        let mut command =
            keyward(&["--listen", "127.0.0.1:0", "--store", &store, "--config", file.to_str().unwrap()]);
        command.env("KEYWARD__SERVER__RELOAD_SECONDS", reload_seconds.to_string());
        let served = Served::start_with(&mut command);
        Self { directory, served, admin }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the settings beside the administrator's token.
    fn write(&self, settings: &str) {
        write_whole(&self.path("keyward.toml"), &format!("{settings}\n{}", self.admin.1));
    }

    /// Writes the settings and has them read.
    fn reload(&self, settings: &str) {
        self.write(settings);
        self.served.signal("HUP");
    }

    async fn get_with(&self, token: &str, path: &str) -> (u16, Value) {
        let request = client().get(format!("{}{path}", self.served.url)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.get_with(&self.admin.0, path).await.1
    }

    async fn status(&self, token: &str) -> u16 {
        self.get_with(token, "/v1/whoami").await.0
    }

    /// The evidence of the events of a type, newest first.
    async fn evidence(&self, kind: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?type={kind}")).await;
        page["items"].as_array().unwrap().iter().map(|event| event["evidence"].clone()).collect()
    }

    /// Waits until the log has so many events of a type, and returns the evidence of the newest.
    async fn newest(&self, kind: &str, count: usize) -> Value {
        eventually(kind, async || self.evidence(kind).await.len() >= count).await;
        self.evidence(kind).await.remove(0)
    }
}

/// Puts a file in its place in one step.
fn write_whole(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[tokio::test]
async fn a_new_token_is_let_in_and_one_that_is_gone_is_refused_with_its_open_stream() {
    let ((first, first_entry), (second, second_entry)) = (token("read"), token("read"));
    let scene = Scene::start(&first_entry, 0);
    assert_eq!((scene.status(&first).await, scene.status(&second).await), (200, 401));
    let stream = format!("{}/v1/events/stream", scene.served.url);
    let mut stream = client().get(stream).bearer_auth(&first).send().await.unwrap();
    assert_eq!(stream.status(), 200);

    scene.reload(&second_entry);
    let told = scene.newest("SETTINGS_RELOADED", 1).await;
    assert_eq!((&told["changed"], &told["wants_restart"]), (&json!(["auth.tokens"]), &json!([])));
    assert_eq!((scene.status(&first).await, scene.status(&second).await), (401, 200));
    let ended = clock::timeout(DEADLINE, async { while stream.chunk().await.unwrap().is_some() {} }).await;
    assert!(ended.is_ok(), "the stream goes on without a right to it");
}

#[tokio::test]
async fn settings_that_are_wrong_change_nothing_and_every_mistake_is_named() {
    let (reader, entry) = token("read");
    let scene = Scene::start(&entry, 0);
    scene.reload(
        "[policy]\npreset = 'stritc'\n[store]\npartitions = 0\n\
         [[sinks]]\nname = 'out'\ntype = 'file'\npath = '/nowhere/at/all'",
    );
    let told = scene.newest("SETTINGS_RELOAD_FAILED", 1).await;
    let mistakes = told["mistakes"].to_string();
    assert!(mistakes.contains("`policy.preset`") && mistakes.contains("`store.partitions`"), "{mistakes}");
    assert!(
        mistakes.contains("did you mean `strict`?") && mistakes.contains("keyward.toml, line "),
        "{mistakes}"
    );
    let names_both = |line: &String| line.contains("`policy.preset`") && line.contains("`store.partitions`");
    let is_logged = || scene.served.log().iter().any(|line| line.contains("ERROR") && names_both(line));
    eventually("one line of the log names both", async || is_logged()).await;
    assert_eq!(scene.status(&reader).await, 200, "the tokens before stay in force");

    // Right by themselves, and yet not to be had.
    scene.reload("[[sinks]]\nname = 'out'\ntype = 'file'\npath = '/nowhere/at/all'");
    let told = scene.newest("SETTINGS_RELOAD_FAILED", 2).await;
    assert!(told["mistakes"].to_string().contains("sinks.out"), "{told}");
    scene.served.signal("HUP");
    let failures =
        || scene.served.log().iter().filter(|line| line.contains("the settings are wrong")).count();
    eventually("they are read again", async || failures() == 3).await;
    write_whole(&scene.path("keyward.toml"), "");
    scene.served.signal("HUP");
    // The same mistakes are told once.
    let told = scene.newest("SETTINGS_RELOAD_FAILED", 3).await;
    assert!(told["mistakes"].to_string().contains("`auth.tokens`"), "{told}");
    std::fs::remove_file(scene.path("keyward.toml")).unwrap();
    scene.served.signal("HUP");
    let told = scene.newest("SETTINGS_RELOAD_FAILED", 4).await;
    assert!(told["mistakes"].to_string().contains("cannot read the settings"), "{told}");
    assert_eq!(scene.status(&reader).await, 200);
    assert_eq!(scene.evidence("SETTINGS_RELOADED").await, [Value::Null; 0]);
}

#[tokio::test]
async fn policy_limits_alerts_and_sinks_of_the_file_are_in_force_and_what_wants_a_restart_is_named() {
    let scene =
        Scene::start("[plans.free]\nlimits = [{ unit = 'requests', window = '1min', limit = 60 }]", 0);
    let (before, out) = (scene.get("/v1/policy").await, scene.path("events.jsonl"));
    scene.reload(&format!(
        "alerts = []\n[policy]\nenforcement = 'observe'\n[server]\nmax_connections = 99\n\
         [plans.free]\nlimits = [{{ unit = 'requests', window = '1min', limit = 61 }}]\n\
         [[sinks]]\nname = 'out'\ntype = 'file'\npath = '{}'\n",
        out.display()
    ));
    let told = scene.newest("SETTINGS_RELOADED", 1).await;
    let changed = json!(["alerts", "plans.free.limits", "policy.enforcement", "sinks"]);
    assert_eq!((&told["changed"], &told["wants_restart"]), (&changed, &json!(["server.max_connections"])));
    let policy = scene.get("/v1/policy").await;
    assert_eq!(policy["enforcement"], "observe");
    assert_ne!(policy["version"], before["version"]);
    assert_eq!(scene.get("/v1/plans/free").await["limits"][0]["limit"], 61);
    assert_eq!(scene.get("/v1/alerts").await["items"], json!([]));
    let sinks = scene.get("/v1/sinks").await;
    assert_eq!((&sinks["items"][0]["name"], &sinks["items"][0]["error"]), (&"out".into(), &Value::Null));

    let ban = json!({ "duration_seconds": 60, "reason": "for the sink" });
    let gets_events = async || {
        // A new sink begins with what comes from then on, at a moment that nobody knows.
        let request =
            client().put(format!("{}/v1/bans/key:sent", scene.served.url)).bearer_auth(&scene.admin.0);
        assert!(request.json(&ban).send().await.unwrap().status().is_success());
        std::fs::read_to_string(&out).unwrap_or_default().contains("key:sent")
    };
    eventually("the new sink gets events", gets_events).await;

    // A sink that is gone gets nothing more, and what wants a restart is named again.
    scene.reload("[server]\nmax_connections = 99");
    let told = scene.newest("SETTINGS_RELOADED", 2).await;
    assert_eq!(told["wants_restart"], json!(["server.max_connections"]));
    assert_eq!(scene.get("/v1/sinks").await["items"], json!([]));
    assert_eq!(scene.get("/v1/policy").await["version"], before["version"]);
}

#[tokio::test]
async fn a_policy_that_was_put_wins_over_the_file_that_is_read_again() {
    let scene = Scene::start("", 0);
    let mut policy = scene.get("/v1/policy").await;
    policy["ladder"]["grace_seconds"] = 77.into();
    let request = client().put(format!("{}/v1/policy", scene.served.url)).bearer_auth(&scene.admin.0);
    assert!(request.json(&policy).send().await.unwrap().status().is_success());
    scene.reload("[policy.ladder]\ngrace_seconds = 99");
    scene.newest("SETTINGS_RELOADED", 1).await;
    assert_eq!(scene.get("/v1/policy").await["ladder"]["grace_seconds"], 77);
}

#[tokio::test]
async fn a_file_that_has_changed_is_read_again_without_a_signal() {
    let (reader, entry) = token("read");
    let scene = Scene::start("", 1);
    assert_eq!(scene.status(&reader).await, 401);
    scene.write(&entry);
    eventually("the new token is let in", async || scene.status(&reader).await == 200).await;
    scene.write("");
    eventually("the token that is gone is refused", async || scene.status(&reader).await == 401).await;
}
