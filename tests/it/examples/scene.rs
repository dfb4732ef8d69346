//! A program with its example, the service that it asks, and the application.

use std::{net::TcpListener, time::Duration};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    application::Application,
    programs::{Example, Program, Without},
};
use crate::{
    app::{Served, client, keyward},
    redis_server::free_port,
    support::eventually,
};

/// A limit that two requests to a model fill, refusals while the store is away, and reservations that no test outlives:
/// what is free again was settled.
const SETTINGS: &str = "[policy.limits.tokens]\n\"1min\" = 10000\n[policy.on_store_failure]\ncheck = \"deny\"\n\
                        [reservations]\nlease_seconds = 3600\n";
/// A question to a model: the most that it may use is these tokens and a third of its bytes.
pub(super) const QUESTION: &str = r#"{"model":"gpt-4.1","max_tokens":100}"#;
/// The route that asks a model.
pub(super) const MODEL: &str = "/v1/chat/completions";

/// The service, on a port that it keeps when it is started again.
pub(super) struct Service {
    running: Option<Served>,
    pub port: u16,
    /// Where it keeps what it knows, as the command line has it.
    store: String,
    directory: TempDir,
    http: Client,
}

impl Service {
    /// Starts one over a store; without one over an embedded store in its folder.
    fn over(store: Option<String>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("keyward.toml"), SETTINGS).unwrap();
        let store = store.unwrap_or_else(|| format!("embedded:{}", directory.path().join("data").display()));
        let mut service = Self { running: None, port: free_port(), store, directory, http: client() };
        service.start();
        service
    }

    /// Starts it over what it had.
    pub(super) fn start(&mut self) {
        let (listen, path) = (format!("127.0.0.1:{}", self.port), self.directory.path());
        let mut command = keyward(&["serve", "--listen", &listen, "--store", &self.store, "--config"]);
        command.arg(path.join("keyward.toml")).env("KEYWARD_PEPPER", "0123456789abcdef0123");
        self.running = Some(Served::start_with(&mut command));
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.running.take().unwrap().kill();
    }

    /// After [`Service::kill`]: one that takes connections and never answers, until this is dropped.
    pub(super) fn silent(&self) -> TcpListener {
        TcpListener::bind(("127.0.0.1", self.port)).unwrap()
    }

    async fn call(&self, request: RequestBuilder) -> Value {
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(self.http.post(format!("http://127.0.0.1:{}{path}", self.port)).json(&body)).await
    }

    /// How a key stands.
    async fn check(&self, key: &str) -> Value {
        self.post("/v1/check", json!({ "api_key": key, "source_ip": "127.0.0.1" })).await
    }

    /// Tokens that the minute of a key holds.
    pub(super) async fn used(&self, key: &str) -> u64 {
        let answer = self.check(key).await;
        let limits = answer["limits"].as_array().unwrap();
        let minute =
            limits.iter().find(|limit| limit["window"] == "1min" && limit["unit"] == "tokens").unwrap();
        minute["used"].as_u64().unwrap()
    }

    /// Records of a key and their tokens.
    pub(super) async fn reported(&self, key: &str) -> (u64, u64) {
        let key_id = self.check(key).await["key_id"].clone();
        let url = format!("http://127.0.0.1:{}/v1/usage?group_by=key&bucket=day", self.port);
        let usage = self.call(self.http.get(url)).await;
        let rows = usage["rows"].as_array().unwrap().iter().filter(|row| row["key"] == key_id);
        let number = |row: &Value, name: &str| row[name].as_u64().unwrap();
        rows.fold((0, 0), |(n, tokens), row| (n + number(row, "requests"), tokens + number(row, "tokens")))
    }

    /// Lets a key have used so many tokens.
    pub(super) async fn spend(&self, key: &str, tokens: u64) {
        let record =
            json!({ "api_key": key, "endpoint": "/", "source_ip": "127.0.0.1", "tokens_used": tokens });
        assert_eq!(self.post("/v1/record", record).await["allowed"], true);
    }

    /// Bans a key for ten minutes.
    pub(super) async fn ban(&self, key: &str) {
        let key_id = self.check(key).await["key_id"].as_str().unwrap().to_owned();
        let url = format!("http://127.0.0.1:{}/v1/bans/key:{key_id}", self.port);
        let act = json!({ "duration_seconds": 600, "reason": "leaked" });
        self.http.put(url).json(&act).send().await.unwrap().error_for_status().unwrap();
    }
}

