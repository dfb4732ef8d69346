//! Tokens that are made and revoked at the command line, while the service runs.

use reqwest::Method;
use serde_json::Value;

use super::{DEADLINE, Served, client, keyward, operator::token, run};
use crate::{redis_server::Server, support::within};
use keyward::clock;

#[tokio::test]
async fn a_token_is_made_listed_and_revoked_and_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (admin, entry) = token("admin");
    let config = dir.path().join("keyward.toml");
    std::fs::write(&config, entry).unwrap();
    let store = format!("embedded:{}", dir.path().join("data").display());
    let serve = || {
        let config = config.to_str().unwrap();
        Served::start_with(&mut keyward(&["--listen", "127.0.0.1:0", "--store", &store, "--config", config]))
    };
    let ask = |served: &Served, token: &str, arguments: &[&str]| {
        run(keyward(arguments).env("KEYWARD_URL", &served.url).env("KEYWARD_TOKEN", token))
    };
    let served = serve();
    let make = ["token", "create", "--id", "alice", "--scope", "read,bans:write", "--expires", "1h"];
    let (code, printed, stderr) = ask(&served, &admin, &make);
    assert_eq!(code, 0, "{stderr}");
    let alice = printed.trim().to_owned();
    assert!(alice.starts_with("kw_alice.") && printed.lines().count() == 1, "{printed}");
    assert_eq!(ask(&served, &admin, &make).0, 65, "there is one already");
    assert_eq!(ask(&served, &alice, &make).0, 77, "it may not make others");
    assert_eq!(ask(&served, &alice, &["ban", "ip:203.0.113.9", "--for", "1h"]).0, 0);

    served.terminate();
    let served = serve();
    assert_eq!(ask(&served, &alice, &["status"]).0, 0);
    let (_, printed, _) = ask(&served, &admin, &["token", "list"]);
    assert!(printed.lines().any(|line| line.starts_with("alice") && line.contains("stored")), "{printed}");
    let (_, printed, _) = ask(&served, &admin, &["token", "list", "--json"]);
    let listed: Value = serde_json::from_str(printed.lines().next().unwrap()).unwrap();
    assert!(listed["id"].is_string() && !printed.contains(&alice), "{printed}");

    let stream = format!("{}/v1/events/stream", served.url);
    let mut stream = client().get(stream).bearer_auth(&alice).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    assert_eq!(ask(&served, &admin, &["token", "revoke", "alice"]).0, 0);
    assert_eq!(ask(&served, &alice, &["status"]).0, 77);
    assert_eq!(ask(&served, &admin, &["token", "revoke", "alice"]).0, 66);
    let ended = clock::timeout(DEADLINE, async { while stream.chunk().await.unwrap().is_some() {} }).await;
    assert!(ended.is_ok(), "the stream goes on without a right to it");
}

#[tokio::test]
async fn a_token_that_is_revoked_on_one_instance_lets_nobody_in_on_another() {
    let (server, dir) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let (admin, entry) = token("admin");
    let config = dir.path().join("keyward.toml");
    std::fs::write(&config, entry).unwrap();
    let serve = |name: &str| {
        let (data, config) = (dir.path().join(name), config.to_str().unwrap());
        let mut command = keyward(&["--listen", "127.0.0.1:0", "--store", &server.url(), "--config", config]);
        command.env("KEYWARD_PEPPER", "0123456789abcdef0123").env("KEYWARD__SECRETS__DATA_DIRECTORY", data);
        Served::start_with(&mut command)
    };
    let (one, other) = (serve("one"), serve("other"));
    let ask = |served: &Served, method: Method, path: &str, token: &str| {
        let request = client().request(method, format!("{}{path}", served.url)).bearer_auth(token);
        request.header("content-type", "application/json")
    };
    let made = ask(&one, Method::POST, "/v1/tokens", &admin).body(r#"{"id":"alice","scopes":["read"]}"#);
    let made: Value = made.send().await.unwrap().json().await.unwrap();
    let alice = made["token"].as_str().unwrap().to_owned();
    let status = async |served: &Served| {
        ask(served, Method::GET, "/v1/bans", &alice).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status(&one).await, 200);
    within(DEADLINE, "the other instance lets it in", async || status(&other).await == 200).await;
    let revoked = ask(&one, Method::DELETE, "/v1/tokens/alice", &admin).send().await.unwrap();
    assert_eq!((revoked.status().as_u16(), status(&one).await), (204, 401));
    within(DEADLINE, "the other instance refuses it", async || status(&other).await == 401).await;
}

#[tokio::test]
async fn a_service_that_had_tokens_stays_closed_when_the_settings_have_none() {
    let dir = tempfile::tempdir().unwrap();
    let (admin, entry) = token("admin");
    let config = dir.path().join("keyward.toml");
    let store = format!("embedded:{}", dir.path().join("data").display());
    let serve = |settings: &str| {
        std::fs::write(&config, settings).unwrap();
        let config = config.to_str().unwrap();
        Served::start_with(&mut keyward(&["--listen", "127.0.0.1:0", "--store", &store, "--config", config]))
    };
    let ask = |served: &Served, token: &str, arguments: &[&str]| {
        run(keyward(arguments).env("KEYWARD_URL", &served.url).env("KEYWARD_TOKEN", token)).0
    };
    let served = serve(&entry);
    assert_eq!(ask(&served, &admin, &["token", "create", "--id", "alice", "--scope", "read"]), 0);
    assert_eq!(ask(&served, &admin, &["token", "revoke", "alice"]), 0);
    served.terminate();
    let served = serve("");
    assert_eq!(ask(&served, &admin, &["status"]), 77);
    assert!(
        served.log().iter().any(|line| line.contains("there is no token any more")),
        "{:?}",
        served.log()
    );
}
