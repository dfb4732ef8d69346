//! Who holds a key: home, clients, models, endpoints, sizes, mistakes. Everything varies from key to key, so that
//! nothing in the traffic is a constant that a detector could be tuned to.

use std::{net::IpAddr, sync::Arc};

use super::{
    atlas::{City, Sort},
    calendar::Week,
    random::Random,
    wire::WireRecord,
};
use crate::domain::Millis;

/// Client libraries as they name themselves, without their versions.
const CLIENTS: &[&str] = &[
    "openai-python",
    "openai-node",
    "anthropic-python",
    "langchain",
    "litellm",
    "axios",
    "okhttp",
    "go-openai",
];
/// Clients of those who take a key they found.
const STRANGE_CLIENTS: &[&str] =
    &["curl/8.7.1", "python-requests/2.31.0", "Go-http-client/1.1", "aiohttp/3.9.5", "node-fetch/3.3.2"];
/// Models with their prices in dollars per million tokens, in and out together.
const MODELS: &[(&str, f64)] = &[
    ("gpt-4.1-mini", 0.8),
    ("gpt-4.1-nano", 0.2),
    ("gpt-4.1", 4.0),
    ("claude-haiku", 1.5),
    ("claude-sonnet", 6.0),
    ("llama-70b", 0.9),
    ("mistral-small", 0.3),
    ("mistral-large", 4.0),
    ("gemini-flash", 0.6),
    ("gemini-pro", 5.0),
    ("deepseek-chat", 0.7),
    ("qwen-72b", 0.8),
];
/// Models that cost many times as much.
const DEAR_MODELS: &[(&str, f64)] = &[("o3-pro", 50.0), ("claude-opus", 30.0), ("gpt-4.5", 90.0)];
/// The price of the dearest ordinary model, in dollars per million tokens.
pub const DEAREST: f64 = 6.0;
/// Endpoints, the usual ones first.
const ENDPOINTS: &[&str] = &[
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/completions",
    "/v1/images/generations",
    "/v1/audio/transcriptions",
    "/v1/audio/speech",
    "/v1/rerank",
];
/// Endpoints that somebody looks at who wants to know what a key is good for.
const CURIOUS_ENDPOINTS: &[&str] =
    &["/v1/models", "/v1/files", "/v1/batches", "/v1/fine_tuning/jobs", "/v1/usage"];

/// The longest prompt that ordinary applications send; they cut longer ones, so that the tail is heavy but ends. Busy
/// ones cut at the first, those that are hardly used at the second.
const LONGEST_PROMPT: [f64; 2] = [3_000.0, 8_000.0];
/// Tokens of a busy hour in which every prompt is as long as any.
const LONGEST_HOUR: f64 = 300_000.0;

/// A choice with how often it is taken.
pub type Choice<T> = Vec<(T, f64)>;

/// A model and its price in dollars per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// The name of the model in records.
    pub name: Arc<str>,
    /// US dollars per token.
    pub price: f64,
}

/// The holder of a key.
#[derive(Debug, Clone)]
pub struct Persona {
    /// The secret, or the public name where the middleware has one.
    pub key: Arc<str>,
    /// Whether `key` is a public name.
    pub named: bool,
    /// The project, if any.
    pub project: Option<Arc<str>>,
    /// Where the holder lives.
    pub home: &'static City,
    /// On which days the holder works.
    pub week: Week,
    /// Clients that the holder uses, by weight.
    pub clients: Choice<Arc<str>>,
    /// Models that the holder uses, by weight.
    pub models: Choice<Model>,
    /// Endpoints that the holder asks for, by weight.
    pub endpoints: Choice<Arc<str>>,
    /// Median of the prompt's tokens.
    pub prompt: f64,
    /// Spread of the prompt: standard deviation of its logarithm.
    pub spread: f64,
    /// The longest prompt, in tokens.
    pub longest: f64,
    /// Median of the answer's tokens as a share of the prompt's.
    pub answer: f64,
    /// Median milliseconds per request.
    pub latency: f64,
    /// Whether the middleware reports the cost.
    pub reports_cost: bool,
    /// Share of requests that are bad (400 and the like).
    pub bad: f64,
    /// Share of requests that the provider throttles or fails.
    pub failing: f64,
}

