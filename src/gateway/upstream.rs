//! The providers that requests go to: how each is asked, with whose key, and how it has answered lately.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use memchr::memmem::Finder;
use parking_lot::Mutex;
use reqwest::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use zeroize::Zeroizing;

use super::settings::{AuthHeader, UpstreamSettings};
use crate::{
    clock::{self, Instant},
    outbound::{MIN_SECRET, OutboundError, StreamClient, StreamResponse},
    settings::SettingError,
};

/// Headers of a client that go on to the provider. Its credential is none of them.
const UP: [&str; 6] =
    ["accept", "anthropic-beta", "anthropic-version", "content-type", "idempotency-key", "openai-beta"];
/// Headers of a provider that go on to the client. What tells whose account it is is none of them.
const DOWN: [&str; 8] = [
    "content-type",
    "openai-model",
    "openai-processing-ms",
    "openai-version",
    "request-id",
    "retry-after",
    "x-request-id",
    "x-should-retry",
];
/// Failures in a row after which an upstream is left alone.
const FAILURES: u32 = 3;
/// For how long it is left alone then; twice as long each time, up to [`LONGEST_REST`].
const FIRST_REST: Duration = Duration::from_secs(5);
/// The longest time that an upstream is left alone.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// A provider that requests go to.
pub(super) struct Upstream {
    /// What settings, metrics and events call it.
    pub name: Arc<str>,
    /// Whether it bills a whole answer although its client left in the middle.
    pub bills_after_cancel: bool,
    client: StreamClient,
    auth: Option<(HeaderName, HeaderValue)>,
    secret: Option<(Zeroizing<String>, Finder<'static>)>,
    health: Mutex<Health>,
}

/// The end of what has come of a stream that may be the beginning of a key.
#[derive(Debug, Default)]
pub(super) struct Redacted(Bytes);

/// How an upstream has answered lately.
#[derive(Debug, Default)]
struct Health {
    failures: u32,
    rest: Option<(Instant, Duration)>,
}

impl Upstream {
    /// Opens an upstream: reads its key and certificates.
    ///
    /// # Errors
    /// The setting that cannot be used, such as a key that is not there. Never says what the key is.
    pub(super) fn open(settings: &UpstreamSettings, connect_timeout: Duration) -> Result<Self, SettingError> {
        let outbound = settings.outbound(connect_timeout)?;
        let renamed = |error: SettingError| match error.setting.as_str() {
            "url" => error.renamed("base_url"),
            _ => error,
        };
        let client = StreamClient::new(&settings.base_url, &outbound).map_err(renamed)?;
        let secret = settings.api_key.as_ref().map(|key| key.read("api_key")).transpose()?;
        let auth = secret.as_ref().map(|secret| auth(settings.auth_header(), secret)).transpose()?;
        // A word such as `ollama`, for a provider that asks for none, is no secret, and may be in any answer.
        let secret = secret.filter(|secret| secret.len() >= MIN_SECRET).map(|secret| {
            let finder = Finder::new(secret.as_bytes()).into_owned();
            (secret, finder)
        });
        Ok(Self {
            name: settings.name.as_str().into(),
            bills_after_cancel: settings.bills_after_cancel,
            client,
            auth,
            secret,
            health: Mutex::default(),
        })
    }

    /// Sends a request with the key of this upstream; waits until its answer begins.
    pub(super) async fn send(
        &self,
        method: Method,
        place: (&str, Option<&str>),
        mut headers: HeaderMap,
        body: impl Into<reqwest::Body>,
    ) -> Result<StreamResponse, OutboundError> {
        // Compression is undone where it comes all the same.
        headers.insert("accept-encoding", HeaderValue::from_static("identity"));
        if let Some((name, value)) = &self.auth {
            headers.insert(name, value.clone());
        }
        self.client.send(method, place, headers, body).await
    }

    /// The same for a part of a stream; `is_whole`: an event ends with it. What may be the beginning of the key is kept
    /// until it is clear whether it is.
    pub(super) fn without_key_in(&self, kept: &mut Redacted, bytes: Bytes, is_whole: bool) -> Bytes {
        let Some((secret, _)) = &self.secret else { return bytes };
        let mut all = match kept.0.is_empty() {
            true => bytes,
            false => [std::mem::take(&mut kept.0), bytes].concat().into(),
        };
        // Before any of it is kept: the end of a key may be the beginning of another.
        all = self.without_key(all);
        if !is_whole {
            let longest = all.len().min(secret.len() - 1);
            let begins = |length: &usize| secret.as_bytes().starts_with(&all[all.len() - length..]);
            let begun = (1..=longest).rev().find(begins).unwrap_or(0);
            kept.0 = all.split_off(all.len() - begun);
        }
        all
    }

    /// The headers of an answer that go on to the client; none that repeats the key of this upstream.
    pub(super) fn headers_down(&self, from: &HeaderMap) -> HeaderMap {
        let mut kept = only(from, &DOWN);
        if let Some((_, finder)) = &self.secret {
            let names: Vec<HeaderName> = kept.keys().cloned().collect();
            for name in names {
                if kept.get_all(&name).iter().any(|value| finder.find(value.as_bytes()).is_some()) {
                    kept.remove(&name);
                }
            }
        }
        kept
    }

    /// The same bytes with `***` in place of the key of this upstream, should they repeat it.
    pub(super) fn without_key(&self, bytes: Bytes) -> Bytes {
        let Some((secret, finder)) = &self.secret else { return bytes };
        if finder.find(&bytes).is_none() {
            return bytes;
        }
        let (mut shown, mut done) = (Vec::with_capacity(bytes.len()), 0);
        for at in finder.find_iter(&bytes) {
            shown.extend_from_slice(&bytes[done..at]);
            shown.extend_from_slice(b"***");
            done = at + secret.len();
        }
        shown.extend_from_slice(&bytes[done..]);
        shown.into()
    }

