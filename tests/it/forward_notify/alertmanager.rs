//! Prometheus Alertmanager itself: what it holds, and what it tells by a webhook.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use keyward::domain::{MINUTE, SECOND, calendar::parse_millis};
use serde_json::Value;

use super::{
    fake::{Fake, anything},
    *,
};
use crate::{app::client, redis_server::free_port, support::eventually};

/// A running Alertmanager; it ends with the pipe to this process.
struct Server {
    url: String,
    watchdog: Child,
    _directory: tempfile::TempDir,
}

impl Server {
    /// One that tells what it gets, grouped by name, to a webhook.
    async fn start(webhook: &str) -> Self {
        const SCRIPT: &str = r#""$@" </dev/null >log 2>&1 & read -r _; kill -9 $!; wait $!"#;
        let directory = tempfile::tempdir().unwrap();
        let config = format!(
            "route: {{receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s, \
             repeat_interval: 1h}}\n\
             receivers: [{{name: hook, webhook_configs: [{{url: '{webhook}', send_resolved: true}}]}}]\n"
        );
        std::fs::write(directory.path().join("config.yml"), config).unwrap();
        let port = free_port();
        let watchdog = Command::new("sh")
            .args(["-c", SCRIPT, "sh", program(), "--config.file=config.yml", "--storage.path=data"])
            .args(["--cluster.listen-address=", &format!("--web.listen-address=127.0.0.1:{port}")])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self { url: format!("http://127.0.0.1:{port}"), watchdog, _directory: directory };
        let ready = format!("{}/-/ready", server.url);
        eventually("Alertmanager is ready", async || {
            client().get(&ready).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        server
    }

    /// The alerts that are active.
    async fn alerts(&self) -> Vec<Value> {
        let url = format!("{}/api/v2/alerts?active=true", self.url);
        client().get(url).send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Debian calls it otherwise than its makers do.
fn program() -> &'static str {
    let names = ["prometheus-alertmanager", "alertmanager"];
    let is_there = |name: &&str| {
        let places = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&places).any(|place| Path::new(&place).join(name).is_file())
    };
    names
        .into_iter()
        .find(is_there)
        .expect("Alertmanager is needed (apt-get install prometheus-alertmanager); scripts/test provides it")
}

fn label<'a>(alert: &'a Value, name: &str) -> &'a str {
    alert["labels"][name].as_str().unwrap()
}

#[tokio::test]
async fn alertmanager_takes_groups_and_resolves_what_it_is_told() {
    let hook = Fake::start(anything).await;
    let server = Server::start(&hook.url).await;
    let mut channel =
        Channel::open("alertmanager", &format!("url = \"{}\"\ngroup_wait_seconds = 0", server.url));
    channel.take(&incident("a")).await;
    channel.take(&incident("b")).await;
    assert_eq!(channel.told_after(0).await, 2, "both in one message, and once more since that is new here");
    let alerts = server.alerts().await;
    assert_eq!(alerts.len(), 2);
    let a = alerts.iter().find(|alert| label(alert, "subject") == "key:a").unwrap();
    assert_eq!(
        (label(a, "alertname"), label(a, "severity"), label(a, "subject_kind")),
        ("KeywardImpossibleTravel", "critical", "key")
    );
    let summary = a["annotations"]["summary"].as_str().unwrap();
    assert!(summary.starts_with("[CRITICAL] Impossible travel: key:a banned until "), "{summary}");
    assert!(a["annotations"]["description"].as_str().unwrap().contains("Undo: keyward unban key:a"));
    eventually("both are told in one message", async || {
        hook.taken().iter().any(|taken| taken.body["alerts"].as_array().unwrap().len() == 2)
    })
    .await;

    channel.take(&[expired("a")]).await;
    assert_eq!(channel.told_after(0).await, 1);
    eventually("one is resolved", async || {
        let alerts = server.alerts().await;
        alerts.len() == 1 && label(&alerts[0], "subject") == "key:b"
    })
    .await;
    let resolved = |taken: &super::fake::Taken| {
        let alerts = taken.body["alerts"].as_array().unwrap().clone();
        alerts.iter().any(|alert| alert["status"] == "resolved" && label(alert, "subject") == "key:a")
    };
    eventually("that it is resolved is told", async || hook.taken().iter().any(resolved)).await;

    let mut denied = event(EventType::KeyNotAllowed, Severity::High, "c");
    for severity in [Severity::High, Severity::Critical] {
        denied.severity = severity;
        channel.take(std::slice::from_ref(&denied)).await;
        assert_eq!(channel.told_after(0).await, 1);
    }
    eventually("what got worse is one alert", async || {
        let alerts = server.alerts().await;
        let severities: Vec<_> =
            alerts.iter().filter(|a| label(a, "subject") == "key:c").map(|a| label(a, "severity")).collect();
        severities == ["critical"]
    })
    .await;
}

#[tokio::test]
async fn what_goes_on_is_told_again_long_before_alertmanager_forgets_it() {
    let hook = Fake::start(anything).await;
    let server = Server::start(&hook.url).await;
    let mut channel =
        Channel::open("alertmanager", &format!("url = \"{}\"\ngroup_wait_seconds = 0", server.url));
    channel.take(&incident("a")).await;
    channel.told_after(0).await;
    let ends = async || {
        let alerts = server.alerts().await;
        assert_eq!(alerts.len(), 1, "the same alert, not another");
        let time = |name: &str| parse_millis(alerts[0][name].as_str().unwrap()).unwrap();
        (time("startsAt"), time("endsAt"))
    };
    let (started, before) = ends().await;
    assert_eq!(channel.told_after(50).await, 0);
    assert_eq!(channel.told_after(10).await, 1);
    let (again, after) = ends().await;
    assert_eq!(started, again);
    assert!((55..=90).contains(&((after - before) / SECOND)), "{before} {after}");
    assert!(after - channel.time.now() > 4 * MINUTE, "four posts may fail");
}
