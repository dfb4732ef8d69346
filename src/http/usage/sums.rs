//! Sums of usage as answers show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    money::Usd,
    usage::{Latencies, Totals},
};

/// Sums of usage over a bucket or a span.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct Sums {
    /// How many records there were.
    pub requests: u64,
    /// Of them, those that Keyward refused.
    pub refused: u64,
    /// Of them, those that failed with a 4xx.
    pub client_errors: u64,
    /// Of them, those that failed with a 5xx.
    pub server_errors: u64,
    /// Tokens, as the limits count them.
    pub tokens: u64,
    /// Tokens of prompts, those from a cache included.
    pub input_tokens: u64,
    /// Of them, those from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers, as prices count them.
    pub output_tokens: u64,
    /// US dollars: a decimal, exact to the nano-dollar.
    #[schema(value_type = String, example = "0.007456")]
    pub cost_usd: Usd,
    /// Milliseconds that half of the requests were not above, of those that reported it; null where none did.
    #[schema(example = 840.0)]
    pub latency_p50_ms: Option<f64>,
    /// Milliseconds that 95 of a hundred were not above.
    pub latency_p95_ms: Option<f64>,
    /// Milliseconds that 99 of a hundred were not above.
    pub latency_p99_ms: Option<f64>,
}

impl Sums {
    /// The names of its columns, in the order of [`Sums::texts`].
    pub(super) const NAMES: [&'static str; 12] = [
        "requests",
        "refused",
        "client_errors",
        "server_errors",
        "tokens",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "cost_usd",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
    ];

    /// Each number as text; a latency that nobody reported is empty.
    pub(super) fn texts(&self) -> impl Iterator<Item = String> + use<> {
        let numbers = [
            self.requests,
            self.refused,
            self.client_errors,
            self.server_errors,
            self.tokens,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
        ];
        let latencies = [self.latency_p50_ms, self.latency_p95_ms, self.latency_p99_ms];
        let latencies = latencies.map(|latency| latency.map(|ms| ms.to_string()).unwrap_or_default());
        numbers
            .map(|number| number.to_string())
            .into_iter()
            .chain([self.cost_usd.to_string()])
            .chain(latencies)
    }

    /// What a row holds: how much was used, and how long it took where any record said so.
    pub(super) fn of(totals: &Totals, latencies: Option<&Latencies>) -> Self {
        let percentile = |percent| latencies.and_then(|latencies| latencies.percentile(percent));
        Self {
            latency_p50_ms: percentile(50),
            latency_p95_ms: percentile(95),
            latency_p99_ms: percentile(99),
            ..Self::from(totals)
        }
    }
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Self {
        Self {
            requests: totals.requests,
            refused: totals.refused,
            client_errors: totals.client_errors,
            server_errors: totals.server_errors,
            tokens: totals.tokens,
            input_tokens: totals.input_tokens,
            cached_tokens: totals.cached_tokens,
            output_tokens: totals.output_tokens,
            cost_usd: Usd(totals.cost_nanos),
            latency_p50_ms: None,
            latency_p95_ms: None,
            latency_p99_ms: None,
        }
    }
}
