//! What was used and what it cost, summed over minutes, hours and days by project, model, key, endpoint and user.
//!
//! Every sum is of whole numbers and stops at the largest one, so that merging is a commutative monoid: instances sum
//! apart, stores add in any order, and the result is that of adding record by record. So are the latencies beside them
//! (`domain/latency`). `rollup` says what a store keeps and for how long, `query` what is asked of it, `rows` what each
//! row of the answer is made of.

mod query;
mod rollup;
mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use query::{Grouping, UsageQuery, UsageTable};
pub use rollup::{Bucket, Cell, Detail, Keep, UsageBatch, UsageDelta};
pub use rows::{Rows, Run};

pub use super::latency::Latencies;
use super::{
    price::{ReportedTokens, Tokens},
    record::{Outcome, Record},
};

/// The name under which series beyond the cap are summed.
pub const OTHER: &str = "(other)";
/// How many numbers [`Totals`] has.
const FIELDS: usize = 9;
/// How the key of a series of estimates begins, and of one of estimates that were taken back. No key id has these.
const ESTIMATES: &str = "\u{1}";
const TAKEN_BACK: &str = "\u{2}";
/// Bytes of packed [`Totals`].
pub const TOTALS_BYTES: usize = FIELDS * 8;

/// What a series used in a bucket, or any sum of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many records there were.
    pub requests: u64,
    /// Those that Keyward refused: of requests that were reported all the same, and of those that were not made.
    pub refused: u64,
    /// Of them, those that a client's fault made fail (4xx).
    pub client_errors: u64,
    /// Of them, those that the provider's fault made fail (5xx).
    pub server_errors: u64,
    /// Tokens of prompts, those from a cache included.
    pub input_tokens: u64,
    /// Of them, those from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers, as prices count them.
    pub output_tokens: u64,
    /// Tokens as the limits count them.
    pub tokens: u64,
    /// The cost in whole nano-dollars.
    pub cost_nanos: u64,
}

impl Totals {
    /// What one record used.
    pub fn of(record: &Record, refused: bool) -> Self {
        if was_not_made(record, refused) {
            return Self { refused: 1, ..Self::default() };
        }
        let told = ReportedTokens {
            used: Some(record.tokens),
            prompt: record.prompt_tokens,
            completion: record.completion_tokens,
            cached: record.cached_tokens,
            ..ReportedTokens::default()
        };
        let tokens = Tokens::of(told).unwrap_or_default();
        let (client, server) = match record.outcome() {
            Outcome::Success | Outcome::Unknown => (0, 0),
            Outcome::ServerError => (0, 1),
            Outcome::AuthFailure | Outcome::NotFound | Outcome::Throttled | Outcome::ClientError => (1, 0),
        };
        Self {
            requests: 1,
            refused: u64::from(refused),
            client_errors: client,
            server_errors: server,
            input_tokens: tokens.prompt(),
            cached_tokens: tokens.cached_input,
            output_tokens: tokens.completion(),
            tokens: record.tokens,
            cost_nanos: record.cost_nanos.unwrap_or(0),
        }
    }

    /// Adds other totals, number by number.
    pub fn merge(&mut self, other: &Self) {
        let (mut mine, others) = (self.numbers(), other.numbers());
        for (mine, other) in mine.iter_mut().zip(others) {
            *mine = mine.saturating_add(other);
        }
        *self = Self::from_numbers(mine);
    }

