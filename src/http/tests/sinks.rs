//! Sinks and their dead letters, over HTTP.

use serde_json::json;

use super::Api;
use crate::{
    config::default_policy,
    domain::{
        event::{Event, EventType, format_millis},
        finding::Severity,
    },
    forward::SinkSettings,
    http::Auth,
    store::{DeadLetter, LogPosition, SinkHealth, SinkStep},
};

async fn with_letters(count: usize) -> Api {
    let api = Api::open().await;
    park(&api, count).await;
    api
}

/// Makes so many dead letters of the sink `siem`.
pub(super) async fn park(api: &Api, count: usize) {
    let store = api.engine.store();
    let now = api.engine.now();
    let lead = store.lead_sink("siem", "me", now, now + 4_000).await.unwrap().unwrap();
    let letter = |n: usize| DeadLetter {
        sink: "siem".to_owned(),
        event: Event {
            id: format!("e0-{n}-1"),
            ..Event::new(now, EventType::Throttled, Severity::High, None)
        },
        reason: "answered 400".to_owned(),
        attempts: 1,
        parked_at: now + n as i64,
        again: false,
    };
    let step = SinkStep {
        sink: "siem".to_owned(),
        epoch: lead.epoch,
        position: LogPosition(vec![(0, 1)]),
        state: vec![],
        parked: (0..count).map(letter).collect(),
        done: vec![],
    };
    store.step_sink(&step).await.unwrap();
}

#[tokio::test]
async fn a_sink_shows_who_sends_and_how_many_letters_are_dead() {
    let api = with_letters(3).await;
    let list = api.get("/v1/sinks").await.json();
    let sink = &list["items"][0];
    assert_eq!((sink["name"].as_str(), sink["type"].as_str()), (Some("siem"), Some("webhook")));
    assert_eq!((sink["sender"].as_str(), sink["dead_letters"].as_u64()), (Some("me"), Some(3)));
    assert_eq!((sink["leading"].as_bool(), sink["lag_seconds"].as_u64()), (Some(false), None));
}

#[tokio::test]
async fn every_instance_answers_what_the_one_that_sends_has_said() {
    let api = with_letters(0).await;
    let (store, now) = (api.engine.store(), api.engine.now());
    let said = SinkHealth {
        waiting_since: Some(now - 90_000),
        error: Some("answered 503".to_owned()),
        failing_since: Some(now - 60_000),
        last_sent: Some(now - 120_000),
    };
    store.renew_sink("siem", 1, now + 60_000, &said).await.unwrap();
    let sink = api.get("/v1/sinks").await.json()["items"][0].clone();
    assert!(sink["lag_seconds"].as_u64().is_some_and(|lag| (90..120).contains(&lag)), "{sink}");
    assert_eq!((&sink["error"], &sink["leading"]), (&json!("answered 503"), &json!(false)));
    for (name, at) in [("failing_since", now - 60_000), ("last_sent", now - 120_000)] {
        assert_eq!(sink[name], format_millis(at), "{name}");
    }
    // Whoever sent for it is gone, and nothing waited when it went: what waits now is not known.
    let well = SinkHealth { waiting_since: None, ..said };
    store.renew_sink("siem", 1, now - 1, &well).await.unwrap();
    let sink = api.get("/v1/sinks").await.json()["items"][0].clone();
    assert_eq!((&sink["lag_seconds"], &sink["sender"]), (&json!(null), &json!(null)), "{sink}");
}

