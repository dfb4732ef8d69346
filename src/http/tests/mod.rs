//! The routes over a real engine and an embedded store, in the process.

mod actors;
mod acts;
mod authorize;
mod costs;
mod doors;
mod events;
mod grpc;
mod limits;
mod observe;
mod overview;
mod pages;
mod policy;
mod records;
mod registry;
mod reservations;
mod served;
mod settings;
mod sinks;
mod standings;
mod tokens;
mod traces;
mod usage;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
    response::Response,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{AppState, Auth, Authorize, Bouncers, ShownConfig, authorize_router, grpc_router, router};
use crate::{
    config::{self, AllowedHosts, Config, DEFAULT_TOML, default_policy},
    engine::{Base, Engine, EngineOptions, LEASE},
    forward::{SinkContext, Status, Trials},
    geo::Geo,
    intake::{Intake, Peppers},
    pricing::flat_example,
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

/// The API, as a caller sees it.
struct Api {
    router: Router,
    /// What is on a listener of its own.
    authorizes: Router,
    /// What is asked over gRPC.
    grpc: Router,
    engine: Arc<Engine>,
    shutdown: CancellationToken,
}

/// What came back to a request.
struct Reply {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Api {
    async fn open() -> Self {
        Self::with(Auth::default(), default_policy()).await
    }

    /// With tokens, one per list of scopes.
    async fn guarded(tokens: Vec<config::Token>) -> Self {
        Self::with(Auth::new(&config::Auth { tokens }).unwrap(), default_policy()).await
    }

    async fn with(auth: Auth, base: impl Into<Base>) -> Self {
        Self::set_up(auth, base, |_| {}).await
    }

    /// With other settings than the defaults.
    async fn set_up(auth: Auth, base: impl Into<Base>, change: impl FnOnce(&mut Config)) -> Self {
        let mut settings: Config = toml::from_str(DEFAULT_TOML).unwrap();
        change(&mut settings);
        let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let engine = Engine::start(store, Arc::new(Geo::off()), base, options()).await.unwrap();
        let shutdown = CancellationToken::new();
        let state = Arc::new(AppState {
            engine: engine.clone(),
            intake: Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), 300_000),
            auth,
            authorize: Authorize::new(&settings.server, &settings.authorize),
            traces: settings.traces.clone(),
            bouncers: Bouncers::default(),
            hosts: AllowedHosts::Loopback,
            components: Arc::new(|| serde_json::json!({ "geo": "off" })),
            sinks: vec![Arc::new(Status::new("siem", "webhook"))].into(),
            trials: Trials::new(&settings.sinks, &SinkContext::of_tests(engine.shared_store())),
            config: ShownConfig::new(&settings),
            metrics: Arc::new(|| "keyward_up 1\n".to_owned()),
            started: 0,
            body_timeout: Duration::from_secs(2),
            shutdown: shutdown.clone(),
        });
        let (router, authorizes) = (router(state.clone()), authorize_router(state.clone()));
        Self { router, authorizes, grpc: grpc_router(state), engine, shutdown }
    }

    /// Calls a route as a program on this machine does.
    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let headers: Vec<_> = [("host", "localhost")].iter().chain(headers).copied().collect();
        self.call_with(method, path, &headers, body).await
    }

    /// Calls a route with these headers and no others.
    async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Reply::of(self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap()).await
    }

    /// What the browser may do with an answer whose body is no text.
    async fn page_policy(&self, path: &str) -> String {
        let request = Request::builder().uri(path).header("host", "localhost").body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.headers()["content-security-policy"].to_str().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, &[], Body::empty()).await
    }

    async fn delete(&self, path: &str) -> Reply {
        self.call("DELETE", path, &[], Body::empty()).await
    }

    async fn put(&self, path: &str, json: &str) -> Reply {
        self.call("PUT", path, &[("content-type", "application/json")], json.to_owned()).await
    }

    async fn post(&self, path: &str, json: &str) -> Reply {
        self.call("POST", path, &[("content-type", "application/json")], json.to_owned()).await
    }

    /// Reports one request of a key.
    async fn record(&self, key_id: &str, tokens: u64) -> Reply {
        self.post("/v1/record", &record(key_id, tokens)).await
    }
}

impl Reply {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Self { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The answer, which must be a success with this status.
    fn good(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/json");
        self.json()
    }

    /// The problem, which must be one with this status.
    fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|t| !t.is_empty()), "{problem}");
        }
        problem
    }
}

fn record(key_id: &str, tokens: u64) -> String {
    serde_json::json!({
        "key_id": key_id, "endpoint": "/v1/chat/completions", "source_ip": "203.0.113.7", "tokens_used": tokens,
    })
    .to_string()
}

fn options() -> EngineOptions {
    EngineOptions {
        deadline: Duration::from_secs(5),
        idempotency_capacity: 100,
        retry_span: crate::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 100,
        new_subjects_per_minute: 6000,
        new_subjects_per_minute_per_address: 6000,
        fold_seconds: 60,
        event_buffer: 1000,
        flushes: true,
        usage_series: 1000,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    }
}
