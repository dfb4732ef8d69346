//! `keyward demo --gateway`: the service with its gateway before a provider of its own. A key leaks while it has a
//! stream; it is used from another continent, and the stream ends before the eyes of whoever watches.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use toml::{Table, Value};

use super::{
    super::{
        Failure,
        client::{Connection, Service},
        code,
    },
    Demo,
    screen::Screen,
    story::{self, Seen, Story, Words},
};
use crate::{
    app,
    clock::{self, Instant},
    config::{Config, Sources},
    domain::{
        money::Usd,
        price::{Quantities, Tokens},
    },
    http,
    mock_provider::{self, Bill},
    pricing::Prices,
    telemetry,
};

/// How long the play takes where nothing else is asked for, in seconds.
pub(super) const SECONDS: u64 = 8;
/// What a slow machine may add to that before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds between two words of the stream.
const EVERY_MS: u64 = 100;
/// The share of the play after which the key is used by somebody else.
const THIEF_AFTER: f64 = 0.75;
/// Most tokens of an answer.
const CAP: u64 = 400;
/// What the key may spend.
const BUDGET_USD: &str = "1";
/// Where the key works, and where the thief is: Singapore and Bucharest in the demo database.
const HOME: &str = "203.0.113.7";
const ABROAD: &str = "198.51.100.7";

/// The play, up to a service that still runs.
pub(super) async fn perform(demo: &Demo, store: &str, screen: &Screen) -> Result<app::Running, Failure> {
    let bill = Arc::new(Bill::default());
    let provider = provide(bill.clone()).await?;
    let config = demo.config(store, settings(demo, &provider)?)?;
    telemetry::start_log(&config.log)?;
    let running = app::start(config).await?;
    let Some(gateway) = running.gateway_address() else {
        return Err(Failure::new(code::SOFTWARE, "the gateway of the demo does not listen".to_owned()));
    };
    let service = connection(running.address, None)?;
    let (key, to_try) = (issue(&service).await?, issue(&service).await?);
    let (url, gateway_url) = (format!("http://{}", running.address), format!("http://{gateway}"));
    let length = Duration::from_secs(demo.seconds());
    story::welcome(screen, (&url, &gateway_url), &try_line(&gateway_url, &to_try.secret), length)?;
    let clients = connection(gateway, Some(key.secret.clone()))?;
    let play = Play { clients, service, key, bill, began: clock::instant(), story: Story::new(screen) };
    match clock::timeout(length + PATIENCE, play.run(length)).await {
        Ok(done) => done.map(|()| running),
        Err(_) => Err(Failure::new(code::UNAVAILABLE, "the play did not end in time".to_owned())),
    }
}

/// Serves the provider, on this machine alone, for as long as the process runs. Returns its URL.
async fn provide(bill: Arc<Bill>) -> Result<String, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let settings = Config::load(&Sources::default())?.server;
    let router = mock_provider::router(bill);
    drop(tokio::spawn(
        async move { http::serve(listener, router, &settings, CancellationToken::new()).await },
    ));
    Ok(url)
}

/// The settings of the gateway. Whoever asks says in `X-Forwarded-For` where they are.
fn settings(demo: &Demo, provider: &str) -> Result<Vec<(&'static str, &'static str, Value)>, Failure> {
    let mut listen: SocketAddr = demo.listen.parse().map_err(|_| {
        let hint = "--listen must be an address with a port, such as 127.0.0.1:8080";
        Failure::new(code::USAGE, hint.to_owned())
    })?;
    if listen.port() > 0 {
        listen.set_port(listen.port().checked_add(1).unwrap_or_default());
    }
    let loopback = || Value::Array(vec!["127.0.0.1/32".into(), "::1/128".into()]);
    let upstream = Table::from_iter([
        ("name".to_owned(), "mock".into()),
        ("dialect".to_owned(), "openai".into()),
        ("base_url".to_owned(), format!("{provider}/v1").into()),
        ("allow_networks".to_owned(), loopback()),
    ]);
    let route = Table::from_iter([
        ("model".to_owned(), story::MODEL.into()),
        ("upstreams".to_owned(), Value::Array(vec!["mock".into()])),
    ]);
    Ok(vec![
        ("demo", "policy.preset", "strict".into()),
        ("demo", "gateway.listen", listen.to_string().into()),
        ("demo", "gateway.trusted_proxies", loopback()),
        ("demo", "gateway.upstreams", Value::Array(vec![upstream.into()])),
        ("demo", "gateway.routes", Value::Array(vec![route.into()])),
    ])
}

fn connection(address: SocketAddr, token: Option<String>) -> Result<Connection, Failure> {
    Service { url: format!("http://{address}"), token, json: true }.connect()
}

/// A key that clients of the gateway have.
struct Key {
    secret: String,
    id: String,
}

async fn issue(service: &Connection) -> Result<Key, Failure> {
    let request = service.request(Method::POST, &["v1", "keys"]).json(&json!({ "budget_usd": BUDGET_USD }));
    let issued = service.json(request).await?;
    let text = |name: &str| issued[name].as_str().map(str::to_owned);
    text("secret").zip(text("key_id")).map(|(secret, id)| Key { secret, id }).ok_or_else(unexpected)
}

