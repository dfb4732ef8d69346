//! The request that a proxy asks about: its path, and the queries that it may have had.
//!
//! A proxy names it in headers of its own, or appends its path to ours. Headers are believed of trusted proxies alone.
//! All queries that are named are searched for a key, whichever names the path: a client that adds a header of its own
//! can hide no key by it.

use std::borrow::Cow;

use axum::http::{HeaderMap, Uri};

use crate::config;

/// Where the route begins.
pub(in crate::http) const PREFIX: &str = "/v1/authorize";

const FORWARDED_URI: &str = "x-forwarded-uri";
const ORIGINAL_URI: &str = "x-original-uri";
/// The longest path that is kept, in bytes.
const MOST_BYTES: usize = 2048;

/// The request that is asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OriginalRequest<'r> {
    /// Its path, without a query; `/` where nobody names it.
    pub path: String,
    /// Every query that may be its own; where the proxy's own has one, that is the first.
    pub queries: Vec<Cow<'r, str>>,
}

impl OriginalRequest<'_> {
    /// Whether the proxy names a query, other than its own, that is this one.
    pub(super) fn names(&self, query: &str) -> bool {
        // Behind a # a proxy passes nothing on as its own query.
        let before = |named: &str| named.split('#').next() == Some(query);
        !query.is_empty() && self.queries.iter().skip(1).any(|named| before(named))
    }
}

/// The request that is asked about; `trusted`: whether a trusted proxy asks.
pub(super) fn of<'r>(
    uri: &'r Uri,
    headers: &'r HeaderMap,
    trusted: bool,
    named_by: config::Original,
) -> OriginalRequest<'r> {
    let named = |name: &str| -> Vec<Cow<'_, str>> {
        let values = headers.get_all(name).iter().filter(|_| trusted);
        values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect()
    };
    let (forwarded_all, original_all) = (named(FORWARDED_URI), named(ORIGINAL_URI));
    let (forwarded, original) = (forwarded_all.first(), original_all.first());
    let below = uri.path().strip_prefix(PREFIX).filter(|rest| !rest.is_empty());
    let path = match named_by {
        config::Original::First => forwarded.or(original).map(|uri| &**uri).or(below),
        config::Original::Forwarded => forwarded.map(|uri| &**uri),
        config::Original::Original => original.map(|uri| &**uri),
        config::Original::Path => below,
    };
    let path = path_of(path.unwrap_or("/"));
    let others = forwarded_all.iter().chain(&original_all).filter_map(|uri| query_of(uri));
    let queries = uri.query().map(Cow::Borrowed).into_iter().chain(others).collect();
    OriginalRequest { path, queries }
}

/// The path of a target in either form (RFC 9112, section 3.2), cut to what is kept.
pub(in crate::http) fn path_of(target: &str) -> String {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let scheme = ["http://", "https://"].into_iter().find_map(|scheme| target.strip_prefix(scheme));
    let path = scheme.map_or(target, |rest| rest.find('/').map_or("/", |start| &rest[start..]));
    let end = path.floor_char_boundary(MOST_BYTES);
    if path.is_empty() { "/".to_owned() } else { path[..end].to_owned() }
}

/// The query of a target, with whatever is behind a `#` in it: the application gets the target as it is.
fn query_of<'r>(uri: &str) -> Option<Cow<'r, str>> {
    uri.split_once('?').map(|(_, query)| query.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        uri: &str,
        headers: &[(&'static str, &str)],
        trusted: bool,
        named_by: config::Original,
    ) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let uri = uri.parse().unwrap();
        let OriginalRequest { path, queries } = of(&uri, &map, trusted, named_by);
        format!("{path} {}", queries.join("|"))
    }

    #[test]
    fn the_original_is_named_by_the_first_header_that_is_there_or_by_the_path_below() {
        let first = |uri: &str, headers: &[_]| asked(uri, headers, true, config::Original::First);
        let (forwarded, original) = (("x-forwarded-uri", "/f?a=1"), ("x-original-uri", "/o?b=2#c"));
        assert_eq!(first("/v1/authorize?observe", &[forwarded]), "/f observe|a=1");
        assert_eq!(first("/v1/authorize", &[original]), "/o b=2#c");
        assert_eq!(first("/v1/authorize", &[original, forwarded]), "/f a=1|b=2#c");
        assert_eq!(first("/v1/authorize/v1/chat?c=3", &[]), "/v1/chat c=3");
        assert_eq!(first("/v1/authorize/", &[]), "/ ");
        assert_eq!(first("/v1/authorize", &[]), "/ ");
        assert_eq!(first("/v1/authorize", &[("x-forwarded-uri", "https://a.example?x")]), "/ x");
        assert_eq!(first("/v1/authorize", &[("x-original-uri", "http://a.example/p/q?x")]), "/p/q x");
    }

    #[test]
    fn a_query_of_the_clients_is_known_as_such_whatever_is_behind_it() {
        for (named, is_its_own) in [("/a?observe", true), ("/a?observe#b", true), ("/a?observe=false", false)]
        {
            let mut headers = HeaderMap::new();
            headers.append("x-forwarded-uri", named.parse().unwrap());
            let uri: Uri = "/v1/authorize?observe".parse().unwrap();
            assert_eq!(
                of(&uri, &headers, true, config::Original::First).names("observe"),
                is_its_own,
                "{named}"
            );
        }
    }

    #[test]
    fn the_name_that_is_configured_is_the_only_one_and_no_query_is_hidden() {
        let headers = [("x-forwarded-uri", "/f?key=1"), ("x-original-uri", "/o?key=2")];
        let asked = |named_by| asked("/v1/authorize/p?key=3", &headers, true, named_by);
        assert_eq!(asked(config::Original::Forwarded), "/f key=3|key=1|key=2");
        assert_eq!(asked(config::Original::Original), "/o key=3|key=1|key=2");
        assert_eq!(asked(config::Original::Path), "/p key=3|key=1|key=2");
    }

    #[test]
    fn a_header_that_is_there_twice_hides_no_query() {
        let headers = [
            ("x-forwarded-uri", "/f?key=1"),
            ("x-forwarded-uri", "/g?key=2"),
            ("x-original-uri", "/o"),
            ("x-original-uri", "/p?key=3"),
        ];
        let asked = asked("/v1/authorize", &headers, true, config::Original::First);
        assert_eq!(asked, "/f key=1|key=2|key=3");
    }

    #[test]
    fn who_is_not_trusted_names_the_path_alone() {
        let headers = [("x-forwarded-uri", "/f?key=1"), ("x-original-uri", "/o")];
        assert_eq!(asked("/v1/authorize/p?key=3", &headers, false, config::Original::First), "/p key=3");
        assert_eq!(asked("/v1/authorize", &headers, false, config::Original::Forwarded), "/ ");
    }

    #[test]
    fn a_path_is_cut_between_characters() {
        let long = format!("/v1/authorize/{}", "é".repeat(2000));
        let kept = path_of(&long);
        assert!(kept.len() <= MOST_BYTES && kept.len() > MOST_BYTES - 2);
    }
}
