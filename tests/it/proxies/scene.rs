//! A proxy with its configuration, the service that it asks, and an application that says what it received.

use std::sync::Arc;

use axum::{Router, extract::State, http::HeaderMap};
use parking_lot::Mutex;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use super::programs::{Program, Proxy};
use crate::{
    app::{DEADLINE, Served, client, keyward},
    redis_server::free_port,
};

/// The address of the client: another one than that of the proxy, which alone is believed.
pub(super) const CLIENT: &str = "127.0.0.2";
/// Few tokens, so that one record uses them up, and reservations that no test outlives.
const SETTINGS: &str = "trusted_proxies = [\"127.0.0.1\"]\n[policy.limits.tokens]\n\"1min\" = 10000\n\
                        [reservations]\nlease_seconds = 3600\n[authorize]\n";

/// What the application received with the last request.
type Received = Arc<Mutex<Option<HeaderMap>>>;

/// A proxy between a client and an application, and the service that it asks; they end with it.
pub(super) struct Scene {
    pub proxy: Program,
    service: Option<Served>,
    port: u16,
    /// Where the proxy asks.
    asked_at: u16,
    application: JoinHandle<()>,
    application_port: u16,
    received: Received,
    as_client: Client,
    http: Client,
    _directory: TempDir,
}

/// What came back to the client, with `Retry-After` in seconds.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: u16,
    pub retry_after: Option<u64>,
}

impl Scene {
    /// Starts all of it, with these lines under `[authorize]`.
    pub(super) async fn set(proxy: Proxy, lines: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, grpc) = (free_port(), free_port());
        let listens = format!("[server]\ngrpc_listen = \"127.0.0.1:{grpc}\"\n");
        std::fs::write(directory.path().join("keyward.toml"), format!("{listens}{SETTINGS}{lines}\n"))
            .unwrap();
        let asked_at = if proxy.asks_over_grpc() { grpc } else { port };
        let store = format!("embedded:{}", directory.path().join("data").display());
        let listen = format!("127.0.0.1:{port}");
        let mut command = keyward(&["serve", "--listen", &listen, "--store", &store, "--config"]);
        command.arg(directory.path().join("keyward.toml")).env("KEYWARD_PEPPER", "0123456789abcdef0123");
        let service = Some(Served::start_with(&mut command));
        let received = Received::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application_port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state(received.clone());
        let application = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let proxy = proxy.start(asked_at, application_port, false).await;
        let local = CLIENT.parse::<std::net::IpAddr>().unwrap();
        let http = client();
        let as_client =
            Client::builder().no_proxy().tls_certs_only([]).local_address(local).timeout(DEADLINE);
        let as_client = as_client.pool_max_idle_per_host(0).build().unwrap();
        Self {
            proxy,
            service,
            port,
            asked_at,
            application,
            application_port,
            received,
            as_client,
            http,
            _directory: directory,
        }
    }

    /// The same proxy beside the first, which lets requests pass while the service does not answer.
    pub(super) async fn open(&self, proxy: Proxy) -> Program {
        proxy.start(self.asked_at, self.application_port, true).await
    }

    /// `kill -9` to the service.
    pub(super) fn end_service(&mut self) {
        self.service.take().unwrap().kill();
    }

    /// Asks for a page through the proxy.
    pub(super) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.get_at(&self.proxy, path, headers).await
    }

    /// The same through another one.
    pub(super) async fn get_at(&self, proxy: &Program, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = self.as_client.get(format!("{}{path}", proxy.url));
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// The same with a body of JSON.
    pub(super) async fn post(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = self.as_client.post(format!("{}{path}", self.proxy.url)).body("{\"a\":1}");
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        *self.received.lock() = None;
        let response = request.send().await.unwrap();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|seconds| seconds.to_str().unwrap().parse().ok());
        Reply { status: response.status().as_u16(), retry_after }
    }

    /// What the application received in a header with the last request; `None` where it was not asked.
    pub(super) fn received(&self, name: &str) -> Option<String> {
        let received = self.received.lock();
        let value = received.as_ref()?.get(name).map_or("", |value| value.to_str().unwrap());
        Some(value.to_owned())
    }

    async fn call(&self, request: RequestBuilder) -> Value {
        request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    }

    fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What a check of a key says that comes from an address of its own.
    pub(super) async fn check(&self, key: &str) -> Value {
        let question = json!({ "api_key": key, "source_ip": "192.0.2.1" });
        self.call(self.http.post(self.at("/v1/check")).json(&question)).await
    }

    /// Tokens that the minute of a key holds.
    pub(super) async fn used(&self, key: &str) -> u64 {
        let answer = self.check(key).await;
        let limits = answer["limits"].as_array().unwrap();
        let minute = limits.iter().find(|limit| limit["window"] == "1min" && limit["unit"] == "tokens");
        minute.unwrap()["used"].as_u64().unwrap()
    }

    /// Reports a request of the client.
    pub(super) async fn record(&self, mut record: Value) -> Value {
        record["endpoint"] = "/".into();
        record["source_ip"] = CLIENT.into();
        self.call(self.http.post(self.at("/v1/record")).json(&record)).await
    }

    /// What was used, by one of its dimensions.
    pub(super) async fn usage_by(&self, dimension: &str) -> Value {
        self.call(self.http.get(self.at(&format!("/v1/usage?group_by={dimension}")))).await
    }

    /// Bans a subject for ten minutes.
    pub(super) async fn ban(&self, subject: &str) {
        let act = json!({ "duration_seconds": 600, "reason": "leaked" });
        let url = self.at(&format!("/v1/bans/{subject}"));
        self.http.put(url).json(&act).send().await.unwrap().error_for_status().unwrap();
    }

    /// Bans a key for ten minutes by the id that the service gives it.
    pub(super) async fn ban_key(&self, key: &str) {
        let id = self.check(key).await["key_id"].as_str().unwrap().to_owned();
        self.ban(&format!("key:{id}")).await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.application.abort();
    }
}

async fn answer(State(received): State<Received>, headers: HeaderMap) -> &'static str {
    *received.lock() = Some(headers);
    "hello"
}
