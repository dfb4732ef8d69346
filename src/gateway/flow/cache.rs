//! Answers that are given again: to projects that ask for it, for the same request word for word, for a while. They are
//! in memory alone, and behind everything that a request must pass.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::super::settings::GatewaySettings;
use crate::clock::{self, Instant};

/// Most bytes of an answer that is kept.
const MOST: usize = 1024 * 1024;
/// What an answer takes beside its bytes, about.
const BESIDE: usize = 512;
/// Headers that say nothing about the answer.
const APART: [&str; 2] = ["accept", "idempotency-key"];

/// The digest of a request with all that its answer depends on.
pub(super) type Place = [u8; 32];

/// Answers that may be given again.
pub(super) struct AnswerCache {
    inner: Mutex<Inner>,
    /// The projects that ask for it.
    projects: Vec<String>,
    ttl: Duration,
    /// Most bytes of all answers together.
    room: usize,
}

#[derive(Default)]
struct Inner {
    answers: HashMap<Place, Kept>,
    /// The oldest first: also in the order in which they end.
    order: VecDeque<Place>,
    bytes: usize,
}

/// An answer that is kept, of the status 200.
#[derive(Clone)]
pub(super) struct Kept {
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
    until: Instant,
}

impl AnswerCache {
    pub(super) fn new(settings: &GatewaySettings) -> Self {
        Self {
            inner: Mutex::default(),
            projects: settings.cache_projects.clone(),
            ttl: Duration::from_secs(settings.cache_ttl_seconds),
            room: settings.cache_mib as usize * 1024 * 1024,
        }
    }

    /// Whether answers are kept for a project.
    pub(super) fn is_for(&self, project: &str) -> bool {
        self.room > 0 && self.projects.iter().any(|name| name == project)
    }

    /// The answer that is kept for a request.
    pub(super) fn get(&self, place: &Place) -> Option<Kept> {
        let mut inner = self.inner.lock();
        inner.drop_ended(clock::instant());
        inner.answers.get(place).cloned()
    }

    /// Keeps an answer of the status 200, for which the oldest may have to go. Its bytes are copied: those of the
    /// answer have memory set aside that others wait for.
    pub(super) fn put(&self, place: Place, headers: &HeaderMap, body: &[u8]) {
        if body.len() > MOST || body.len() + BESIDE > self.room {
            return;
        }
        let now = clock::instant();
        let mut inner = self.inner.lock();
        inner.drop_ended(now);
        if inner.answers.contains_key(&place) {
            return;
        }
        let body = Bytes::copy_from_slice(body);
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        inner.bytes += body.len() + BESIDE;
        inner.order.push_back(place);
        inner.answers.insert(place, Kept { content_type, body, until: now + self.ttl });
        while inner.bytes > self.room && inner.drop_oldest() {}
    }
}

impl Inner {
    fn drop_ended(&mut self, now: Instant) {
        let has_ended = |inner: &Self| {
            let oldest = inner.order.front().and_then(|place| inner.answers.get(place));
            oldest.is_some_and(|kept| kept.until <= now)
        };
        while has_ended(self) && self.drop_oldest() {}
    }

    /// Says whether there was any.
    fn drop_oldest(&mut self) -> bool {
        let Some(place) = self.order.pop_front() else { return false };
        if let Some(kept) = self.answers.remove(&place) {
            self.bytes -= kept.body.len() + BESIDE;
        }
        true
    }
}

/// The place of the answer to a request: of all that the answer depends on, its parts and the headers that go to the
/// provider.
pub(super) fn place<'p>(parts: impl IntoIterator<Item = &'p [u8]>, headers: &HeaderMap) -> Place {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    parts.into_iter().for_each(&mut add);
    for (name, value) in headers.iter().filter(|(name, _)| !APART.contains(&name.as_str())) {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    digest.finalize().into()
}

/// Whether a client wants an answer that is not kept: `Cache-Control: no-cache` or `no-store`.
pub(super) fn wants_fresh(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| ["no-cache", "no-store"].iter().any(|name| part.trim().eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(bytes: usize) -> AnswerCache {
        let (inner, projects) = (Mutex::default(), Vec::new());
        AnswerCache { inner, projects, ttl: Duration::from_secs(60), room: bytes }
    }

    fn put(cache: &AnswerCache, n: u8, bytes: usize) {
        cache.put([n; 32], &HeaderMap::new(), &vec![b'x'; bytes]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_again_until_its_time_is_over() {
        let cache = cache(10_000);
        put(&cache, 1, 100);
        clock::sleep(Duration::from_secs(59)).await;
        put(&cache, 1, 50);
        assert_eq!(cache.get(&[1; 32]).unwrap().body.len(), 100, "who asks again does not prolong it");
        assert!(cache.get(&[2; 32]).is_none());
        clock::sleep(Duration::from_secs(1)).await;
        assert!(cache.get(&[1; 32]).is_none());
        assert_eq!(cache.inner.lock().bytes, 0);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_too_large_is_not_kept() {
        let cache = cache(3 * (BESIDE + 100));
        for n in 1..=4 {
            put(&cache, n, 100);
        }
        let kept: Vec<bool> = (1..=4).map(|n| cache.get(&[n; 32]).is_some()).collect();
        assert_eq!(kept, [false, true, true, true]);
        put(&cache, 5, 4 * BESIDE + 400);
        assert!(cache.get(&[5; 32]).is_none());
        assert_eq!(cache.inner.lock().bytes, 3 * (BESIDE + 100));
    }

    #[test]
    fn whatever_an_answer_depends_on_leads_elsewhere_and_nothing_else_does() {
        let of = |parts: [&str; 2], name: &'static str, value: &'static str| {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            place(parts.map(str::as_bytes), &headers)
        };
        let one = of(["shop", "body"], "openai-beta", "a");
        assert_ne!(one, of(["shopb", "ody"], "openai-beta", "a"));
        assert_ne!(one, of(["shop", "body"], "openai-beta", "b"));
        let retried = of(["shop", "body"], "idempotency-key", "1");
        assert_eq!(retried, of(["shop", "body"], "idempotency-key", "2"));
    }

    #[test]
    fn a_client_that_wants_a_fresh_answer_says_so_in_cache_control() {
        for (value, expected) in [("no-cache", true), ("max-age=0, No-Store", true), ("max-age=60", false)] {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(value))]);
            assert_eq!(wants_fresh(&headers), expected, "{value}");
        }
    }
}
