//! The routes in the process, as a caller sees them.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use keyward::{
    config::{AllowedHosts, Config, DEFAULT_TOML},
    engine::Engine,
    forward::{Statuses, Trials},
    http::{AppState, Auth, Authorize, Bouncers, ShownConfig, router},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::intake;

/// The API over an engine.
pub(crate) struct Api {
    router: Router,
    shutdown: CancellationToken,
}

/// What came back.
pub(crate) struct Reply {
    pub status: u16,
    pub content_type: String,
    /// Head and body as text, for searching.
    pub all: String,
    pub body: String,
}

impl Api {
    /// Every route over `engine`; `metrics` renders what `/metrics` shows.
    pub(crate) fn over(engine: Arc<Engine>, metrics: impl Fn() -> String + Send + Sync + 'static) -> Self {
        let shutdown = CancellationToken::new();
        let settings: Config = toml::from_str(DEFAULT_TOML).unwrap();
        let state = AppState {
            engine,
            intake: intake(300_000),
            auth: Auth::default(),
            authorize: Authorize::new(&settings.server, &settings.authorize),
            traces: settings.traces.clone(),
            bouncers: Bouncers::default(),
            hosts: AllowedHosts::Loopback,
            components: Arc::new(|| json!({ "geo": "off" })),
            sinks: Statuses::default(),
            trials: Trials::default(),
            config: ShownConfig::default(),
            metrics: Arc::new(metrics),
            started: 0,
            body_timeout: Duration::from_secs(10),
            shutdown: shutdown.clone(),
        };
        Self { router: router(state), shutdown }
    }

    /// Calls a route.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let content_type = head.headers.get("content-type").map_or("", |v| v.to_str().unwrap()).to_owned();
        Reply { status: head.status.as_u16(), content_type, all: format!("{:?}\n{body}", head.headers), body }
    }

    /// Sends JSON.
    pub(crate) async fn post(&self, path: &str, json: impl Into<Body>) -> Reply {
        self.call("POST", path, Some("application/json"), json).await
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, None, Body::empty()).await
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Reply {
    /// The body.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The problem with this status that it must be; `what` names the case.
    pub(crate) fn problem(&self, status: u16, what: &str) -> Value {
        assert_eq!(self.status, status, "{what}: {}", self.body);
        assert_eq!(self.content_type, "application/problem+json", "{what}");
        let problem = self.json();
        check_problem(&problem, status, what);
        problem
    }
}

/// A problem has the members of the contract.
pub(crate) fn check_problem(problem: &Value, status: u16, what: &str) {
    assert_eq!(problem["status"], status, "{what}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|t| !t.is_empty()), "{what}: {problem}");
    }
    let errors = problem.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
    assert!(status != 422 || !errors.is_empty(), "{what}: {problem}");
    for error in errors {
        assert!(error["pointer"].is_string() && error["detail"].is_string(), "{what}: {problem}");
    }
}

/// The pointers to what is wrong.
pub(crate) fn pointers(problem: &Value) -> Vec<String> {
    let errors = problem.get("errors").and_then(Value::as_array);
    let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
    errors.into_iter().flatten().map(pointer).collect()
}
