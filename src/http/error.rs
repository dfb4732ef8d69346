//! The one door for errors: every answer that is not a success leaves through here, as a problem document (RFC 9457).

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    domain::scope::Scope,
    intake::{FieldError, InputError},
    store::StoreError,
};

/// The media type of every error answer.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:keyward:problem:invalid-input")]
    pub kind: &'static str,
    /// The kind in words.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// The status of HTTP, as in the answer's first line.
    pub status: u16,
    /// What is wrong here, and the hint.
    pub detail: String,
    /// For bad input: each field that is wrong. A parameter is named like a field. In a batch, the pointer is
    /// relative to the item.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// Why a request was not done. Display is what the caller reads, so it never repeats a secret.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The body is not JSON, or a part of the request cannot be read.
    #[error("{0}")]
    Syntax(String),
    /// There is no body.
    #[error("the body is empty; send a JSON document")]
    EmptyBody,
    /// The client stopped sending.
    #[error("the body ended early")]
    BrokenBody,
    /// The body did not come in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// The body is larger than the route takes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// More is in the body than the route takes.
    #[error("{0}")]
    TooMany(String),
    /// The body is of another kind than the route takes.
    #[error("send {0} in UTF-8, packed with gzip, zstd or not at all (Content-Encoding)")]
    MediaType(&'static str),
    /// The content type is one that the form of any web page can send, or is missing.
    #[error(
        "POST, PUT and PATCH need the header Content-Type: application/json, also without a body (a batch takes \
         application/x-ndjson or application/jsonl, too)"
    )]
    FormContentType,
    /// The request does not say, in one way, which host it calls.
    #[error("{0}")]
    BadHost(&'static str),
    /// The service does not answer to the host that is called.
    #[error(
        "the service does not answer to the host that this request calls; call it by another name or address of it, or \
         add this one to server.hosts in its configuration (0.0.0.0 and [::] cannot be added)"
    )]
    WrongHost,
    /// A page of another origin sent the request.
    #[error(
        "a web page of another origin sent this (see its Origin and Sec-Fetch-Site), and only pages of this \
                 service may \
         call it from a browser; call it from a program, or type its address into the browser"
    )]
    ForeignOrigin,
    /// It can be read, but is not as it must be.
    #[error("{}", summary(.0))]
    Fields(Vec<FieldError>),
    /// No token, or not a good one.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A good token that may not do this.
    #[error("the token lacks the scope {}", .0.name())]
    Forbidden(Scope),
    /// What the path names is not there.
    #[error("{0}")]
    NotFound(String),
    /// There is no route of this path.
    #[error("there is nothing at this path; see /docs for what there is")]
    NoRoute,
    /// The route has other methods.
    #[error("this path does not take this method; the Allow header names those it takes")]
    MethodNotAllowed,
    /// It does not go together with what is there.
    #[error("{0}")]
    Conflict(String),
    /// `If-Match` names another version.
    #[error("it has changed since the version that If-Match names; read it again")]
    Changed,
    /// The store could not do it.
    #[error("{}", store_detail(.0))]
    Store(#[from] StoreError),
    /// The files of the store are gone while the service runs.
    #[error("the files of the store are gone: nothing is written; put them back, or restart the service")]
    DataGone,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Stopping,
    /// A fault of the service.
    #[error("the service made a mistake; it is in its log")]
    Internal,
    /// A status that some layer answered with by itself.
    #[error("{}", .0.canonical_reason().unwrap_or("the request was refused"))]
    Other(StatusCode),
}

