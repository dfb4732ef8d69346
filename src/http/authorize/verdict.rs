//! The answer to a proxy: a status, headers that are always there, and for a refusal a short body that the client
//! libraries of OpenAI and Anthropic turn into the errors that they have for it.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::decision::{Decision, Reason},
    http::ratelimit,
};

const DECISION: HeaderName = HeaderName::from_static("x-keyward-decision");
const REASON: HeaderName = HeaderName::from_static("x-keyward-reason");
const KEY_ID: HeaderName = HeaderName::from_static("x-keyward-key-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-keyward-request-id");
const RESERVATION: HeaderName = HeaderName::from_static("x-keyward-reservation");

/// What a proxy is told.
pub(super) enum Verdict {
    /// The engine has decided.
    Decided(Box<Decision>),
    /// There is no key, and it may pass.
    PassesWithoutKey,
    /// It is refused before the engine is asked, or by the address alone.
    Refused(Refusal),
    /// It would be refused so, and passes while the policy observes.
    WouldBeRefused(Refusal),
    /// Whoever set up the proxy made a mistake, which is in the log.
    Misconfigured(&'static str),
}

/// A refusal that needs no decision about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    MissingKey,
    MalformedKey,
    AmbiguousKey,
    BannedAddress { seconds: Option<u64> },
}

/// The body of a refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Refused {
    /// `error`, always.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "error")]
    kind: &'static str,
    /// What was refused, and why.
    error: RefusedBecause,
}

/// Why a request is refused, as the client reads it.
#[derive(Debug, Serialize, ToSchema)]
struct RefusedBecause {
    /// What client libraries tell errors apart by.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "permission_error")]
    kind: &'static str,
    /// The reason, as in `X-Keyward-Reason`.
    #[schema(value_type = String, example = "API_KEY_BANNED")]
    code: &'static str,
    /// The reason in a sentence.
    #[schema(value_type = String)]
    message: &'static str,
    /// Nothing: libraries expect the member.
    #[schema(value_type = Option<String>)]
    param: Option<()>,
}

impl Verdict {
    /// The answer. Every header of ours is there, empty where there is nothing to say: a proxy that copies them takes
    /// the place of what the client may have sent by that name. `request_id`: where nothing was decided.
    pub(super) fn into_response(self, request_id: &str) -> Response {
        let mut headers = HeaderMap::new();
        let (status, decision, code) = match &self {
            Self::Decided(decision) => {
                ratelimit::add(&mut headers, decision);
                put(&mut headers, KEY_ID, &decision.key_id);
                put(&mut headers, RESERVATION, decision.reserved.as_ref().map_or("", |held| &held.id));
                let reason = decision.reason.filter(|_| !decision.allowed);
                reason.map_or((StatusCode::OK, "allow", "NONE"), |why| (status(why), "deny", why.name()))
            }
            Self::PassesWithoutKey => (StatusCode::OK, "allow", "NO_KEY"),
            Self::WouldBeRefused(refusal) => (StatusCode::OK, "allow", refusal.code()),
            Self::Refused(refusal) => {
                if let Refusal::BannedAddress { seconds: Some(seconds) } = refusal {
                    put(&mut headers, header::RETRY_AFTER, &seconds.to_string());
                }
                (refusal.status(), "deny", refusal.code())
            }
            Self::Misconfigured(code) => (StatusCode::SERVICE_UNAVAILABLE, "misconfigured", *code),
        };
        let decided = if let Self::Decided(decision) = &self { &decision.request_id } else { request_id };
        for (name, text) in [(DECISION, decision), (REASON, code), (REQUEST_ID, decided)] {
            put(&mut headers, name, text);
        }
        for name in [KEY_ID, RESERVATION] {
            headers.entry(name).or_insert(HeaderValue::from_static(""));
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let body = if status == StatusCode::OK { Body::empty() } else { refusal(status, code, &mut headers) };
        (status, headers, body).into_response()
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// The body of a refusal, and the headers that belong to it.
fn refusal(status: StatusCode, code: &'static str, headers: &mut HeaderMap) -> Body {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"api\""));
    }
    let kind = match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        _ => "api_error",
    };
    let error = RefusedBecause { kind, code, message: message(code), param: None };
    serde_json::to_vec(&Refused { kind: "error", error }).map_or_else(|_| Body::empty(), Body::from)
}

/// The status by which a proxy is told a reason.
fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::UnknownKey => StatusCode::UNAUTHORIZED,
        Reason::RateLimitExceeded | Reason::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
        Reason::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::ApiKeyBanned
        | Reason::IpBanned
        | Reason::ProjectBanned
        | Reason::CriticalAnomalyDetected
        | Reason::KeyNotAllowed => StatusCode::FORBIDDEN,
    }
}

fn message(code: &str) -> &'static str {
    match code {
        "API_KEY_BANNED" => "This API key is banned.",
        "IP_BANNED" => "Requests from this address are banned.",
        "PROJECT_BANNED" => "The project of this API key is banned.",
        "CRITICAL_ANOMALY_DETECTED" => "This request led to a ban.",
        "KEY_NOT_ALLOWED" => "This API key may not be used for this request.",
        "UNKNOWN_KEY" => "This API key is not known.",
        "MISSING_KEY" => "This request has no API key.",
        "MALFORMED_KEY" => "The credentials of this request are no API key.",
        "AMBIGUOUS_KEY" => "This request has two different API keys.",
        "RATE_LIMIT_EXCEEDED" => "A limit of this API key is exceeded.",
        "BUDGET_EXCEEDED" => "The budget of this API key is used up.",
        _ => "The request cannot be authorized at the moment.",
    }
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::MissingKey | Self::MalformedKey => StatusCode::UNAUTHORIZED,
            Self::AmbiguousKey | Self::BannedAddress { .. } => StatusCode::FORBIDDEN,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::MissingKey => "MISSING_KEY",
            Self::MalformedKey => "MALFORMED_KEY",
            Self::AmbiguousKey => "AMBIGUOUS_KEY",
            Self::BannedAddress { .. } => Reason::IpBanned.name(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_status_and_a_sentence_of_its_own() {
        let sentences: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| message(reason.name())).collect();
        assert_eq!(sentences.len(), Reason::ALL.len());
        let of = |reason| status(reason).as_u16();
        assert_eq!(of(Reason::UnknownKey), 401);
        assert_eq!(of(Reason::BudgetExceeded), 429);
        assert_eq!(of(Reason::StoreUnavailable), 503);
        assert_eq!(of(Reason::KeyNotAllowed), 403);
    }
}