/// All three.
pub(super) struct Scene {
    pub service: Service,
    pub program: Program,
    pub example: Example,
    application: Option<Application>,
    http: Client,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: u16,
    /// Seconds, where they are told.
    pub retry_after: Option<u64>,
}

impl Scene {
    /// Starts them; the example waits for the service.
    pub(super) async fn set(example: Example) -> Self {
        Self::over(example, None, Without::Patience).await
    }

    /// The same with a service over this store, and with an example that does without the service as it is told.
    pub(super) async fn over(example: Example, store: Option<String>, without: Without) -> Self {
        let (service, directory) = (Service::over(store), tempfile::tempdir().unwrap());
        let application = Application::start(directory.path()).await;
        let program = example.start(service.port, application.port, without, directory).await;
        Self { service, program, example, application: Some(application), http: client() }
    }

    /// The same program beside the first, refusing while the service does not answer.
    pub(super) async fn closed(&self) -> Program {
        let application = self.application.as_ref().unwrap().port;
        self.example
            .start(self.service.port, application, Without::Closed, tempfile::tempdir().unwrap())
            .await
    }

    /// Ends the application behind a proxy.
    pub(super) fn end_application(&mut self) {
        self.application = None;
    }

    /// A request to a model, which goes as `mood` says.
    pub(super) fn question(&self, mood: &str, key: &str) -> RequestBuilder {
        let request = self.http.post(format!("{}{MODEL}?{mood}", self.program.url));
        request.header("x-api-key", key).header("content-type", "application/json").body(QUESTION)
    }

    /// Makes such a request.
    pub(super) async fn ask(&self, mood: &str, key: &str) -> Reply {
        reply(self.question(mood, key)).await
    }

    /// Asks for a page with these headers.
    pub(super) async fn hello(&self, headers: &[(&str, &str)]) -> Reply {
        self.hello_at(&self.program.url, headers).await
    }

    /// The same of another program.
    pub(super) async fn hello_at(&self, url: &str, headers: &[(&str, &str)]) -> Reply {
        let request = self.http.get(format!("{url}/hello"));
        reply(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Makes a request, waits until the application has it, and leaves. Returns the tokens that were held.
    pub(super) async fn leave(&self, key: &str) -> u64 {
        let request = tokio::spawn(self.question("hang", key).send());
        eventually("the application has the request", async || self.program.hangs()).await;
        let held = self.service.used(key).await;
        request.abort();
        held
    }

    /// Makes a request, waits until the answer has begun and leaves. Returns the tokens that were held.
    pub(super) async fn leave_midway(&self, key: &str) -> u64 {
        let mut answer = self.question("stream", key).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.chunk().await.unwrap().unwrap().as_ref()),
            (200, &b"hello"[..])
        );
        self.service.used(key).await
    }

    /// Waits until one request of a key is reported with these tokens, and no more of them are held.
    pub(super) async fn settled(&self, key: &str, tokens: u64) {
        eventually(&format!("a request of {key} is settled with {tokens} tokens"), async || {
            self.program.report();
            self.service.reported(key).await == (1, tokens) && self.service.used(key).await == tokens
        })
        .await;
    }
}

async fn reply(request: RequestBuilder) -> Reply {
    let answer = request.timeout(Duration::from_secs(20)).send().await.unwrap();
    let after = answer.headers().get("retry-after").map(|value| value.to_str().unwrap().parse().unwrap());
    Reply { status: answer.status().as_u16(), retry_after: after }
}
