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

use super::{super::settings::GatewaySettings, attempt::Whole, call::Call};
use crate::clock::{self, Instant};

/// Most bytes of an answer that is kept.
const MOST: usize = 1024 * 1024;
/// What an answer takes beside its bytes, about.
const BESIDE: usize = 512;
/// Headers that say nothing about the answer.
const APART: [&str; 2] = ["accept", "idempotency-key"];
/// The status of what is kept.
const GOOD: u16 = 200;

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

struct Kept {
    content_type: Option<HeaderValue>,
    body: Bytes,
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

    /// The answer that is kept for a request.
    pub(super) fn get(&self, place: &Place) -> Option<Whole> {
        let mut inner = self.inner.lock();
        inner.drop_ended(clock::instant());
        let kept = inner.answers.get(place)?;
        let mut headers = HeaderMap::new();
        if let Some(content_type) = &kept.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        Some(Whole { status: GOOD, headers, body: kept.body.clone(), wait: None })
    }

    /// Keeps a good answer, for which the oldest may have to go. Its bytes are copied: those of the answer have memory
    /// set aside that others wait for.
    pub(super) fn put(&self, place: Place, whole: &Whole) {
        if whole.status != GOOD || whole.body.len() > MOST || whole.body.len() + BESIDE > self.room {
            return;
        }
        let now = clock::instant();
        let mut inner = self.inner.lock();
        inner.drop_ended(now);
        if inner.answers.contains_key(&place) {
            return;
        }
        let body = Bytes::copy_from_slice(&whole.body);
        let content_type = whole.headers.get(header::CONTENT_TYPE).cloned();
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

impl Call {
    /// Where an answer to it is kept; none where its project does not ask for that, its client wants a fresh one, or it
    /// has no whole answer.
    pub(super) fn place(&self) -> Option<Place> {
        let cache = &self.gateway.cache;
        let project = self.project.as_ref().map(|project| project.id())?;
        let is_asked_for = cache.room > 0 && cache.projects.iter().any(|name| name == project);
        if !is_asked_for || self.wants_fresh || self.asked.stream || !self.surface.billed {
            return None;
        }
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        for part in [project, self.surface.endpoint, &self.model, self.query.as_deref().unwrap_or_default()] {
            add(part.as_bytes());
        }
        for (name, value) in self.headers.iter().filter(|(name, _)| !APART.contains(&name.as_str())) {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        add(&self.body);
        Some(digest.finalize().into())
    }
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

    fn answer(status: u16, bytes: usize) -> Whole {
        Whole { status, headers: HeaderMap::new(), body: vec![b'x'; bytes].into(), wait: None }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_given_again_until_its_time_is_over() {
        let cache = cache(10_000);
        cache.put([1; 32], &answer(200, 100));
        clock::sleep(Duration::from_secs(59)).await;
        cache.put([1; 32], &answer(200, 50));
        assert_eq!(cache.get(&[1; 32]).unwrap().body.len(), 100, "who asks again does not prolong it");
        assert!(cache.get(&[2; 32]).is_none());
        clock::sleep(Duration::from_secs(1)).await;
        assert!(cache.get(&[1; 32]).is_none());
        assert_eq!(cache.inner.lock().bytes, 0);
    }

    #[test]
    fn the_oldest_make_room_and_what_is_too_large_or_not_good_is_not_kept() {
        let cache = cache(3 * (BESIDE + 100));
        for n in 1..=4 {
            cache.put([n; 32], &answer(200, 100));
        }
        let kept: Vec<bool> = (1..=4).map(|n| cache.get(&[n; 32]).is_some()).collect();
        assert_eq!(kept, [false, true, true, true]);
        cache.put([5; 32], &answer(200, 4 * BESIDE + 400));
        cache.put([6; 32], &answer(429, 10));
        assert!(cache.get(&[5; 32]).is_none() && cache.get(&[6; 32]).is_none());
        assert_eq!(cache.inner.lock().bytes, 3 * (BESIDE + 100));
    }

    #[test]
    fn a_client_that_wants_a_fresh_answer_says_so_in_cache_control() {
        for (value, expected) in [("no-cache", true), ("max-age=0, No-Store", true), ("max-age=60", false)] {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(value))]);
            assert_eq!(wants_fresh(&headers), expected, "{value}");
        }
    }
}
