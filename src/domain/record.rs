//! A usage record: what middleware reports of one API request, validated, with the secret already gone.

use std::{net::IpAddr, sync::Arc};

use super::{
    MINUTE, Millis,
    model::{ModelIdentity, ModelName},
    price::Cost,
    subject::Subject,
};

/// What the status of a request says about whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The request was answered with a 1xx, 2xx or 3xx.
    Success,
    /// 401 or 403: the client's credentials were refused.
    AuthFailure,
    /// 404 or 405: the client asked for something that is not there.
    NotFound,
    /// 429: somebody throttled, which is not the client's failure.
    Throttled,
    /// Other 4xx: a bad request.
    ClientError,
    /// 5xx: the provider's failure.
    ServerError,
    /// It is on its way, and nobody knows yet.
    Unknown,
}

impl Outcome {
    /// The outcome that an HTTP status stands for.
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::AuthFailure,
            404 | 405 => Self::NotFound,
            429 => Self::Throttled,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Success,
        }
    }
}

/// How long a retry of a request is recognised where nothing else is set, ms.
pub const RETRY_SPAN: Millis = 2 * MINUTE;

/// One finished (or, for a check, intended) API request. Bounds are enforced where it is made (`intake`).
#[derive(Debug, Clone)]
pub struct Record {
    /// The caller's id for the request, or one that was made for it.
    pub request_id: Arc<str>,
    /// Whether the caller gave the request id (only then can a retry be recognised).
    pub request_id_given: bool,
    /// The public id of the key.
    pub key_id: Arc<str>,
    /// The key as subject.
    pub key: Subject,
    /// The same key under older peppers, whose bans still hold.
    pub former_keys: Vec<Subject>,
    /// The source address as subject (IPv6 by /64).
    pub address: Subject,
    /// The project as subject, when one was named.
    pub project: Option<Subject>,
    /// Path of the endpoint called.
    pub endpoint: Arc<str>,
    /// The caller's own name for its end user, when there is one: usage alone knows it.
    pub user: Option<Arc<str>>,
    /// Model called, as it was reported, when there is one.
    pub model: Option<Arc<str>>,
    /// The model that this is a name of, where the price list knows it.
    pub model_identity: Option<Arc<ModelIdentity>>,
    /// Tokens charged to the token windows.
    pub tokens: u64,
    /// Prompt tokens, when reported.
    pub prompt_tokens: Option<u64>,
    /// Completion tokens, when reported.
    pub completion_tokens: Option<u64>,
    /// Prompt tokens that came from a cache, when reported.
    pub cached_tokens: Option<u64>,
    /// Cost in nano-dollars, as reported or else by the price list; `None` when no model was called.
    pub cost_nanos: Option<u64>,
    /// The model has no price: the cost is by the fallback price.
    pub price_fallback: bool,
    /// Latency in milliseconds, when reported.
    pub latency_ms: Option<f64>,
    /// Where the request came from, mapped IPv4 already unmapped.
    pub source_ip: IpAddr,
    /// The client's own name for itself.
    pub user_agent: Option<Arc<str>>,
    /// HTTP status of the answer the client got.
    pub status: u16,
    /// When the middleware says it happened; evidence only, except in replay where it is the time.
    pub timestamp: Option<Millis>,
    /// Older than the allowed skew: counts where a span still holds its time; detectors skip it.
    pub late: bool,
    /// The proxy reports a request that Keyward itself refused: it is no failure of the client.
    pub refused_by_keyward: bool,
    /// A reservation that this record settles.
    pub reservation_id: Option<Arc<str>>,
    /// Whether it says what was used: tokens of any kind, or the cost; 0 is said, too.
    pub usage_known: bool,
    /// It asks to be admitted, before it is made: where it is refused, nothing is charged.
    pub admit: bool,
    /// It is seen on its way: counted at once, and completed by its record.
    pub observes: bool,
    /// It is more of a request that is counted already, and counts no request itself.
    pub is_part: bool,
    /// Its tokens may be of the prompt or of the completion: an estimate that does not say which.
    pub of_either_kind: bool,
    /// A digest of the whole body (request id and key included), by which a retry is recognised; 0 without an id.
    pub digest: u128,
}

impl Record {
    /// Its tokens without those of the prompt that came from a cache: an agent sends the same again with each call.
    pub fn fresh_tokens(&self) -> u64 {
        self.tokens.saturating_sub(self.cached_tokens.unwrap_or(0))
    }

    /// By what a retry of it is recognised: a digest of id, key and body; `None` where its caller gave it no id.
    pub fn identity(&self) -> Option<u128> {
        self.request_id_given.then_some(self.digest)
    }

    /// What it costs; nothing when no model was called.
    pub fn cost(&self) -> Cost {
        Cost { nanos: self.cost_nanos.unwrap_or(0), fallback: self.price_fallback }
    }

    /// Whether it used anything, or settles what was held for it: then it counts, whatever its status.
    pub fn has_usage(&self) -> bool {
        self.tokens > 0 || self.cost_nanos.is_some_and(|cost| cost > 0) || self.reservation_id.is_some()
    }

    /// The one name under which the use of its model is summed: the bare name of a model that has a price, whatever it
    /// was called; else the reported one.
    pub fn counted_model(&self) -> Option<&Arc<str>> {
        self.model_identity.as_ref().map(|identity| &identity.name).or(self.model.as_ref())
    }

    /// Whether its model is one that `name` means.
    pub fn is_of(&self, name: &ModelName) -> bool {
        self.model.as_deref().is_some_and(|model| name.means(model, self.model_identity.as_deref()))
    }

    /// What the status says.
    pub fn outcome(&self) -> Outcome {
        if self.observes { Outcome::Unknown } else { Outcome::of_status(self.status) }
    }
}
