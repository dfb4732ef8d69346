//! HTTP as sinks speak it: the headers that most send, and what the status of an answer means for a batch.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{
    error::{SendError, SendErrorKind},
    secret::Secret,
};
use crate::{
    outbound::{HttpClient, HttpResponse},
    settings::SettingError,
};

/// Sends a POST; only a status in the 200s counts as taken.
///
/// # Errors
/// Why there was no answer, or what its status means.
pub(super) async fn post(
    client: &HttpClient,
    path: &str,
    headers: HeaderMap,
    body: Vec<u8>,
) -> Result<HttpResponse, SendError> {
    accepted(client.post(path, headers, body).await?)
}

/// The answer, if its status is in the 200s.
///
/// # Errors
/// What any other status means for the batch.
pub(super) fn accepted(response: HttpResponse) -> Result<HttpResponse, SendError> {
    let retry_after = response.retry_after;
    match response.status {
        200..=299 => Ok(response),
        300..=399 => Err(answered(SendErrorKind::Denied, &response)
            .detail("redirects are not followed, name the final URL")),
        400 | 413 | 415 | 422 => Err(answered(SendErrorKind::Refused, &response)),
        408 | 425 | 429 | 503 => Err(answered(SendErrorKind::Busy { retry_after }, &response)),
        400..=499 => Err(answered(SendErrorKind::Denied, &response)),
        _ if retry_after.is_some() => Err(answered(SendErrorKind::Busy { retry_after }, &response)),
        _ => Err(answered(SendErrorKind::Broken, &response)),
    }
}

/// An error by an answer: its status in our words, its body in the receiver's.
pub(super) fn answered(kind: SendErrorKind, response: &HttpResponse) -> SendError {
    SendError::new(kind, response.status_line()).detail(response.excerpt())
}

/// The headers of a JSON body, with `Authorization` if there is a secret for it.
///
/// # Errors
/// The setting `authorization`, if its secret cannot be read or is no value of a header.
pub(super) fn json_headers(authorization: Option<&Secret>) -> Result<HeaderMap, SettingError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(secret) = authorization {
        let text = secret.read("authorization")?;
        headers.insert(AUTHORIZATION, sensitive("authorization", &text)?);
    }
    Ok(headers)
}

/// The value of a header that is never shown.
///
/// # Errors
/// `setting`, if the text is no value of a header; says nothing of what is in it.
pub(super) fn sensitive(setting: &'static str, text: &str) -> Result<HeaderValue, SettingError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|error| SettingError::new(setting, "must be printable text in one line").because(error))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_answer_says_whether_to_wait_to_park_or_to_correct_settings() {
        let of = |status, retry_after| {
            let response = HttpResponse { status, retry_after, body: b"no\r\nway".to_vec(), complete: true };
            accepted(response).map_err(|error| error.kind)
        };
        let soon = Some(Duration::from_secs(7));
        assert!(of(202, None).is_ok());
        assert_eq!(of(301, None), Err(SendErrorKind::Denied));
        assert_eq!(of(400, None), Err(SendErrorKind::Refused));
        assert_eq!(of(401, None), Err(SendErrorKind::Denied));
        assert_eq!(of(410, None), Err(SendErrorKind::Denied));
        assert_eq!(of(429, soon), Err(SendErrorKind::Busy { retry_after: soon }));
        assert_eq!(of(500, None), Err(SendErrorKind::Broken));
        assert_eq!(of(502, soon), Err(SendErrorKind::Busy { retry_after: soon }));
    }

    #[test]
    fn what_the_other_side_wrote_is_no_part_of_the_summary() {
        let response =
            HttpResponse { status: 429, retry_after: None, body: b"no\r\nway".to_vec(), complete: true };
        let error = accepted(response).unwrap_err();
        assert_eq!(error.to_string(), "answered 429: no  way");
        assert_eq!(error.summary(), "answered 429");
    }
}