    /// Whether it is to be asked: it has not failed too often, or has rested long enough to be tried again.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.health.lock().rest.is_none_or(|(until, _)| until <= now)
    }

    /// Notes that it answered.
    pub(super) fn succeeded(&self) {
        let mut health = self.health.lock();
        if health.failures > 0 {
            if health.rest.take().is_some() {
                tracing::info!(upstream = %self.name, "an upstream answers again");
                metrics::gauge!("keyward_gateway_upstream_resting", "upstream" => self.name.to_string())
                    .set(0.0);
            }
            health.failures = 0;
        }
    }

    /// Notes that it failed; after some failures in a row it is left alone for a while. What was asked before that, or
    /// where there was nobody else, says nothing new while it lasts.
    pub(super) fn failed(&self) {
        let (mut health, now) = (self.health.lock(), clock::instant());
        if health.rest.is_some_and(|(until, _)| now < until) {
            return;
        }
        health.failures += 1;
        if health.failures < FAILURES {
            return;
        }
        let rest = health.rest.map_or(FIRST_REST, |(_, last)| (last * 2).min(LONGEST_REST));
        if health.rest.is_none() {
            tracing::warn!(upstream = %self.name, seconds = rest.as_secs(), "an upstream fails and is left alone");
            metrics::gauge!("keyward_gateway_upstream_resting", "upstream" => self.name.to_string()).set(1.0);
        }
        health.rest = Some((now + rest, rest));
    }
}

fn auth(header: AuthHeader, secret: &str) -> Result<(HeaderName, HeaderValue), SettingError> {
    let (name, text) = match header {
        AuthHeader::Bearer => ("authorization", Zeroizing::new(format!("Bearer {secret}"))),
        AuthHeader::XApiKey => ("x-api-key", Zeroizing::new(secret.to_owned())),
        AuthHeader::ApiKey => ("api-key", Zeroizing::new(secret.to_owned())),
    };
    // The error might show a part of the key: it is left out.
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| SettingError::new("api_key", "must be printable text in one line"))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

/// The headers of a client that go on to a provider.
pub(super) fn headers_up(from: &HeaderMap) -> HeaderMap {
    only(from, &UP)
}

fn only(from: &HeaderMap, names: &[&'static str]) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(names.len());
    for name in names {
        for value in from.get_all(*name) {
            kept.append(HeaderName::from_static(name), value.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(key: &str) -> Upstream {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), key).unwrap();
        let settings = format!(
            "name = 'a'\ndialect = 'openai'\nbase_url = 'https://api.example/v1'\napi_key = 'file:{}'",
            file.path().display()
        );
        Upstream::open(&toml::from_str(&settings).unwrap(), Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn an_answer_that_repeats_our_key_is_shown_without_it() {
        let upstream = upstream("sk-provider-key");
        let shown = upstream.without_key(Bytes::from_static(b"a sk-provider-key, sk-provider-key!"));
        assert_eq!(shown, b"a ***, ***!".as_slice());
    }

    #[test]
    fn a_key_that_comes_in_two_parts_of_an_event_is_left_out_and_what_only_begins_like_it_is_not() {
        for key in ["sk-provider-key", "sk-provider-keys"] {
            let upstream = upstream(key);
            let text = format!("a {key}, sk-provider-kex, sk-").into_bytes();
            for at in 0..=text.len() {
                let mut kept = Redacted::default();
                let first = upstream.without_key_in(&mut kept, Bytes::copy_from_slice(&text[..at]), false);
                let second = upstream.without_key_in(&mut kept, Bytes::copy_from_slice(&text[at..]), true);
                let shown = [first, second].concat();
                assert_eq!(shown, b"a ***, sk-provider-kex, sk-", "{key} cut at {at}");
            }
        }
    }

    #[test]
    fn a_header_that_repeats_our_key_is_not_passed_on() {
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-request-id"), HeaderValue::from_static("req-sk-provider-key")),
            (HeaderName::from_static("request-id"), HeaderValue::from_static("req-1")),
        ]);
        let passed = upstream("sk-provider-key").headers_down(&headers);
        assert_eq!(passed.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["request-id"]);
    }

    #[test]
    fn a_key_that_is_no_secret_does_not_spoil_answers() {
        let answer = Bytes::from_static(b"{\"model\":\"ollama\"}");
        assert_eq!(upstream("ollama").without_key(answer.clone()), answer);
    }

    #[test]
    fn no_credential_goes_through_in_either_direction() {
        let names =
            ["authorization", "x-api-key", "api-key", "cookie", "openai-organization", "content-type"];
        let mut headers = HeaderMap::new();
        for name in names {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        for kept in [headers_up(&headers), upstream("sk-provider-key").headers_down(&headers)] {
            assert_eq!(kept.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-type"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_fails_is_left_alone_for_longer_each_time_until_it_answers() {
        let upstream = upstream("k");
        upstream.failed();
        upstream.failed();
        assert!(upstream.is_up(clock::instant()));
        upstream.failed();
        assert!(!upstream.is_up(clock::instant()));
        (0..10).for_each(|_| upstream.failed());
        assert!(
            upstream.is_up(clock::instant() + FIRST_REST),
            "one rest is no longer for many that ended in it"
        );
        tokio::time::advance(FIRST_REST).await;
        upstream.failed();
        assert!(!upstream.is_up(clock::instant() + FIRST_REST));
        assert!(upstream.is_up(clock::instant() + FIRST_REST * 2));
        upstream.succeeded();
        assert!(upstream.is_up(clock::instant()));
    }
}
