//! A bouncer of CrowdSec, as Debian packages it, enforces bans of addresses. `scripts/proxies` provides it.

use std::{path::Path, process::Child};

use keyward::http::{Scope, new_token};
use serde_json::{Value, json};

use crate::{
    app::{Served, client, keyward},
    children::{provided, watched},
    support::eventually,
};

/// A running bouncer; it ends when this is dropped, or when the process ends.
struct Bouncer(Child);

impl Bouncer {
    /// Starts one that asks every second and has a script note what it is told in `noted`.
    fn start(url: &str, key: &str, directory: &Path) -> Self {
        let script = directory.join("note");
        std::fs::write(&script, "#!/bin/sh\necho \"$1 $2 $3 $4\" >>\"$(dirname \"$0\")/noted\"\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&script, mode).unwrap();
        let here = directory.display();
        let settings = format!(
            "bin_path: {here}/note\npiddir: {here}/\nupdate_frequency: 1s\ncache_retention_duration: 1s\n\
             daemonize: false\nlog_mode: stdout\nlog_level: info\napi_url: {url}/\napi_key: {key}\n\
             prometheus:\n  enabled: false\n"
        );
        std::fs::write(directory.join("bouncer.yaml"), settings).unwrap();
        let mut command = watched(directory, "TERM");
        command.arg(provided("proxies", "root/usr/bin/crowdsec-custom-bouncer"));
        command.arg("-c").arg(directory.join("bouncer.yaml"));
        Self(command.spawn().unwrap())
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_bouncer_of_crowdsec_adds_and_deletes_what_is_banned_and_lifted() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let (admin, of_admin) = new_token(Some("ops"), &[Scope::Admin], None).unwrap();
    let (key, of_bouncer) = new_token(Some("bouncer"), &[Scope::Read], None).unwrap();
    let entry = |token: &keyward::config::Token| {
        format!(
            "[[auth.tokens]]\nid = \"{}\"\nhash = \"{}\"\nscopes = {:?}\n",
            token.id, token.hash, token.scopes
        )
    };
    std::fs::write(here.join("keyward.toml"), entry(&of_admin) + &entry(&of_bouncer)).unwrap();
    let store = format!("embedded:{}", here.join("data").display());
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--config"]);
    let service = Served::start_with(command.arg(here.join("keyward.toml")));
    let http = client();
    let act = async |method: reqwest::Method, subject: &str, body: Value| {
        let url = format!("{}/v1/bans/{subject}", service.url);
        let request = http.request(method, url).bearer_auth(admin.as_str()).json(&body);
        request.send().await.unwrap().error_for_status().unwrap();
    };
    let ban = async |subject: &str| {
        act(reqwest::Method::PUT, subject, json!({ "duration_seconds": 3600, "reason": "abuse" })).await;
    };
    ban("ip:203.0.113.7").await;
    ban("ip:198.51.100.0%2F24").await;
    ban("key:team-a").await;
    let _bouncer = Bouncer::start(&service.url, &key, here);
    let read = |name: &str| std::fs::read_to_string(here.join(name)).unwrap_or_default();
    let noted = |what: &str| read("noted").lines().any(|line| line.starts_with(what));
    eventually("both are added", async || noted("add 203.0.113.7 ") && noted("add 198.51.100.0/24 ")).await;
    let added = read("noted");
    let first = added.lines().find(|line| line.starts_with("add 203.0.113.7 ")).unwrap().to_owned();
    let seconds: u64 = first.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&seconds), "{first}");
    assert!(first.ends_with(" abuse"), "{first}");
    assert!(!added.contains("team-a"), "a firewall knows no keys: {added}");
    act(reqwest::Method::DELETE, "ip:203.0.113.7", json!({})).await;
    ban("ip:203.0.113.9").await;
    eventually("one is deleted and one is added", async || {
        noted("del 203.0.113.7 ") && noted("add 203.0.113.9 ")
    })
    .await;
    let lines = read("noted");
    assert_eq!(lines.lines().filter(|line| line.starts_with("add 198.51.100.0/24 ")).count(), 1, "{lines}");
    assert!(!read("said").contains("level=error"), "{}", read("said"));
    let probe = http.head(format!("{}/v1/decisions", service.url)).header("x-api-key", key.as_str());
    assert_eq!(probe.send().await.unwrap().status(), 200);
    let refused = http.get(format!("{}/v1/decisions?ip=198.51.100.9", service.url));
    assert_eq!(refused.header("x-api-key", "wrong").send().await.unwrap().status(), 401);
    let asked = http.get(format!("{}/v1/decisions?ip=198.51.100.9", service.url));
    let asked = asked.header("x-api-key", key.as_str()).send().await.unwrap();
    let asked: Value = asked.json().await.unwrap();
    assert_eq!((&asked[0]["value"], asked.as_array().unwrap().len()), (&json!("198.51.100.0/24"), 1));
}