impl ApiError {
    /// An error about one field or parameter.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::Fields(vec![FieldError::new(pointer, detail)])
    }

    /// The status, the stable name and the title of the kind.
    fn kind(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Syntax(_) => (StatusCode::BAD_REQUEST, "urn:keyward:problem:bad-syntax", "Cannot be read"),
            Self::EmptyBody => (StatusCode::BAD_REQUEST, "urn:keyward:problem:empty-body", "Empty body"),
            Self::BrokenBody => {
                (StatusCode::BAD_REQUEST, "urn:keyward:problem:broken-body", "Incomplete body")
            }
            Self::SlowBody => (StatusCode::REQUEST_TIMEOUT, "urn:keyward:problem:timeout", "Too slow"),
            Self::TooLarge(_) | Self::TooMany(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "urn:keyward:problem:too-large", "Body too large")
            }
            Self::BadHost(_) => {
                (StatusCode::BAD_REQUEST, "urn:keyward:problem:bad-host", "Host cannot be read")
            }
            Self::WrongHost => {
                (StatusCode::MISDIRECTED_REQUEST, "urn:keyward:problem:wrong-host", "Wrong host")
            }
            Self::ForeignOrigin => {
                (StatusCode::FORBIDDEN, "urn:keyward:problem:foreign-origin", "Foreign origin")
            }
            Self::MediaType(_) | Self::FormContentType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "urn:keyward:problem:media-type",
                "Unsupported content type",
            ),
            Self::Fields(_) | Self::Store(StoreError::BadCursor) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "urn:keyward:problem:invalid-input", "Invalid input")
            }
            Self::Unauthenticated(_) => {
                (StatusCode::UNAUTHORIZED, "urn:keyward:problem:unauthenticated", "Not authenticated")
            }
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "urn:keyward:problem:forbidden", "Not allowed"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "urn:keyward:problem:not-found", "Not found"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "urn:keyward:problem:no-route", "No such path"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "urn:keyward:problem:method", "Method not allowed")
            }
            Self::Conflict(_) => (StatusCode::CONFLICT, "urn:keyward:problem:conflict", "Conflict"),
            Self::Changed => {
                (StatusCode::PRECONDITION_FAILED, "urn:keyward:problem:changed", "Changed meanwhile")
            }
            Self::Store(StoreError::Incompatible(_)) | Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "urn:keyward:problem:internal", "Internal error")
            }
            Self::Store(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "urn:keyward:problem:store-unavailable",
                "Store unavailable",
            ),
            Self::DataGone => (StatusCode::SERVICE_UNAVAILABLE, "urn:keyward:problem:data-gone", "Data gone"),
            Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "urn:keyward:problem:stopping", "Shutting down")
            }
            Self::Other(status) => (*status, "about:blank", status.canonical_reason().unwrap_or("Error")),
        }
    }

    /// The problem document of it (RFC 9457).
    pub fn into_problem(self) -> Problem {
        let (status, kind, title) = self.kind();
        let detail = self.to_string();
        let errors = match self {
            Self::Fields(errors) => errors,
            Self::Store(StoreError::BadCursor) => {
                vec![FieldError::new("/cursor", "is not one that this service gave out")]
            }
            _ => Vec::new(),
        };
        Problem { kind, title, status: status.as_u16(), detail, errors }
    }

    /// What belongs into the head of the answer: how to authenticate, when to try again.
    fn headers(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Self::Unauthenticated(_) => (header::WWW_AUTHENTICATE, "Bearer realm=\"keyward\"".to_owned()),
            Self::Forbidden(scope) => (
                header::WWW_AUTHENTICATE,
                format!("Bearer realm=\"keyward\", error=\"insufficient_scope\", scope=\"{}\"", scope.name()),
            ),
            Self::Store(StoreError::Unavailable(_) | StoreError::Deadline(_)) => {
                (header::RETRY_AFTER, "1".to_owned())
            }
            Self::Store(StoreError::Refused(_)) | Self::Stopping => (header::RETRY_AFTER, "5".to_owned()),
            _ => return None,
        };
        HeaderValue::try_from(text).ok().map(|value| (name, value))
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Syntax(_) => Self::Syntax(error.to_string()),
            InputError::Fields(errors) => Self::Fields(errors),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Store(error) = &self {
            tracing::warn!(%error, "a request could not be done");
        }
        let status = self.kind().0;
        let mut headers = HeaderMap::new();
        headers.extend(self.headers());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        let body = serde_json::to_vec(&self.into_problem()).unwrap_or_default();
        (status, headers, body).into_response()
    }
}

/// One sentence about all that is wrong, for people who read no further.
fn summary(errors: &[FieldError]) -> String {
    let each: Vec<String> = errors.iter().map(|e| format!("{} {}", e.pointer, e.detail)).collect();
    each.join("; ")
}

/// What callers are told of the store: not its own words, which may name hosts and files.
fn store_detail(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(_) => "the store does not answer; try again",
        StoreError::Deadline(_) => {
            "the store did not answer in time; what was asked may be done all the same: look before you try again"
        }
        StoreError::Refused(_) => "the store refuses to write; see /readyz and the service's log",
        StoreError::Incompatible(_) => "the store holds something that this version cannot use",
        StoreError::BadCursor => "the cursor is not one that this service gave out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_names_its_kind_and_carries_its_headers() {
        let cases = [
            (ApiError::Syntax("not valid JSON".into()), 400, None),
            (ApiError::EmptyBody, 400, None),
            (ApiError::TooLarge(1), 413, None),
            (ApiError::TooMany("too many spans".into()), 413, None),
            (ApiError::MediaType("application/json"), 415, None),
            (ApiError::FormContentType, 415, None),
            (ApiError::BadHost("the request has no Host header"), 400, None),
            (ApiError::WrongHost, 421, None),
            (ApiError::ForeignOrigin, 403, None),
            (ApiError::field("/x", "is required"), 422, None),
            (ApiError::Unauthenticated("no"), 401, Some("www-authenticate")),
            (ApiError::Forbidden(Scope::Admin), 403, Some("www-authenticate")),
            (ApiError::NoRoute, 404, None),
            (ApiError::Conflict("it is in use".into()), 409, None),
            (ApiError::Store(StoreError::Unavailable("x".into())), 503, Some("retry-after")),
            (
                ApiError::Store(StoreError::Deadline(std::time::Duration::from_millis(40))),
                503,
                Some("retry-after"),
            ),
            (ApiError::Store(StoreError::Refused("x".into())), 503, Some("retry-after")),
            (ApiError::Store(StoreError::BadCursor), 422, None),
        ];
        for (error, status, header) in cases {
            let shown = format!("{error:?}");
            let response = error.into_response();
            assert_eq!(response.status(), status, "{shown}");
            assert_eq!(response.headers()["content-type"], PROBLEM_JSON, "{shown}");
            assert!(header.is_none_or(|name| response.headers().contains_key(name)), "{shown}");
        }
    }

    #[test]
    fn a_problem_has_the_members_of_the_contract() {
        let problem = ApiError::field("/endpoint", "is required").into_problem();
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            concat!(
                r#"{"type":"urn:keyward:problem:invalid-input","title":"Invalid input","status":422,"#,
                r#""detail":"/endpoint is required","errors":[{"pointer":"/endpoint","detail":"is required"}]}"#,
            )
        );
    }

    #[test]
    fn callers_do_not_read_the_stores_own_words() {
        let error = ApiError::Store(StoreError::Unavailable("redis at 10.0.0.9 refused".into()));
        assert!(!error.into_problem().detail.contains("10.0.0.9"));
    }
}