#[tokio::test]
async fn dead_letters_come_in_pages_newest_first_and_are_sent_again_or_given_up() {
    let api = with_letters(5).await;
    let mut ids = Vec::new();
    let mut path = "/v1/sinks/siem/dead-letters?limit=2".to_owned();
    loop {
        let page = api.get(&path).await.json();
        ids.extend(
            page["items"].as_array().unwrap().iter().map(|l| l["event"]["id"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/sinks/siem/dead-letters?limit=2&cursor={cursor}");
    }
    assert_eq!(ids, ["e0-4-1", "e0-3-1", "e0-2-1", "e0-1-1", "e0-0-1"]);
    let again = api.post("/v1/sinks/siem/dead-letters/redeliver", r#"{"ids":["e0-4-1","no"]}"#).await.json();
    assert_eq!(again["count"], 1);
    let first = api.get("/v1/sinks/siem/dead-letters?limit=1").await.json();
    assert_eq!(first["items"][0]["again"], true);
    let all = api.post("/v1/sinks/siem/dead-letters/discard", "{}").await.json();
    assert_eq!(all["count"], 5);
    assert_eq!(api.get("/v1/sinks").await.json()["items"][0]["dead_letters"], 0);
}

#[tokio::test]
async fn an_unknown_sink_and_an_empty_list_of_ids_are_refused() {
    let api = with_letters(1).await;
    for (method, path) in [("GET", ""), ("POST", "/redeliver"), ("POST", "/discard")] {
        let path = format!("/v1/sinks/splunk/dead-letters{path}");
        let reply = api.call(method, &path, &[("content-type", "application/json")], "{}").await;
        assert!(reply.problem(404)["detail"].as_str().unwrap().contains("splunk"));
    }
    let nothing = api.post("/v1/sinks/siem/dead-letters/discard", r#"{"ids":[]}"#).await;
    assert_eq!(nothing.problem(422)["errors"][0]["pointer"], "/ids");
}

/// With two sinks: a file that can be written, and one that receives nothing.
async fn with_files(directory: &std::path::Path) -> Api {
    let sink = |name: &str, path: &std::path::Path| {
        let mut written: toml::Table = "type = 'file'\nmin_severity = 'critical'".parse().unwrap();
        written.insert("name".to_owned(), name.into());
        written.insert("path".to_owned(), path.display().to_string().into());
        SinkSettings::read(written).unwrap()
    };
    let sinks = vec![
        sink("audit", &directory.join("events.log")),
        sink("broken", &directory.join("not-there").join("events.log")),
    ];
    Api::set_up(Auth::default(), default_policy(), |settings| settings.sinks = sinks).await
}

#[tokio::test]
async fn a_sink_that_is_tried_gets_an_event_past_its_filter_which_says_who_tries_it() {
    let directory = tempfile::tempdir().unwrap();
    let api = with_files(directory.path()).await;
    let tested = api.post("/v1/sinks/audit/test", "").await.good(200);
    assert_eq!((&tested["delivered"], &tested["error"]), (&json!(true), &json!(null)), "{tested}");
    assert!(tested["answer"].as_str().unwrap().ends_with("bytes written"), "{tested}");
    let written = std::fs::read_to_string(directory.path().join("events.log")).unwrap();
    let event: serde_json::Value = serde_json::from_str(written.trim()).unwrap();
    assert_eq!((&event["type"], &event["evidence"]["by"]), (&json!("SINK_TEST"), &json!("local")), "{event}");
    assert_eq!(api.get("/v1/events").await.json()["items"], json!([]), "a test is in no log");
}

#[tokio::test]
async fn why_a_test_was_not_delivered_is_answered_and_a_sink_that_is_not_there_is_not_found() {
    let directory = tempfile::tempdir().unwrap();
    let api = with_files(directory.path()).await;
    let tested = api.post("/v1/sinks/broken/test", "").await.good(200);
    assert_eq!((&tested["delivered"], &tested["answer"]), (&json!(false), &json!(null)), "{tested}");
    let error = tested["error"].as_str().unwrap();
    assert!(error.contains("sinks.broken.path") && error.contains("cannot be written"), "{error}");
    let absent = api.post("/v1/sinks/splunk/test", "").await.problem(404);
    assert!(absent["detail"].as_str().unwrap().contains("splunk"), "{absent}");
}