fn unexpected() -> Failure {
    Failure::new(code::SOFTWARE, "the service answered in an unexpected form".to_owned())
}

/// The body of a request: a prompt that says how the mock provider is to answer.
fn body(directives: &str, stream: bool) -> Json {
    json!({
        "model": story::MODEL, "max_tokens": CAP, "stream": stream,
        "messages": [{ "role": "user", "content": format!("Tell me a story. [mock {directives}]") }],
    })
}

/// What a newcomer may try with a key of their own.
fn try_line(gateway_url: &str, secret: &str) -> String {
    let body = body(&format!("events=50 output=50 event_delay_ms={EVERY_MS}"), true);
    format!(
        "curl -sN {gateway_url}/v1/chat/completions -H 'authorization: Bearer {secret}' -H 'content-type: \
         application/json' -d '{body}'"
    )
}

struct Play<'s> {
    clients: Connection,
    service: Connection,
    key: Key,
    bill: Arc<Bill>,
    began: Instant,
    story: Story<'s>,
}

impl Play<'_> {
    async fn run(self, length: Duration) -> Result<(), Failure> {
        let plain = body("input=300 output=40", false);
        let first = self.ask(&plain, HOME).send().await.map_err(|error| lost(&error))?;
        self.tell("a plain request", HOME, Seen::of(first).await)?;
        // Far more words than there is time for.
        let words = length.as_millis() as u64 / EVERY_MS + 600;
        let long = body(&format!("input=300 output={CAP} events={words} event_delay_ms={EVERY_MS}"), true);
        let stream = self.ask(&long, HOME).header("x-keyward-cost", "stream");
        let stream = stream.send().await.map_err(|error| lost(&error))?;
        self.tell("a stream begins", HOME, Seen::begun(&stream))?;
        let cut_after = self.watch(stream, &plain, length.mul_f64(THIEF_AFTER)).await?;
        let again = self.ask(&plain, HOME).send().await.map_err(|error| lost(&error))?;
        let last = Seen::of(again).await;
        let is_refused = !last.is_success;
        self.tell("its owner asks again", HOME, last)?;
        let (spent, billed) = (self.spent().await?, self.billed()?);
        Ok(self.story.ends(&self.key.id, cut_after, is_refused, (&spent, &billed))?)
    }

    fn ask(&self, body: &Json, from: &str) -> RequestBuilder {
        let request = self.clients.request(Method::POST, &["v1", "chat", "completions"]);
        request.header("x-forwarded-for", from).json(body)
    }

    fn tell(&self, what: &str, from: &str, seen: Seen) -> Result<(), Failure> {
        Ok(self.story.line(self.began.elapsed(), what, from, &seen)?)
    }

    /// Reads the stream to its end. When its time has come, a thief uses the key from elsewhere. Returns how long after
    /// that the stream was cut; `None` where it ended by itself.
    async fn watch(
        &self,
        mut stream: Response,
        plain: &Json,
        until: Duration,
    ) -> Result<Option<Duration>, Failure> {
        let mut thief = Box::pin(async {
            clock::sleep(until).await;
            let asked = clock::instant();
            let answer = self.ask(plain, ABROAD).header("user-agent", "curl/8.5.0").send().await;
            (asked, answer)
        });
        let (mut asked, mut text, mut words) = (None, String::new(), Words::default());
        loop {
            let chunk = tokio::select! {
                (at, answer) = &mut thief, if asked.is_none() => {
                    asked = Some(at);
                    let answer = answer.map_err(|error| lost(&error))?;
                    self.tell("a thief has the key", ABROAD, Seen::of(answer).await)?;
                    continue;
                }
                chunk = stream.chunk() => chunk,
            };
            // A connection that breaks is an end, too.
            let Ok(Some(chunk)) = chunk else { break };
            text.push_str(&String::from_utf8_lossy(&chunk));
            words.show(&self.story, self.began.elapsed(), &text)?;
        }
        let cut_after = asked.map(|at| at.elapsed());
        self.tell("the stream ends", HOME, Seen::cut(&text))?;
        Ok(cut_after.filter(|_| story::error_in(&text).is_some()))
    }

    /// What the budget of the key has paid, in US dollars; what is held counts.
    async fn spent(&self) -> Result<String, Failure> {
        let path = ["v1", "limits", &format!("key:{}", self.key.id)];
        let limits = self.service.json(self.service.request(Method::GET, &path)).await?;
        let all = limits["limits"].as_array().ok_or_else(unexpected)?;
        let budget = all.iter().find(|limit| limit["unit"] == "cost_usd");
        budget.and_then(|budget| budget["used"].as_str()).map(str::to_owned).ok_or_else(unexpected)
    }

    /// What the provider bills, in US dollars.
    fn billed(&self) -> Result<String, Failure> {
        let totals = self.bill.totals();
        let used = Tokens { input: totals.input_tokens, output: totals.output_tokens, ..Tokens::default() };
        let (cost, _) = Prices::open(None)?.cost(story::MODEL, clock::wall(), &Quantities::from(used));
        Ok(Usd(cost.nanos).to_string())
    }
}

fn lost(error: &reqwest::Error) -> Failure {
    Failure::new(code::UNAVAILABLE, format!("the gateway does not answer: {error}"))
}
