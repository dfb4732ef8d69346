//! Tokens that are made and revoked at the command line, while the service runs.

use serde_json::Value;

use super::{DEADLINE, Served, client, keyward, operator::token, run};
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