impl Persona {
    /// Draws a holder; `sort` is the network that the home city must have.
    pub fn draw(random: &mut Random, sort: Sort) -> Self {
        let homes = City::with(sort);
        let home = random.pick(&homes).copied().unwrap_or(&City::all()[0]);
        let named = random.chance(0.2);
        let key = if named {
            format!("key-{:08x}", random.bits() as u32)
        } else {
            format!("sk-sim-{:016x}{:016x}", random.bits(), random.bits())
        };
        let clients = (0..random.whole(1, 2)).map(|i| (client(random), 1.0 / (1 + 4 * i) as f64)).collect();
        let models =
            (0..random.whole(1, 3)).map(|i| (model(random, MODELS), 1.0 / (1 + 3 * i) as f64)).collect();
        let endpoints = (0..random.whole(1, 3))
            .map(|i| {
                (
                    random.pick(ENDPOINTS).map_or_else(Arc::default, |e| Arc::from(*e)),
                    1.0 / (1 + 4 * i) as f64,
                )
            })
            .collect();
        Self {
            key: key.into(),
            named,
            project: random.chance(0.7).then(|| format!("project-{:02}", random.below(40)).into()),
            home,
            week: if random.chance(0.88) { home.week() } else { Week::SundayToThursday },
            clients,
            models,
            endpoints,
            prompt: random.lognormal(650.0, 0.7).clamp(60.0, 1_500.0),
            spread: spread(random),
            longest: LONGEST_PROMPT[1],
            answer: random.between(0.1, 0.6),
            latency: random.lognormal(900.0, 0.4),
            reports_cost: random.chance(0.6),
            bad: random.between(0.0005, 0.012),
            failing: random.between(0.0005, 0.01),
        }
    }

    /// Makes the requests smaller where so many, in so many hours a day, would exceed `tokens` a day, and cuts the
    /// longest where there are many an hour: holders choose plans that fit them.
    pub fn fit(&mut self, requests_per_hour: f64, hours: f64, tokens: f64) {
        // Mean of a log-normal over its median.
        let mean = self.prompt * (1.0 + self.answer) * (self.spread * self.spread / 2.0).exp();
        let share = tokens / (mean * (requests_per_hour * hours).max(1.0));
        self.prompt *= share.min(1.0);
        let [busy, idle] = LONGEST_PROMPT;
        self.longest = (LONGEST_HOUR / requests_per_hour.max(1.0)).clamp(busy, idle);
    }

    /// Takes another holder's habits in, who uses the same key in `share` of the requests.
    pub fn join(&mut self, other: &Self, share: f64) {
        join(&mut self.clients, &other.clients, share);
        join(&mut self.models, &other.models, share);
        join(&mut self.endpoints, &other.endpoints, share);
        let mean = |own: f64, other: f64| own * (1.0 - share) + other * share;
        // What is large for the key must be large for both.
        self.prompt = self.prompt.max(other.prompt);
        self.spread = self.spread.max(other.spread);
        self.longest = self.longest.max(other.longest);
        self.answer = mean(self.answer, other.answer);
        self.latency = mean(self.latency, other.latency);
        self.bad = mean(self.bad, other.bad);
        self.failing = mean(self.failing, other.failing);
    }

    /// Makes a record one of this holder's key.
    pub fn sign(&self, record: &mut WireRecord) {
        record.api_key = (!self.named).then(|| self.key.clone());
        record.key_id = self.named.then(|| self.key.clone());
        record.project_id = self.project.clone();
    }

