//! The log: listing it, following it, and an analyst's word.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Request, Response},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::Api;

use crate::clock;

impl Api {
    async fn ban(&self, key: &str) {
        let order = r#"{"duration_seconds":3600,"reason":"x"}"#;
        self.put(&format!("/v1/bans/key:{key}"), order).await.good(201);
    }

    /// Ids of all events, oldest first.
    async fn event_ids(&self) -> Vec<String> {
        let page = self.get("/v1/events").await.good(200);
        let items = page["items"].as_array().unwrap();
        items.iter().rev().map(|e| e["id"].as_str().unwrap().to_owned()).collect()
    }

    async fn follow(&self, path: &str, last: Option<&str>) -> Stream {
        let mut request = Request::builder().uri(path).header("host", "localhost");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        Stream::new(response)
    }
}

/// A stream as a client reads it.
struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    fn new(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end of the stream. Comments that keep the stream open do not count.
    async fn next(&mut self) -> Option<Value> {
        clock::timeout(Duration::from_secs(10), self.read()).await.unwrap()
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            while let Some((frame, rest)) = self.text.split_once("\n\n") {
                let data = frame.lines().find_map(|l| l.strip_prefix("data: ")).map(str::to_owned);
                let id = frame.lines().find_map(|l| l.strip_prefix("id: ")).map(str::to_owned);
                self.text = rest.to_owned();
                if let Some(data) = data {
                    let event: Value = serde_json::from_str(&data).unwrap();
                    assert_eq!(event["id"].as_str(), id.as_deref());
                    return Some(event);
                }
            }
            let chunk = self.body.next().await?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn subjects(&mut self, count: usize) -> Vec<String> {
        let mut subjects = Vec::new();
        while subjects.len() < count {
            subjects.push(self.next().await.unwrap()["subject"].as_str().unwrap().to_owned());
        }
        subjects
    }
}

#[tokio::test]
async fn events_are_listed_newest_first_and_filtered() {
    let api = Api::open().await;
    for key in ["a", "b", "c"] {
        api.ban(key).await;
    }
    let page = api.get("/v1/events?limit=2&type=TEMPORARY_BAN").await.good(200);
    let subject = |page: &Value, index: usize| page["items"][index]["subject"].clone();
    assert_eq!((subject(&page, 0), subject(&page, 1)), (json!("key:c"), json!("key:b")));
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = api.get(&format!("/v1/events?limit=2&type=TEMPORARY_BAN&cursor={cursor}")).await.good(200);
    assert_eq!((subject(&rest, 0), &rest["next_cursor"]), (json!("key:a"), &json!(null)));
    assert_eq!(api.get("/v1/events?subject=key:b").await.good(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(api.get("/v1/events?until=2020-01-01T00:00:00Z").await.good(200)["items"], json!([]));
    for bad in ["type=BAN", "severity=bad", "since=now", "cursor=!", "limit=1001", "kind=x"] {
        api.get(&format!("/v1/events?{bad}")).await.problem(422);
    }
}

#[tokio::test]
async fn a_stream_resumes_after_the_event_it_names() {
    let api = Api::open().await;
    for key in ["a", "b", "c"] {
        api.ban(key).await;
    }
    let first = api.event_ids().await[0].clone();
    let mut stream = api.follow("/v1/events/stream", Some(&first)).await;
    assert_eq!(stream.subjects(2).await, ["key:b", "key:c"]);
    let mut stream =
        api.follow(&format!("/v1/events/stream?last_event_id={first}&subject=key:c"), None).await;
    assert_eq!(stream.subjects(1).await, ["key:c"]);
    api.call("GET", "/v1/events/stream", &[("last-event-id", "nonsense")], Body::empty()).await.problem(422);
}

#[tokio::test]
async fn a_stream_goes_from_the_log_to_what_is_new_and_ends_with_the_service() {
    let api = Api::open().await;
    let upkeep = tokio::spawn(api.engine.clone().upkeep(api.shutdown.clone()));
    api.ban("before").await;
    api.ban("a").await;
    // The upkeep takes its first step before anything that it is to tell of happens.
    tokio::task::yield_now().await;
    let first = api.event_ids().await[0].clone();
    let mut resumed = api.follow("/v1/events/stream", Some(&first)).await;
    let mut fresh = api.follow("/v1/events/stream?type=BAN_LIFTED", None).await;
    assert_eq!(resumed.subjects(1).await, ["key:a"]);
    api.ban("b").await;
    assert_eq!(resumed.subjects(1).await, ["key:b"]);
    api.delete("/v1/bans/key:b").await.good(200);
    assert_eq!(fresh.subjects(1).await, ["key:b"]);
    api.shutdown.cancel();
    while resumed.next().await.is_some() {}
    assert_eq!(fresh.next().await, None);
    upkeep.await.unwrap();
}

#[tokio::test]
async fn a_benign_verdict_lifts_the_ban() {
    let api = Api::open().await;
    api.ban("a").await;
    let id = api.event_ids().await[0].clone();
    let path = format!("/v1/events/{id}/feedback");
    assert_eq!(api.post(&path, r#"{"verdict":"attack"}"#).await.good(200)["id"], id.as_str());
    assert_eq!(api.get("/v1/bans/key:a").await.good(200)["state"], "temporarily_banned");
    api.post(&path, r#"{"verdict":"benign","note":"our own test"}"#).await.good(200);
    assert_eq!(api.get("/v1/bans/key:a").await.good(200)["state"], "clear");
    api.post("/v1/events/0-0/feedback", r#"{"verdict":"benign"}"#).await.problem(404);
    let problem = api.post(&path, r#"{"verdict":"maybe"}"#).await.problem(422);
    assert_eq!(problem["errors"][0]["pointer"], "/verdict");
}
