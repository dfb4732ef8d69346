//! A service with its gateway, before providers of our own: what clients see, what providers saw, what was charged.

use std::{path::Path, sync::Arc, time::Duration};

use axum::Router;
use keyward::{
    app::{self, Running},
    clock,
    config::{Config, Sources},
    domain::{actor::Actor, registry::Entry, subject::Subject},
    intake::{Intake, Peppers},
    mock_provider::{self, Bill},
    pricing::Prices,
};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{app::client, support::eventually};

/// The key that clients send.
pub(super) const VIRTUAL: &str = "kwk_virtual-key-of-a-client-4711";
/// The key that providers get.
pub(super) const PROVIDER: &str = "sk-provider-key-of-keyward-0815";
pub(super) const PEPPER: &str = "0123456789abcdef0123";

/// A provider that stands in for a real one.
pub(super) struct Provider {
    pub bill: Arc<Bill>,
    pub url: String,
    serving: JoinHandle<()>,
}

impl Provider {
    pub(super) async fn start() -> Self {
        let bill = Arc::new(Bill::default());
        let (url, serving) = serve(mock_provider::router(bill.clone())).await;
        Self { bill, url, serving }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Serves routes on a free port.
pub(super) async fn serve(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// A service with its gateway.
pub(super) struct Scene {
    pub running: Running,
    pub provider: Provider,
    /// Where the gateway is, without a path.
    pub url: String,
    pub key_id: String,
    pub client: Client,
    pub directory: TempDir,
}

/// `[[gateway.upstreams]]` of a provider of one dialect.
pub(super) fn upstream(name: &str, dialect: &str, url: &str, directory: &Path) -> String {
    let path = if dialect == "openai" { "/v1" } else { "" };
    let key = directory.join("provider-key");
    format!(
        "[[gateway.upstreams]]\nname = {name:?}\ndialect = {dialect:?}\nbase_url = \"{url}{path}\"\napi_key = \
         \"file:{}\"\nallow_networks = [\"127.0.0.0/8\"]\n",
        key.display()
    )
}

/// Every model of both dialects at one provider.
pub(super) const EVERYWHERE: &str = "[[gateway.routes]]\nmodel = \"*\"\nupstreams = [\"openai\"]\n\
                                     [[gateway.routes]]\nmodel = \"claude*\"\nupstreams = [\"anthropic\"]\n";

impl Scene {
    /// Every model leads to one provider.
    pub(super) async fn start() -> Self {
        Self::with("", |_| EVERYWHERE.to_owned()).await
    }

    /// The same with settings of `[gateway]`, and with routes and upstreams beside those of the mock provider.
    pub(super) async fn with(settings: &str, routes: impl FnOnce(&Path) -> String) -> Self {
        Self::over(None, settings, routes).await
    }

    /// The same over a store that runs already, such as a Redis.
    pub(super) async fn over(
        store: Option<&str>,
        settings: &str,
        routes: impl FnOnce(&Path) -> String,
    ) -> Self {
        let provider = Provider::start().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        std::fs::write(path.join("provider-key"), PROVIDER).unwrap();
        let config = format!(
            "[policy.limits.tokens]\n\"1min\" = \"none\"\n\"5min\" = \"none\"\n\"1hour\" = \"none\"\n\"24hour\" = \
             \"none\"\n[projects.shop]\n[gateway]\nlisten = \"127.0.0.1:0\"\nestimate = \"strict\"\n{settings}\n{}{}{}",
            upstream("openai", "openai", &provider.url, path),
            upstream("anthropic", "anthropic", &provider.url, path),
            routes(path),
        );
        let store = store.map_or_else(|| own_store(path), str::to_owned);
        let running = app::start(load(path, &config, &store)).await.unwrap();
        let url = format!("http://{}", running.gateway_address().unwrap());
        let key_id = key_id(VIRTUAL);
        let scene = Self { running, provider, url, key_id, client: client(), directory };
        scene.register(json!({ "project": "shop", "budget_usd": "1000" })).await;
        scene
    }

    /// Registers the key that clients send.
    pub(super) async fn register(&self, body: Value) {
        self.register_key(VIRTUAL, body).await;
    }

    /// Registers another key.
    pub(super) async fn register_key(&self, secret: &str, body: Value) {
        let entry = Entry::Key(serde_json::from_value(body).unwrap());
        let (engine, by) = (&self.running.engine, Actor::local());
        engine.registry_changes().put(&key_id(secret), &entry, &by, engine.now()).await.unwrap();
    }

    /// A request to a path of the gateway.
    pub(super) fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(VIRTUAL).json(body)
    }

    /// Chat completions with this prompt.
    pub(super) async fn chat(&self, prompt: &str, more: Value) -> Response {
        self.post("/v1/chat/completions", &chat(prompt, more)).send().await.unwrap()
    }

    /// Bans the key that clients send.
    pub(super) async fn ban(&self) {
        self.ban_key(VIRTUAL).await;
    }

    /// Bans another key.
    pub(super) async fn ban_key(&self, secret: &str) {
        let (engine, key) = (&self.running.engine, Subject::key(&key_id(secret)));
        engine.bans().ban(&key, None, "leaked", &Actor::local(), engine.now()).await.unwrap();
    }

    /// What the budget of the key says that it spent, in nano-dollars; what is held counts.
    pub(super) async fn spent(&self) -> u64 {
        self.of_budget("used").await
    }

    /// What of that is held for requests that are not settled yet, in nano-dollars.
    pub(super) async fn held(&self) -> u64 {
        self.of_budget("held").await
    }

    async fn of_budget(&self, amount: &str) -> u64 {
        let url = format!("http://{}/v1/limits/key:{}", self.running.address, self.key_id);
        let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
        let budget = answer["limits"].as_array().unwrap().iter().find(|limit| limit["unit"] == "cost_usd");
        nanos(budget.unwrap_or_else(|| panic!("{answer}"))[amount].as_str().unwrap())
    }

    /// Waits until the budget says that so much is spent.
    pub(super) async fn spends(&self, nanos: u64) {
        eventually(&format!("{nanos} nano-dollars are spent"), async || self.spent().await == nanos).await;
    }

    /// Waits until no request is on its way at the provider.
    pub(super) async fn is_quiet(&self) {
        eventually("no request is open", async || self.provider.bill.totals().open == 0).await;
    }

    /// Ends the service and starts it again over its own store: what was in memory alone is gone.
    pub(super) async fn restart(mut self) -> Self {
        clock::timeout(Duration::from_secs(30), self.running.shutdown()).await.unwrap().unwrap();
        let path = self.directory.path();
        let config = std::fs::read_to_string(path.join("keyward.toml")).unwrap();
        self.running = app::start(load(path, &config, &own_store(path))).await.unwrap();
        self.url = format!("http://{}", self.running.gateway_address().unwrap());
        self
    }

    /// Ends the service: everything must be settled by then.
    pub(super) async fn stop(self) -> TempDir {
        clock::timeout(Duration::from_secs(30), self.running.shutdown()).await.unwrap().unwrap();
        self.directory
    }
}

/// The store of a service that has none from elsewhere.
fn own_store(directory: &Path) -> String {
    format!("embedded:{}", directory.join("data").display())
}

/// The configuration of a service over a directory.
fn load(directory: &Path, text: &str, store: &str) -> Config {
    let file = directory.join("keyward.toml");
    std::fs::write(&file, text).unwrap();
    let environment = [
        ("KEYWARD_LISTEN", "127.0.0.1:0".to_owned()),
        ("KEYWARD_STORE", store.to_owned()),
        ("KEYWARD_PEPPER", PEPPER.to_owned()),
        ("KEYWARD__STORE__DEADLINE_MS", "10000".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Config::load(&Sources { file: Some(file), environment, ..Sources::default() }).unwrap()
}

/// The public id of a key.
pub(super) fn key_id(secret: &str) -> String {
    let prices = Arc::new(Prices::open(None).unwrap());
    Intake::live(Peppers::parse(PEPPER).unwrap(), prices, 0).key_id(secret)
}

/// The body of a request for chat completions.
pub(super) fn chat(prompt: &str, more: Value) -> Value {
    let mut body = json!({ "model": "gpt-4.1", "messages": [{ "role": "user", "content": prompt }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Nano-dollars of a decimal of dollars.
pub(super) fn nanos(dollars: &str) -> u64 {
    let (whole, fraction) = dollars.split_once('.').unwrap_or((dollars, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}

/// A header as text.
pub(super) fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