    /// One of the holder's ordinary requests.
    pub fn request(&self, random: &mut Random, time: Millis, source_ip: IpAddr) -> WireRecord {
        let model = random.weighted(&self.models).cloned();
        let endpoint = random.weighted(&self.endpoints).cloned().unwrap_or_default();
        let prompt = random.lognormal(self.prompt, self.spread).clamp(1.0, self.longest);
        let answer = random.lognormal(prompt * self.answer, 0.5).clamp(1.0, self.longest / 2.0);
        let status = self.status(random);
        let mut record = WireRecord {
            request_id: 0,
            api_key: (!self.named).then(|| self.key.clone()),
            key_id: self.named.then(|| self.key.clone()),
            project_id: self.project.clone(),
            endpoint,
            model: model.as_ref().map(|model| model.name.clone()),
            tokens_used: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            latency_ms: (random.lognormal(self.latency, 0.5) * 10.0).round() / 10.0,
            cost_usd: None,
            source_ip,
            user_agent: random.weighted(&self.clients).cloned().unwrap_or_default(),
            response_status: status,
            timestamp: time,
        };
        let price = model.filter(|_| self.reports_cost).map(|model| model.price);
        let answer = if status == 200 { answer } else { 0.0 };
        resize(&mut record, prompt, answer, price);
        if status != 200 {
            fail(&mut record, status);
        }
        record
    }

    fn status(&self, random: &mut Random) -> u16 {
        if random.chance(self.bad) {
            *random
                .weighted(&[(400, 6.0), (422, 2.0), (413, 1.0), (404, 0.6), (401, 0.4), (403, 0.3)])
                .unwrap_or(&400)
        } else if random.chance(self.failing) {
            *random.weighted(&[(429, 3.0), (500, 1.0), (502, 1.0), (503, 2.0), (504, 0.5)]).unwrap_or(&429)
        } else {
            200
        }
    }

    /// The price per token of a request's model to this holder, if it is reported.
    fn price(&self, record: &WireRecord) -> Option<f64> {
        let known = self.models.iter().find(|(model, _)| Some(&model.name) == record.model.as_ref());
        known.filter(|_| self.reports_cost).map(|(model, _)| model.price)
    }

    /// Gives a request this many tokens, at the same price each.
    pub fn with_tokens(&self, mut record: WireRecord, prompt: f64, answer: f64) -> WireRecord {
        let price = self.price(&record);
        resize(&mut record, prompt, answer, price);
        record
    }

    /// The median tokens of a request, prompt and answer.
    pub fn median_tokens(&self) -> f64 {
        self.prompt * (1.0 + self.answer)
    }

    /// Sends a request to a model that costs many times as much.
    pub fn with_model(&self, mut record: WireRecord, model: &Model) -> WireRecord {
        record.model = Some(model.name.clone());
        let (prompt, answer) = (record.prompt_tokens as f64, record.completion_tokens as f64);
        resize(&mut record, prompt, answer, self.reports_cost.then_some(model.price));
        record
    }
}

/// How much the sizes of a key's requests differ: most within a factor of a few, some are nearly constant, some
/// spread over orders of magnitude.
fn spread(random: &mut Random) -> f64 {
    let [low, high] = *random
        .weighted(&[([0.3, 0.95], 0.68), ([0.02, 0.12], 0.12), ([0.95, 1.5], 0.2)])
        .unwrap_or(&[0.3, 0.95]);
    random.between(low, high)
}

/// Adds choices to others, to be taken in `share` of all cases.
fn join<T: Clone>(own: &mut Choice<T>, other: &Choice<T>, share: f64) {
    let sum =
        |choice: &Choice<T>| choice.iter().map(|(_, weight)| weight).sum::<f64>().max(f64::MIN_POSITIVE);
    let (own_sum, other_sum) = (sum(own), sum(other));
    for (_, weight) in own.iter_mut() {
        *weight *= (1.0 - share) / own_sum;
    }
    own.extend(other.iter().map(|(item, weight)| (item.clone(), weight * share / other_sum)));
}