    /// What is left when other totals are taken away, number by number; never below nothing.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let (mut mine, others) = (self.numbers(), other.numbers());
        for (mine, other) in mine.iter_mut().zip(others) {
            *mine = mine.saturating_sub(other);
        }
        Self::from_numbers(mine)
    }

    /// As bytes: the numbers in the order of the fields, little-endian.
    pub fn pack(&self) -> [u8; TOTALS_BYTES] {
        let mut bytes = [0; TOTALS_BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(self.numbers()) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Totals::pack`] wrote; `None` for anything else.
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TOTALS_BYTES] = bytes.try_into().ok()?;
        let mut numbers = [0; FIELDS];
        for (number, part) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
            *number = u64::from_le_bytes(part.try_into().ok()?);
        }
        Some(Self::from_numbers(numbers))
    }

    fn numbers(&self) -> [u64; FIELDS] {
        [
            self.requests,
            self.refused,
            self.client_errors,
            self.server_errors,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
            self.tokens,
            self.cost_nanos,
        ]
    }

    fn from_numbers(numbers: [u64; FIELDS]) -> Self {
        let [
            requests,
            refused,
            client_errors,
            server_errors,
            input_tokens,
            cached_tokens,
            output_tokens,
            tokens,
            cost_nanos,
        ] = numbers;
        Self {
            requests,
            refused,
            client_errors,
            server_errors,
            input_tokens,
            cached_tokens,
            output_tokens,
            tokens,
            cost_nanos,
        }
    }
}

/// What a series used in a bucket, and how long its requests took.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Measured {
    /// How much was used.
    pub totals: Totals,
    /// How long those of its requests took that reported it.
    pub latencies: Latencies,
}

/// Whether a request used nothing, since it was refused before it was made: it asked to be admitted, or a proxy says
/// so.
fn was_not_made(record: &Record, refused: bool) -> bool {
    record.refused_by_keyward || refused && record.admit
}

impl Measured {
    /// What one record says.
    pub fn of(record: &Record, refused: bool) -> Self {
        let latency = record.latency_ms.filter(|_| !was_not_made(record, refused));
        Self { totals: Totals::of(record, refused), latencies: Latencies::of(latency) }
    }

    /// Adds what was measured elsewhere.
    pub fn merge(&mut self, other: &Self) {
        self.totals.merge(&other.totals);
        self.latencies.merge(&other.latencies);
    }
}

impl From<Totals> for Measured {
    fn from(totals: Totals) -> Self {
        Self { totals, latencies: Latencies::default() }
    }
}

/// Whose usage: a series. What is `None` was not named, or is not told apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct UsageKey {
    /// The project that records named, if any.
    pub project: Option<Arc<str>>,
    /// The model that records named, if any.
    pub model: Option<Arc<str>>,
    /// Public id of the API key.
    pub key: Option<Arc<str>>,
    /// The template of the endpoint: its path with ids taken out.
    pub endpoint: Option<Arc<str>>,
    /// The caller's name for its own end user, if records named one.
    pub user: Option<Arc<str>>,
}

/// What a stored series is of. Sums never go down, so that adding stays a commutative monoid of unsigned numbers:
/// what is taken back is summed in a series of its own, and subtracted when usage is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Sums of what records said was used.
    Records,
    /// Estimates that were charged.
    Estimates,
    /// Estimates that were charged, and then corrected by their records.
    TakenBack,
}

impl UsageKey {
    /// The series of charged estimates beside this one.
    #[must_use]
    pub fn of_estimates(self) -> Self {
        self.marked(ESTIMATES)
    }

    /// The series of charged estimates beside this one that were corrected.
    #[must_use]
    pub fn of_estimates_taken_back(self) -> Self {
        self.marked(TAKEN_BACK)
    }

    fn marked(self, mark: &str) -> Self {
        let key = self.key.as_deref().unwrap_or_default();
        Self { key: Some(format!("{mark}{key}").into()), ..self }
    }

    /// The series that it is beside, and what it is of.
    pub fn side(self) -> (Side, Self) {
        let key = self.key.clone();
        let sides = [(ESTIMATES, Side::Estimates), (TAKEN_BACK, Side::TakenBack)];
        let marked =
            sides.into_iter().find_map(|(mark, side)| Some((side, key.as_deref()?.strip_prefix(mark)?)));
        match marked {
            None => (Side::Records, self),
            Some((side, key)) => (side, Self { key: (!key.is_empty()).then(|| key.into()), ..self }),
        }
    }

    /// As text, the same for the same series in every store: a JSON array of project, model and key; of all five where
    /// endpoint or user are named.
    pub fn encode(&self) -> String {
        let Self { project, model, key, endpoint, user } = self;
        if endpoint.is_none() && user.is_none() {
            return serde_json::json!([project, model, key]).to_string();
        }
        serde_json::json!([project, model, key, endpoint, user]).to_string()
    }

    /// Reads what [`UsageKey::encode`] wrote; `None` for anything else.
    pub fn decode(text: &[u8]) -> Option<Self> {
        let names: Vec<Option<Arc<str>>> = serde_json::from_slice(text).ok()?;
        let mut names = names.into_iter();
        let (project, model, key) = (names.next()?, names.next()?, names.next()?);
        let (endpoint, user) = match names.len() {
            0 => (None, None),
            2 => (names.next()?, names.next()?),
            _ => return None,
        };
        Some(Self { project, model, key, endpoint, user })
    }
}
