//! Whose request it is, and from where it comes.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, header};
use zeroize::Zeroizing;

use super::super::dialect::failure::{Failure, Kind};
use crate::domain::key::canonical_api_key;

/// Longest name of a client for itself, in bytes; what is longer is cut off.
const LONGEST_AGENT: usize = 1_024;

/// Who makes a request.
pub(super) struct Caller {
    /// The virtual key in the clear: it is hashed where a record is made, and dropped with the request.
    pub secret: Zeroizing<String>,
    /// Where the request comes from.
    pub address: IpAddr,
    /// The client's own name for itself.
    pub user_agent: Option<String>,
}

/// The key of a request, wherever SDKs put it: `Authorization: Bearer`, `x-api-key` or `api-key`.
///
/// # Errors
/// There is none, it is none, or there are two different ones.
pub(super) fn credential(headers: &HeaderMap) -> Result<Zeroizing<String>, Failure> {
    let mut found: Option<Zeroizing<String>> = None;
    let bearers = headers.get_all(header::AUTHORIZATION).iter().map(|value| (value, true));
    let others = headers.get_all("x-api-key").iter().chain(headers.get_all("api-key").iter());
    for (value, is_bearer) in bearers.chain(others.map(|value| (value, false))) {
        let secret = key_in(value, is_bearer).ok_or_else(no_key)?;
        if found.as_ref().is_some_and(|earlier| **earlier != *secret) {
            let words = "Two different API keys came with one request: send one of them.";
            return Err(Failure { reason: Some("AMBIGUOUS_KEY"), ..Failure::new(Kind::Forbidden, words) });
        }
        found = Some(secret);
    }
    found.ok_or_else(no_key)
}

fn no_key() -> Failure {
    let words = "No API key came with the request: send one that Keyward knows as `Authorization: Bearer <key>`, or \
                 as `x-api-key`.";
    Failure::new(Kind::Unauthorized, words)
}

fn key_in(value: &HeaderValue, is_bearer: bool) -> Option<Zeroizing<String>> {
    let text = value.to_str().ok()?.trim();
    let text = match text.split_once(' ') {
        Some((scheme, key)) if is_bearer && scheme.eq_ignore_ascii_case("bearer") => key,
        _ if is_bearer => return None,
        _ => text,
    };
    let mut secret = Zeroizing::new(text.to_owned());
    canonical_api_key(&mut secret).then_some(secret)
}

/// The client's own name for itself, as far as records hold it.
pub(super) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::USER_AGENT)?.to_str().ok()?;
    let end = (0..=text.len().min(LONGEST_AGENT)).rev().find(|end| text.is_char_boundary(*end))?;
    Some(text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_key_is_found_wherever_sdks_put_it_and_two_different_ones_are_refused() {
        let of = |pairs: &[(&'static str, &'static str)]| {
            credential(&headers(pairs)).map(|key| key.to_string()).map_err(|failure| failure.kind.status())
        };
        assert_eq!(of(&[("authorization", "bEARER  kwk_1 ")]), Ok("kwk_1".to_owned()));
        assert_eq!(of(&[("x-api-key", "kwk_1")]), Ok("kwk_1".to_owned()));
        assert_eq!(of(&[("api-key", "kwk_1"), ("authorization", "Bearer kwk_1")]), Ok("kwk_1".to_owned()));
        assert_eq!(of(&[("x-api-key", "kwk_1"), ("authorization", "Bearer kwk_2")]), Err(403));
        assert_eq!(of(&[("x-api-key", "kwk_1"), ("x-api-key", "kwk_2")]), Err(403));
        for none in [vec![], vec![("authorization", "Basic eDp5")], vec![("x-api-key", "")]] {
            assert_eq!(of(&none), Err(401), "{none:?}");
        }
    }
}
