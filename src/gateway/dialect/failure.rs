//! Refusals and errors of the gateway's own, in the shape that each dialect's clients read as typed errors.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::gateway::settings::Dialect;

/// What went wrong, by what a client can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Kind {
    /// No key came, or one that is not known.
    Unauthorized,
    /// The key may not make this request, or is banned.
    Forbidden,
    /// A limit refuses for now.
    RateLimited,
    /// A budget is used up.
    BudgetExceeded,
    /// The request cannot be read.
    BadRequest,
    /// Prompt and answer do not fit into the model.
    ContextLength,
    /// The body is larger than is taken.
    TooLarge,
    /// No such model is routed.
    UnknownModel,
    /// No such interface is metered.
    UnknownSurface,
    /// The gateway is at its bounds, or its store does not answer.
    Overloaded,
    /// No upstream gave an answer that could be handed on.
    UpstreamFailed,
    /// No upstream answered in time.
    UpstreamTimeout,
}

impl Kind {
    /// The status of the answer.
    pub(in crate::gateway) fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::ContextLength => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::UnknownModel | Self::UnknownSurface => 404,
            Self::TooLarge => 413,
            Self::RateLimited | Self::BudgetExceeded => 429,
            Self::UpstreamFailed => 502,
            Self::Overloaded => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// OpenAI's type of the error, and the code where the caller has none of its own.
    fn openai(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Unauthorized => ("invalid_request_error", Some("invalid_api_key")),
            Self::Forbidden => ("permission_error", None),
            Self::RateLimited => ("requests", Some("rate_limit_exceeded")),
            Self::BudgetExceeded => ("insufficient_quota", Some("insufficient_quota")),
            Self::BadRequest | Self::TooLarge => ("invalid_request_error", None),
            Self::ContextLength => ("invalid_request_error", Some("context_length_exceeded")),
            Self::UnknownModel => ("invalid_request_error", Some("model_not_found")),
            Self::UnknownSurface => ("invalid_request_error", Some("unknown_url")),
            Self::Overloaded | Self::UpstreamFailed | Self::UpstreamTimeout => ("server_error", None),
        }
    }

    fn anthropic(self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication_error",
            Self::Forbidden => "permission_error",
            Self::RateLimited => "rate_limit_error",
            Self::BudgetExceeded => "billing_error",
            Self::BadRequest | Self::ContextLength => "invalid_request_error",
            Self::TooLarge => "request_too_large",
            Self::UnknownModel | Self::UnknownSurface => "not_found_error",
            Self::Overloaded => "overloaded_error",
            Self::UpstreamFailed => "api_error",
            Self::UpstreamTimeout => "timeout_error",
        }
    }
}

/// An answer that says why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) struct Failure {
    /// What went wrong, by what a client can do about it.
    pub kind: Kind,
    /// What went wrong, in a sentence for people. It holds nothing that is secret.
    pub message: String,
    /// Keyward's own name of the reason, such as `API_KEY_BANNED`.
    pub reason: Option<&'static str>,
    /// After how many seconds it would be admitted, where that is known.
    pub retry_after: Option<u64>,
    /// Whether another attempt may help: `false` stops the retries of SDKs.
    pub may_retry: bool,
}

impl Failure {
    /// A failure that no retry of the same request changes.
    pub(in crate::gateway) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), reason: None, retry_after: None, may_retry: false }
    }

    /// The body of the answer.
    pub(in crate::gateway) fn body(&self, dialect: Dialect, request_id: &str) -> Value {
        match dialect {
            Dialect::Openai => json!({ "error": self.openai() }),
            Dialect::Anthropic => json!({
                "type": "error", "request_id": request_id,
                "error": { "type": self.kind.anthropic(), "message": self.message },
            }),
        }
    }

    fn openai(&self) -> Value {
        let (kind, code) = self.kind.openai();
        let reason = self.reason.map(str::to_ascii_lowercase);
        let code = code.map(str::to_owned).or(reason);
        json!({ "message": self.message, "type": kind, "param": null, "code": code })
    }

    /// The event with which a stream that cannot go on ends. A clean end would pass for a whole answer.
    pub(in crate::gateway) fn event(&self, dialect: Dialect, request_id: &str) -> Bytes {
        let name = if dialect == Dialect::Anthropic { "event: error\n" } else { "" };
        format!("{name}data: {}\n\n", self.body(dialect, request_id)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_has_the_shape_that_its_clients_read() {
        let failure =
            Failure { reason: Some("API_KEY_BANNED"), ..Failure::new(Kind::Forbidden, "The key is banned.") };
        let openai = json!({"error": {"message": "The key is banned.", "type": "permission_error", "param": null,
            "code": "api_key_banned"}});
        assert_eq!(failure.body(Dialect::Openai, "r"), openai);
        let anthropic = json!({"type": "error", "request_id": "r", "error": {"type": "permission_error",
            "message": "The key is banned."}});
        assert_eq!(failure.body(Dialect::Anthropic, "r"), anthropic);
        let event = String::from_utf8(failure.event(Dialect::Anthropic, "r").to_vec()).unwrap();
        assert_eq!(event, format!("event: error\ndata: {anthropic}\n\n"));
        assert!(failure.event(Dialect::Openai, "r").starts_with(b"data: {\"error\""));
    }
}