/// Sets tokens and cost.
fn resize(record: &mut WireRecord, prompt: f64, answer: f64, price: Option<f64>) {
    record.prompt_tokens = prompt.round() as u64;
    record.completion_tokens = answer.round() as u64;
    record.tokens_used = record.prompt_tokens + record.completion_tokens;
    record.cost_usd = price.map(|price| (record.tokens_used as f64 * price * 1e6).round() / 1e6);
}

/// Makes a request one that was refused or failed: nothing was read, nothing was written.
pub fn fail(record: &mut WireRecord, status: u16) {
    record.response_status = status;
    record.tokens_used = 0;
    record.prompt_tokens = 0;
    record.completion_tokens = 0;
    record.cost_usd = record.cost_usd.map(|_| 0.0);
    record.latency_ms = (record.latency_ms * 0.3).round();
}

/// A client library with a version.
pub fn client(random: &mut Random) -> Arc<str> {
    let name = random.pick(CLIENTS).copied().unwrap_or_default();
    format!("{name}/{}.{}.{}", random.whole(0, 2), random.whole(1, 60), random.whole(0, 9)).into()
}

/// The same client library, a release later.
pub fn upgraded(client: &str, random: &mut Random) -> Arc<str> {
    let name = client.split('/').next().unwrap_or_default();
    format!("{name}/{}.{}.0", random.whole(1, 3), random.whole(61, 99)).into()
}

/// The client of somebody who tries a key that is not theirs.
pub fn strange_client(random: &mut Random) -> Arc<str> {
    random.pick(STRANGE_CLIENTS).map_or_else(Arc::default, |client| Arc::from(*client))
}

/// An endpoint that ordinary holders do not call.
pub fn curious_endpoint(random: &mut Random) -> Arc<str> {
    random.pick(CURIOUS_ENDPOINTS).map_or_else(Arc::default, |endpoint| Arc::from(*endpoint))
}

/// An ordinary endpoint other than those given.
pub fn other_endpoint(random: &mut Random, known: &Choice<Arc<str>>) -> Arc<str> {
    let other: Vec<_> = ENDPOINTS.iter().filter(|e| known.iter().all(|(k, _)| &**k != **e)).collect();
    match random.pick(&other) {
        Some(endpoint) => Arc::from(**endpoint),
        None => curious_endpoint(random),
    }
}

/// An ordinary model other than those given.
pub fn other_model(random: &mut Random, known: &Choice<Model>) -> Model {
    let other: Vec<_> =
        MODELS.iter().copied().filter(|(name, _)| known.iter().all(|(k, _)| &*k.name != *name)).collect();
    model(random, if other.is_empty() { DEAR_MODELS } else { &other })
}

/// Any model that there is, ordinary or dear.
pub fn any_model(random: &mut Random) -> Model {
    let all: Vec<_> = MODELS.iter().chain(DEAR_MODELS).copied().collect();
    model(random, &all)
}

/// Every model with its price, in dollars per million tokens.
pub fn all_models() -> impl Iterator<Item = (&'static str, f64)> {
    MODELS.iter().chain(DEAR_MODELS).copied()
}

/// The price of a model in dollars per token, to somebody who is told all prices; of an unknown one that of the dearest
/// ordinary one.
pub fn list_price(model: Option<&str>) -> f64 {
    all_models().find(|(name, _)| Some(*name) == model).map_or(DEAREST, |(_, price)| price) / 1e6
}

/// A model that costs many times as much as ordinary ones.
pub fn dear_model(random: &mut Random) -> Model {
    model(random, DEAR_MODELS)
}

fn model(random: &mut Random, among: &[(&str, f64)]) -> Model {
    let (name, price) = random.pick(among).copied().unwrap_or(MODELS[0]);
    Model { name: name.into(), price: price / 1e6 }
}
