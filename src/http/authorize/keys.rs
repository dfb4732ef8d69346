//! The key of a request: looked for in every place that an application may take one from.
//!
//! An application that takes keys from two places can be asked by either, so all of them are looked at: else a banned
//! key would pass by the one that nobody looks at. Two different keys in one request are refused, since nobody knows
//! which of them the application takes.

use std::borrow::Cow;

use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;

use crate::config::KeyPlace;

/// The longest key, in bytes.
const MOST_BYTES: usize = 512;

/// What all places that a key may be in have together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No place has a key; one that is there and empty has none.
    None,
    /// One key, however often.
    One(String),
    /// Two keys that are not the same.
    Ambiguous,
    /// Something that is no key where one belongs: others may read one in it.
    Malformed,
}

/// Looks for the key in all places. `queries` are those that the original request may have had.
pub(super) fn find(places: &[KeyPlace], headers: &HeaderMap, queries: &[Cow<'_, str>]) -> Found {
    let mut found = Found::None;
    for place in places {
        match place {
            KeyPlace::Bearer => in_header(headers, "authorization", bearer, &mut found),
            KeyPlace::Header(name) => in_header(headers, &name.0, whole, &mut found),
            KeyPlace::Query(name) => queries.iter().for_each(|query| in_query(query, name, &mut found)),
        }
    }
    found
}

/// A comma joins what came in several headers of one name, so it separates keys as well.
fn in_header(headers: &HeaderMap, name: &str, read: fn(&str) -> Option<&str>, found: &mut Found) {
    for value in headers.get_all(name) {
        let Ok(text) = value.to_str() else {
            found.add(None);
            continue;
        };
        let given = text.split(',').map(blank_free).filter(|part| !part.is_empty());
        given.for_each(|part| found.add(read(part).map(Cow::Borrowed)));
    }
}

/// The key where it is all that a header has.
fn whole(key: &str) -> Option<&str> {
    Some(key)
}

/// The key behind the scheme, which is read in any case.
fn bearer(credentials: &str) -> Option<&str> {
    let (scheme, key) = credentials.split_once([' ', '\t'])?;
    scheme.eq_ignore_ascii_case("bearer").then(|| blank_free(key))
}

/// A `#` belongs to no query, but a target may have one, and applications differ in whether a value ends there: both
/// are looked at.
fn in_query(query: &str, name: &str, found: &mut Found) {
    let cut = query.contains('#').then(|| query.split(['&', ';', '#']));
    for pair in query.split(['&', ';']).chain(cut.into_iter().flatten()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if decoded(key).is_some_and(|key| key == name) {
            let value = decoded(value);
            // One that came encoded is read in both ways, too.
            let head = value.as_deref().and_then(|value| Some(value.split_once('#')?.0.to_owned()));
            for value in [value].into_iter().chain(head.map(Some)) {
                match value {
                    Some(value) if blank_free(&value).is_empty() => {}
                    value => found.add(value.map(|value| blank_free(&value).to_owned().into())),
                }
            }
        }
    }
}

/// A part of a query as forms write it; `None` where it is not UTF-8.
fn decoded(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

fn blank_free(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

impl Found {
    /// Takes in what a place has; `None`: something that is no key.
    fn add(&mut self, key: Option<Cow<'_, str>>) {
        let is_key = |key: &str| {
            (1..=MOST_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let Some(key) = key.filter(|key| is_key(key)) else {
            *self = Self::Malformed;
            return;
        };
        match self {
            Self::None => *self = Self::One(key.into_owned()),
            Self::One(first) if *first != key => *self = Self::Ambiguous,
            Self::One(_) | Self::Ambiguous | Self::Malformed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn places() -> Vec<KeyPlace> {
        ["authorization", "x-api-key", "api-key", "x-goog-api-key", "query:key"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn found(headers: &[(&'static str, &str)], query: &str) -> Found {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        find(&places(), &map, &[query.into()])
    }

    #[test]
    fn a_key_is_found_in_every_place_and_in_every_spelling() {
        let one = Found::One("sk-1".to_owned());
        for (name, value) in [
            ("authorization", "Bearer sk-1"),
            ("authorization", "bEaReR \t sk-1 \t"),
            ("x-api-key", " sk-1\t"),
            ("api-key", "sk-1"),
            ("x-goog-api-key", "sk-1"),
            ("x-api-key", "sk-1, sk-1"),
        ] {
            assert_eq!(found(&[(name, value)], ""), one, "{name}: {value:?}");
        }
        for query in [
            "key=sk-1",
            "a=b&key=sk-1",
            "k%65y=sk%2D1",
            "key=+sk-1",
            "key=&key=sk-1",
            "a;key=sk-1",
            "a=b#&key=sk-1",
            "#key=sk-1",
        ] {
            assert_eq!(found(&[], query), one, "{query}");
        }
        assert_eq!(found(&[("authorization", "Bearer sk-1"), ("x-api-key", "sk-1")], "key=sk-1"), one);
        assert_eq!(found(&[("authorization", ""), ("x-api-key", "sk-1")], ""), one, "an empty one is none");
    }

    #[test]
    fn two_keys_are_ambiguous_wherever_they_are() {
        for (headers, query) in [
            (vec![("authorization", "Bearer sk-1"), ("x-api-key", "sk-2")], ""),
            (vec![("x-api-key", "sk-1"), ("x-api-key", "sk-2")], ""),
            (vec![("x-api-key", "sk-1,sk-2")], ""),
            (vec![("authorization", "Bearer sk-1, Bearer sk-2")], ""),
            (vec![("api-key", "sk-1")], "key=sk-2"),
            (vec![], "key=sk-1&key=sk-2"),
            (vec![], "key=sk-1#a"),
        ] {
            assert_eq!(found(&headers, query), Found::Ambiguous, "{headers:?} {query}");
        }
    }

    #[test]
    fn what_is_no_key_is_not_taken_for_none() {
        let long = "k".repeat(513);
        for value in [
            "Basic c2stMQ==",
            "sk-1",
            "Bearer",
            "Bearer sk-1 sk-2",
            "Bearer sk\u{a0}1",
            &format!("Bearer {long}"),
        ] {
            assert_eq!(found(&[("authorization", value)], ""), Found::Malformed, "{value}");
        }
        assert_eq!(found(&[("x-api-key", "sk 1")], ""), Found::Malformed);
        assert_eq!(found(&[("x-api-key", "sk-1"), ("api-key", "sk 1")], ""), Found::Malformed);
        for query in ["key=sk%201", "key=%FF", "key=%C3%A9"] {
            assert_eq!(found(&[], query), Found::Malformed, "{query}");
        }
        assert_eq!(found(&[("cookie", "key=sk-1"), ("x-api-key", "\t")], "keys=sk-1"), Found::None);
    }
}
