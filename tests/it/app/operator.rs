//! An operator at the command line, against a service that asks for tokens.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;

use super::{DEADLINE, Served, client, keyward, run};

use keyward::clock;

/// A token of some scopes, and its entry as TOML.
pub(super) fn token(scopes: &str) -> (String, String) {
    let (code, printed, _) = run(&mut keyward(&["token", "new", "--scope", scopes, "--expires", "1h"]));
    assert_eq!(code, 0);
    let (token, snippet) = printed.split_once('\n').unwrap();
    (token.to_owned(), snippet.to_owned())
}

#[test]
fn an_operator_bans_looks_and_lifts_within_the_scopes_of_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let ((operator, first), (reader, second)) = (token("read,bans:write"), token("read"));
    let config = dir.path().join("keyward.toml");
    std::fs::write(&config, format!("{first}\n{second}")).unwrap();
    let store = format!("embedded:{}", dir.path().join("data").display());
    let config = config.to_str().unwrap();
    let served =
        Served::start_with(&mut keyward(&["--listen", "127.0.0.1:0", "--store", &store, "--config", config]));
    let ask = |token: &str, arguments: &[&str]| {
        run(keyward(arguments).env("KEYWARD_URL", &served.url).env("KEYWARD_TOKEN", token))
    };
    let ban = ["ban", "ip:203.0.113.0/24", "--for", "30m", "--reason", "scraping"];

    assert_eq!(ask("", &["status", "--health"]).0, 0, "a health check needs no token");
    assert_eq!(ask("kw_000000000000.wrong", &ban).0, 77);
    assert_eq!(ask(&reader, &ban).0, 77);

    let (code, printed, stderr) = ask(&operator, &ban);
    assert_eq!(code, 0, "{stderr}");
    assert!(printed.contains("temporarily_banned") && printed.contains("scraping"), "{printed}");
    let (_, printed, _) = ask(&reader, &["status", "ip:203.0.113.0/24", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["state"], "temporarily_banned");
    assert!(ask(&reader, &["status"]).1.contains("ip:203.0.113.0/24"));
    assert!(ask(&reader, &["events", "--type", "TEMPORARY_BAN"]).1.contains("ip:203.0.113.0/24"));
    let (code, printed, _) = ask(&reader, &["events", "--since", "1h"]);
    assert!(code == 0 && printed.contains("ip:203.0.113.0/24"), "{printed}");
    let (code, printed, _) = ask(&reader, &["events", "--since", "2h", "--until", "1h"]);
    assert!(code == 0 && !printed.contains("ip:203.0.113.0/24"), "{printed}");
    let (code, _, stderr) = ask(&reader, &["events", "--since", "yesterday"]);
    assert!(code == 2 && stderr.contains("such as 12h or 7d"), "{stderr}");

    assert_eq!(ask(&operator, &["unban", "ip:203.0.113.0/24"]).0, 0);
    assert_eq!(ask(&operator, &["unban", "ip:203.0.113.0/24"]).0, 66, "there is nothing left to lift");
    assert_eq!(ask(&operator, &["status", "nonsense"]).0, 65);

    let (_, printed, _) = ask(&operator, &["ban", "ip:::ffff:203.0.113.0/120", "--for", "30m"]);
    assert!(printed.contains("ip:203.0.113.0/24"), "{printed}");
    assert_eq!(ask(&operator, &["unban", "ip:64:ff9b::203.0.113.0/120"]).0, 0);

    for command in [
        vec!["ban", "key:sk-hidden", "--permanent"],
        vec!["unban", "key:sk-hidden"],
        vec!["status", "key:sk-hidden"],
    ] {
        let (code, printed, stderr) = ask(&operator, &command);
        assert_eq!(code, 65, "{stderr}");
        assert!(stderr.contains("/v1/bans/lookup") && !(printed + &stderr).contains("hidden"), "{stderr}");
    }
}

#[tokio::test]
async fn events_are_followed_as_they_happen() {
    let dir = tempfile::tempdir().unwrap();
    let served = Served::start(dir.path());
    let mut follower = keyward(&["events", "--follow", "--json", "--url", &served.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut followed = BufReader::new(follower.stdout.take().unwrap()).lines();
    let line = tokio::task::spawn_blocking(move || followed.next());
    tokio::pin!(line);
    // The follower starts now, at a moment that nobody knows: there is a new event until it has seen one.
    let client = client();
    let until = clock::instant() + DEADLINE;
    let event = loop {
        assert!(clock::instant() < until, "no event came");
        let order = serde_json::json!({ "duration_seconds": null, "reason": "again" });
        client.put(format!("{}/v1/bans/key:follow-me", served.url)).json(&order).send().await.unwrap();
        if let Ok(line) = clock::timeout(Duration::from_millis(100), &mut line).await {
            break serde_json::from_str::<Value>(&line.unwrap().unwrap().unwrap()).unwrap();
        }
    };
    follower.kill().unwrap();
    follower.wait().unwrap();
    assert_eq!((&event["type"], &event["subject"]), (&"PERMANENT_BAN".into(), &"key:follow-me".into()));
}
