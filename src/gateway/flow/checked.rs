//! Whether a whole answer is one: some providers put an error into a 200, and some answers are cut off.

use axum::http::{HeaderMap, header};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

/// Statuses after which another attempt may help.
pub(super) fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..)
}

/// What a whole answer of a status below 300 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    /// An answer, as far as anybody can tell.
    Answer,
    /// An error for which this status is meant, after which another attempt may help.
    Failure(u16),
    /// An error for which this status is meant, about the request.
    Refusal(u16),
    /// It ends in the middle.
    Cut,
}

#[derive(Deserialize)]
struct Said {
    error: Option<Value>,
    /// An object that has failed tells so by its status.
    object: Option<IgnoredAny>,
    choices: Option<IgnoredAny>,
}

/// Looks at an answer that says nothing of what it used.
pub(super) fn check(headers: &HeaderMap, body: &[u8]) -> Checked {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") || body.is_empty() {
        return Checked::Answer;
    }
    let said = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said,
        Err(error) if error.is_eof() => return Checked::Cut,
        Err(_) => return Checked::Answer,
    };
    let Some(error) = said.error.filter(|_| said.choices.is_none()) else { return Checked::Answer };
    let code = &error["code"];
    if said.object.is_some() && !matches!(code.as_str(), Some("server_error" | "rate_limit_exceeded")) {
        return Checked::Answer;
    }
    match code.as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code)) {
        Some(401 | 403) | None => Checked::Failure(502),
        Some(code) if is_transient(code) => Checked::Failure(code),
        Some(code) => Checked::Refusal(code),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn an_error_in_a_200_and_an_answer_that_is_cut_off_are_no_answers() {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let json = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        for (body, expected) in [
            (r#"{"choices":[],"error":null}"#, Checked::Answer),
            (r#"{"choices":[],"error":{"code":429}}"#, Checked::Answer),
            (r#"{"error":{"message":"x","code":502}}"#, Checked::Failure(502)),
            (r#"{"error":{"message":"x","code":429}}"#, Checked::Failure(429)),
            (r#"{"error":"x"}"#, Checked::Failure(502)),
            (r#"{"error":{"code":401}}"#, Checked::Failure(502)),
            (r#"{"error":{"code":400}}"#, Checked::Refusal(400)),
            (r#"{"object":"response","error":{"code":"server_error"}}"#, Checked::Failure(502)),
            (r#"{"object":"response","error":{"code":"invalid_prompt"}}"#, Checked::Answer),
            (r#"{"choices":[{"message""#, Checked::Cut),
            ("no json", Checked::Answer),
            ("", Checked::Answer),
        ] {
            assert_eq!(check(&json, body.as_bytes()), expected, "{body}");
        }
        assert_eq!(check(&HeaderMap::new(), b"{"), Checked::Answer);
    }
}
