//! What a scenario file may hold. Unknown words are errors, so that no expectation is lost to a slip of the pen.

use serde::Deserialize;

use keyward::domain::{
    Millis,
    decision::{Action, Reason},
    finding::{AnomalyKind, Severity},
};

/// A story.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    /// What it is about, in a sentence or two.
    pub about: String,
    /// The attack of the simulator's list that it tells of.
    pub attack: Option<String>,
    /// Settings of the policy that differ from the defaults, as in a configuration file.
    #[serde(default)]
    pub policy: toml::Table,
    /// The key, with a past that the file describes.
    pub key: Option<Key>,
    /// A key of the simulator instead.
    pub generate: Option<Generate>,
    /// What happens.
    #[serde(default)]
    pub step: Vec<Step>,
}

impl Scenario {
    /// Whether anything could fail.
    pub(super) fn expects_something(&self) -> bool {
        self.generate.as_ref().is_some_and(|g| g.expect.is_some())
            || self.step.iter().any(|s| s.expect.is_some())
    }
}

/// A key and how it is used day by day. Day 1 is Monday 2026-03-02; times are local to the home city.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    /// Where its holder is.
    pub home: String,
    /// The sort of network: residential, mobile, cloud, vpn or office.
    #[serde(default = "office")]
    pub network: String,
    /// Days of history.
    pub days: i64,
    /// Only from Monday to Friday.
    #[serde(default)]
    pub weekdays_only: bool,
    /// From this hour to that one.
    pub hours: [i64; 2],
    /// Requests per hour in these hours, at random moments.
    pub per_hour: f64,
    /// Its client.
    #[serde(default = "client")]
    pub client: String,
    /// Its model.
    #[serde(default = "model")]
    pub model: String,
    /// Its endpoint.
    #[serde(default = "endpoint")]
    pub endpoint: String,
    /// Median tokens of a request; they vary as the logarithm's normal distribution.
    #[serde(default = "tokens")]
    pub tokens: f64,
    /// Standard deviation of the logarithm of its tokens.
    #[serde(default = "spread")]
    pub spread: f64,
    /// What a token costs, in dollars per million; without it, costs are not reported.
    pub price: Option<f64>,
}

/// A key that the simulator makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Generate {
    /// The archetype.
    pub archetype: String,
    /// Another seed, another holder.
    pub seed: u64,
    /// How long it is watched.
    pub days: i64,
    /// What is expected of the whole of it.
    pub expect: Option<Expect>,
}

/// Something that happens: requests, or a person's act.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    /// When: `day 11 14:30` in the home city, or `+90m` after the end of the step before.
    pub at: String,
    /// Cities, taken in turn; without them, the holder's own address.
    #[serde(default)]
    pub from: Vec<String>,
    /// The sort of network there.
    #[serde(default = "residential")]
    pub network: String,
    /// How many requests.
    #[serde(default = "one")]
    pub count: usize,
    /// How far apart, as `30s`.
    #[serde(default = "second")]
    pub every: String,
    /// Statuses, taken in turn.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Tokens of each; without them, as usual.
    pub tokens: Option<u64>,
    /// Dollars of each; without them, what the key's price makes of the tokens.
    pub cost_usd: Option<f64>,
    /// The client, if not the holder's.
    pub client: Option<String>,
    /// The model, if not the holder's.
    pub model: Option<String>,
    /// The endpoint, if not the holder's; `{n}` is the number of the request, `{words}`
    /// are others for each.
    pub endpoint: Option<String>,
    /// Another key than the holder's; `{n}` is the number of the request.
    pub key: Option<String>,
    /// An operator lifts the ban for this reason.
    pub lift: Option<String>,
    /// An operator makes this entry in the allowlist.
    pub allow: Option<String>,
    /// What is expected of these requests.
    pub expect: Option<Expect>,
}

/// What must have been decided about some requests. Everything named must hold.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    /// One of these was found ...
    #[serde(default)]
    pub finding: Vec<AnomalyKind>,
    /// ... at least this bad (`high` where nothing is said) ...
    pub severity: Option<Severity>,
    /// ... in one of the first so many requests.
    pub within: Option<usize>,
    /// The strongest action.
    pub action: Option<Action>,
    /// Seconds until the key is admitted again, at the first refusal: from, to.
    pub retry_after: Option<[u64; 2]>,
    /// Why the last request was refused.
    pub reason: Option<Reason>,
    /// This request, counted from 1, is the first to be refused, and all after it are.
    pub refused_from: Option<usize>,
    /// So many requests are refused.
    pub refused: Option<usize>,
    /// Nothing high or worse is found and nothing is refused.
    #[serde(default)]
    pub peace: bool,
    /// Nothing of these is found, however mild.
    #[serde(default)]
    pub not: Vec<AnomalyKind>,
}

/// Milliseconds of a length such as `90s`, `15m`, `8h`, `3d`.
pub(super) fn length(text: &str) -> Millis {
    let (number, unit) = text.split_at(text.len() - 1);
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("{text}: write a length such as 90s, 15m, 8h or 3d"),
    };
    number.parse::<Millis>().unwrap_or_else(|_| panic!("{text} is no length")) * factor * 1000
}

fn office() -> String {
    "office".to_owned()
}
fn residential() -> String {
    "residential".to_owned()
}
fn client() -> String {
    "openai-python/1.51.0".to_owned()
}
fn model() -> String {
    "gpt-4.1".to_owned()
}
fn endpoint() -> String {
    "/v1/chat/completions".to_owned()
}
fn tokens() -> f64 {
    900.0
}
fn spread() -> f64 {
    0.5
}
fn one() -> usize {
    1
}
fn second() -> String {
    "1s".to_owned()
}
