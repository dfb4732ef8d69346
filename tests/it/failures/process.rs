//! The binary as people run it, over a store of its own, and how it is asked.

use std::{path::Path, process::ExitStatus};

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::app::{Served, client, keyward};

/// A served binary and a client for it.
pub(super) struct Process {
    served: Served,
    client: Client,
}

impl Process {
    /// Starts the binary over a store, with its data in a directory, more arguments and more of an environment.
    pub(super) fn start(store: &str, data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", store]);
        command.args(arguments).env("KEYWARD__SECRETS__DATA_DIRECTORY", data);
        command.envs(environment.iter().copied());
        Self { served: Served::start_with(&mut command), client: client() }
    }

    /// The same over the embedded store in that directory.
    pub(super) fn embedded(data: &Path, environment: &[(&str, &str)]) -> Self {
        Self::start(&format!("embedded:{}", data.display()), data, &[], environment)
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.served.url
    }

    /// The lines of its log since it listens.
    pub(super) fn log(&self) -> Vec<String> {
        self.served.log()
    }

    /// Calls a route; the status and the body.
    pub(super) async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self.client.request(method, format!("{}{path}", self.served.url)).json(&body);
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        (status, reply.json().await.unwrap_or(Value::Null))
    }

    /// Reads a route.
    pub(super) async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.served.url)).send().await.unwrap().json().await.unwrap()
    }

    /// The status of a route that is read.
    pub(super) async fn status(&self, path: &str) -> u16 {
        self.client.get(format!("{}{path}", self.served.url)).send().await.unwrap().status().as_u16()
    }

    /// Bans for so many seconds, or for good; the status.
    pub(super) async fn ban(&self, subject: &str, seconds: Option<u64>) -> u16 {
        let order = json!({ "duration_seconds": seconds, "reason": "stolen" });
        self.call(Method::PUT, &format!("/v1/bans/{subject}"), order).await.0
    }

    /// Where a subject stands.
    pub(super) async fn state(&self, subject: &str) -> Value {
        self.get(&format!("/v1/bans/{subject}")).await["state"].clone()
    }

    /// Reports a request of ten tokens by a key, with more members; the answer.
    pub(super) async fn record(&self, key: &str, more: Value) -> Value {
        let mut record = json!({
            "key_id": key, "endpoint": "/v1/x", "source_ip": "203.0.113.7", "tokens_used": 10,
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, answer) = self.call(Method::POST, "/v1/record", record).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The evidence of all events of a type, newest first.
    pub(super) async fn evidence(&self, kind: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/events?type={kind}&limit=100")).await;
        let events = page["events"].as_array().or(page["items"].as_array()).cloned().unwrap_or_default();
        events.into_iter().map(|event| event["evidence"].clone()).collect()
    }

    /// SIGTERM, and how it ended.
    pub(super) fn terminate(self) -> ExitStatus {
        self.served.terminate()
    }

    /// Ends it with `kill -9`.
    pub(super) fn kill(self) {
        self.served.kill();
    }
}
