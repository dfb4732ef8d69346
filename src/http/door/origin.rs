//! Whether a web page sent a request, and which.
//!
//! A browser adds `Origin` to what pages send (not to plain reads of their own origin), and `Sec-Fetch-Site` wherever
//! it holds the address to be trustworthy, as it does for loopback. Programs send neither, and are not concerned.

use axum::http::{HeaderMap, HeaderValue, Method, header};

use super::host::Authority;
use crate::http::error::ApiError;

/// How the page that asks relates to what it asks, in the browser's words.
const SITE: &str = "sec-fetch-site";

/// Refuses what a page of another origin sends. `called` is the host that the request calls, where the service answers
/// to it; where it does not, every page is foreign.
///
/// # Errors
/// [`ApiError::ForeignOrigin`].
pub(super) fn check(headers: &HeaderMap, called: Option<&Authority>) -> Result<(), ApiError> {
    let own_origin = |origin| called.is_some_and(|called| is_same(origin, called));
    let own_site = |site: &HeaderValue| site == "same-origin" || site == "none";
    let mut origins = headers.get_all(header::ORIGIN).iter();
    if origins.all(own_origin) && headers.get_all(SITE).iter().all(own_site) {
        Ok(())
    } else {
        Err(ApiError::ForeignOrigin)
    }
}

/// Whether a browser opens a page in a tab, by a link or by its address, from wherever. Nothing is acted on by that,
/// and no other page reads what it shows.
pub(super) fn is_navigation(method: &Method, headers: &HeaderMap) -> bool {
    let only = |name: &str, value: &str| {
        let mut all = headers.get_all(name).iter();
        all.next().is_some_and(|one| one == value) && all.next().is_none()
    };
    method == Method::GET
        && headers.get(header::ORIGIN).is_none()
        && only("sec-fetch-mode", "navigate")
        && only("sec-fetch-dest", "document")
}

/// Whether an origin has the host and port that are called. Behind a proxy that ends TLS its scheme is not ours, so
/// only its default port is taken from the scheme.
fn is_same(origin: &HeaderValue, called: &Authority) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let schemes = [("http://", 80), ("https://", 443)];
    schemes.into_iter().any(|(scheme, default)| {
        let named = origin.strip_prefix(scheme).and_then(Authority::parse);
        named.is_some_and(|named| {
            named.host == called.host && named.port.unwrap_or(default) == called.port.unwrap_or(default)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(called: &str, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        check(&headers, Authority::parse(called).as_ref()).is_ok()
    }

    #[test]
    fn an_origin_is_ones_own_with_the_host_and_port_that_are_called() {
        for (called, origin) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("LOCALHOST:8080", "http://localhost:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("keyward.example", "https://keyward.example"),
            ("keyward.example:443", "https://keyward.example"),
            ("keyward.example", "http://keyward.example"),
        ] {
            assert!(passes(called, &[("origin", origin)]), "{called} from {origin}");
        }
    }

    #[test]
    fn every_other_origin_is_foreign() {
        for origin in [
            "null",
            "",
            "http://127.0.0.1:8081",
            "http://127.0.0.1",
            "https://127.0.0.1",
            "http://localhost:8080",
            "http://127.0.0.2:8080",
            "http://evil.example",
            "http://127.0.0.1:8080.evil.example",
            "http://127.0.0.1:8080/",
            "http://user@127.0.0.1:8080",
            "chrome-extension://127.0.0.1:8080",
            "file://",
            "127.0.0.1:8080",
            "http://127.0.0.1:8080 http://evil.example",
        ] {
            assert!(!passes("127.0.0.1:8080", &[("origin", origin)]), "{origin}");
        }
        let own = ("origin", "http://127.0.0.1:8080");
        assert!(!passes("127.0.0.1:8080", &[own, ("origin", "http://evil.example")]), "one of two");
        assert!(
            check(&HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("http://a"))]), None)
                .is_err()
        );
    }

    #[test]
    fn what_the_browser_says_of_the_site_must_be_the_same_origin_or_no_page_at_all() {
        for (site, own) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
            ("", false),
            ("x", false),
        ] {
            assert_eq!(passes("127.0.0.1:8080", &[(SITE, site)]), own, "{site}");
        }
        assert!(!passes("127.0.0.1:8080", &[(SITE, "same-origin"), (SITE, "cross-site")]));
        assert!(passes("127.0.0.1:8080", &[]), "a program sends neither");
    }
}
