//! What another service answered to an HTTP request.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::domain::calendar::parse_http_date;

/// Most bytes of a body that are read: a thousand results of Elasticsearch, each with a long reason.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// Most bytes of a body that people are shown.
const MAX_EXCERPT: usize = 300;

/// An answer, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status, from 100 to 999.
    pub status: u16,
    /// How long the service asks to be left alone (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The body, at most 1 MiB of it, without our secrets.
    pub body: Vec<u8>,
    /// Whether the body is whole: it neither broke off nor was longer than is read.
    pub complete: bool,
}

impl HttpResponse {
    /// Whether the status is in the 200s.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the body is longer than is read.
    pub fn is_too_long(&self) -> bool {
        !self.complete && self.body.len() >= MAX_BODY
    }

    /// The body, if it is whole and is such a JSON object. (Serde alone would take an array for one.)
    pub fn object<T: DeserializeOwned>(&self) -> Option<T> {
        let is_object = self.complete && self.body.trim_ascii_start().starts_with(b"{");
        if is_object { serde_json::from_slice(&self.body).ok() } else { None }
    }

    /// The status, for people: `answered 503`.
    pub fn status_line(&self) -> String {
        format!("answered {}", self.status)
    }

    /// The beginning of the body on one line, for people; at most 300 bytes.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(MAX_EXCERPT)]);
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        text.trim().to_owned()
    }

    /// The status and the beginning of the body on one line, for people.
    pub fn summary(&self) -> String {
        let (status, excerpt) = (self.status_line(), self.excerpt());
        if excerpt.is_empty() { status } else { format!("{status}: {excerpt}") }
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110), which is as far away as it is from the clock's now.
pub(super) fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = parse_http_date(text.trim())?;
    u64::try_from(date - crate::clock::wall()).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_shown_on_one_line() {
        let of = |body: &str| {
            let body = body.as_bytes().to_vec();
            HttpResponse { status: 202, retry_after: None, body, complete: true }.summary()
        };
        assert_eq!(of("no\r\nway"), "answered 202: no  way");
        assert_eq!(of(" \n"), "answered 202");
    }

    #[test]
    fn how_long_to_wait_is_seconds_or_a_date() {
        assert_eq!(retry_after("120"), Some(Duration::from_secs(120)));
        assert!(retry_after("Fri, 31 Dec 2100 23:59:59 GMT").unwrap() > Duration::from_secs(3_600));
        assert_eq!(retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }
}
