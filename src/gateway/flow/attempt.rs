//! One upstream is asked: until its whole answer is there, or the first event of its stream.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::http::HeaderMap;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use reqwest::Method;

use super::{
    super::{
        dialect::{
            failure::{Failure, Kind},
            usage::Usage,
        },
        meter::{Begun, Meter},
        probe::causes,
        route::Candidate,
        upstream::{Redacted, Upstream},
    },
    bodies::Held,
    call::Call,
    checked::{Checked, check, is_transient},
    settle::Used,
};
use crate::{
    clock,
    domain::{
        Millis,
        event::{Event, EventType, ProviderCredentialRefused},
        finding::Severity,
    },
    outbound::StreamResponse,
};

/// What an upstream answered.
pub(super) enum Answer {
    /// A whole answer, or an error that goes on to the client as it is.
    Whole(Box<Whole>),
    /// A stream that has begun.
    Stream(Box<Stream>),
}

/// A whole answer of an upstream.
pub(super) struct Whole {
    pub status: u16,
    pub headers: HeaderMap,
    /// With the memory that it takes, until it has gone out.
    pub body: Bytes,
    /// How long the provider asks to be left alone.
    pub wait: Option<Duration>,
    /// What it says that it used.
    pub usage: Option<Usage>,
}

/// A stream that has begun.
pub(super) struct Stream {
    pub headers: HeaderMap,
    pub response: StreamResponse,
    pub meter: Meter,
    /// What goes on to the client of what has come.
    pub first: Bytes,
    /// What does not go on yet, since it may be the beginning of our key.
    pub redacted: Redacted,
}

/// Why an upstream gave no answer that is handed on.
pub(super) struct Fault {
    /// The name in metrics.
    pub outcome: &'static str,
    /// Whether the provider may bill the request all the same.
    pub may_be_billed: bool,
    /// Whether the upstream is at fault, and not its client or the limits of its account.
    pub counts: bool,
    /// Whether the same upstream may be asked again.
    pub same_again: bool,
    /// How long the provider asks to be left alone.
    pub wait: Option<Duration>,
    /// What the client is answered if nobody else is asked.
    pub answer: Box<Result<Whole, Failure>>,
}

impl Fault {
    fn new(outcome: &'static str, may_be_billed: bool, kind: Kind, words: String) -> Self {
        let answer = Box::new(Err(Failure::new(kind, words)));
        Self { outcome, may_be_billed, counts: true, same_again: true, wait: None, answer }
    }

    /// What is charged for the attempt.
    pub(super) fn used(&self) -> Used {
        if self.may_be_billed { Used::Unknown } else { Used::Nothing }
    }

    fn timeout(upstream: &Upstream) -> Self {
        let words = format!("The provider {} did not answer in time.", upstream.name);
        Self::new("timeout", true, Kind::UpstreamTimeout, words)
    }

    fn broken(upstream: &Upstream) -> Self {
        let words = format!("The answer of the provider {} broke off.", upstream.name);
        Self::new("broken", true, Kind::UpstreamFailed, words)
    }

    /// The error of a provider, which goes on as it is if nobody else is asked.
    fn of(whole: Whole) -> Self {
        Self {
            outcome: if whole.status == 429 { "rate_limited" } else { "error" },
            may_be_billed: false,
            counts: whole.status >= 500,
            same_again: true,
            wait: whole.wait,
            answer: Box::new(Ok(whole)),
        }
    }

    /// An answer in an encoding that nobody asked for can be neither read nor handed on.
    fn encoded(upstream: &Upstream, headers: &HeaderMap) -> Option<Self> {
        let encoding = headers.get("content-encoding")?;
        if encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            return None;
        }
        let words =
            format!("The answer of the provider {} has an encoding that was not asked for.", upstream.name);
        let fault = Self::new("broken", true, Kind::UpstreamFailed, words);
        Some(Self { same_again: false, ..fault })
    }

    fn unreachable(upstream: &Upstream) -> Self {
        let words = format!("The provider {} cannot be reached.", upstream.name);
        Self::new("unreachable", false, Kind::UpstreamFailed, words)
    }
}

/// A body that tells when it is read: once there is a connection, and the head has left.
struct Sent {
    body: Option<Bytes>,
    is_sent: Arc<AtomicBool>,
}

fn sent_body(body: Bytes, is_sent: Arc<AtomicBool>) -> reqwest::Body {
    reqwest::Body::wrap(Sent { body: Some(body), is_sent })
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.is_sent.store(true, Ordering::Release);
        Poll::Ready(self.body.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

impl Call {
    /// Asks one upstream, in the time that is left for all attempts and in no more than one may take.
    ///
    /// # Errors
    /// Why there is no answer that is handed on.
    pub(super) async fn ask(&self, candidate: &Candidate, left: Duration) -> Result<Answer, Fault> {
        let times = &self.gateway.times;
        let upstream = &self.gateway.upstreams[candidate.upstream];
        let limit = if self.asked.stream { times.stream_first_byte } else { times.first_byte };
        let by = clock::instant() + limit.min(left);
        let body = self.asked.with_model(&self.body, &candidate.model);
        let place = (self.surface.path, self.query.as_deref());
        self.is_sent.store(false, Ordering::Release);
        let body = sent_body(body, self.is_sent.clone());
        let sent = upstream.send(Method::POST, place, self.headers.clone(), body);
        let response = match clock::timeout_at(by, sent).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                tracing::warn!(upstream = %upstream.name, error = %causes(&error), "an upstream gave no answer");
                let is_sent = self.is_sent.load(Ordering::Acquire) && !error.is_unsent();
                return Err(if is_sent { Fault::broken(upstream) } else { Fault::unreachable(upstream) });
            }
            Err(_) => {
                let may_be_billed = self.is_sent.load(Ordering::Acquire);
                return Err(Fault { may_be_billed, ..Fault::timeout(upstream) });
            }
        };
        if let Some(fault) = Fault::encoded(upstream, &response.headers) {
            return Err(fault);
        }
        let is_stream = header_starts(&response.headers, "content-type", "text/event-stream");
        if self.asked.stream && is_stream && response.status < 300 {
            return self.begin(upstream, response, by).await;
        }
        let whole = self.read(upstream, response, by).await?;
        self.judge(upstream, whole)
    }

    /// Reads a stream until its answer begins: its first event until `by`, and then no pause longer than the settings
    /// say, since a model that thinks sends other events first.
    async fn begin(
        &self,
        upstream: &Upstream,
        mut response: StreamResponse,
        mut by: clock::Instant,
    ) -> Result<Answer, Fault> {
        let mut meter = Meter::new(self.surface, self.asked.adds_usage);
        let mut first = Vec::new();
        while meter.begun == Begun::No {
            match clock::timeout_at(by, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    first.extend_from_slice(&meter.push(chunk));
                    if meter.events > 0 {
                        by = by.max(clock::instant() + self.gateway.times.idle);
                    }
                }
                Ok(Ok(None)) => {
                    first.extend_from_slice(&meter.finish());
                    if meter.begun == Begun::No {
                        return Err(Fault::broken(upstream));
                    }
                }
                Ok(Err(_)) => return Err(Fault::broken(upstream)),
                Err(_) => return Err(Fault::timeout(upstream)),
            }
        }
        let mut redacted = Redacted::default();
        let first = upstream.without_key_in(&mut redacted, first.into(), meter.is_between_events());
        if meter.begun == Begun::Failure {
            let words = format!("The provider {} failed as its answer began.", upstream.name);
            return Err(Fault::new("error_event", false, Kind::UpstreamFailed, words));
        }
        let headers = upstream.headers_down(&response.headers);
        Ok(Answer::Stream(Box::new(Stream { headers, response, meter, first, redacted })))
    }

    /// Reads a whole answer: its beginning until `by`, and then no pause longer than the settings say.
    async fn read(
        &self,
        upstream: &Upstream,
        mut response: StreamResponse,
        mut by: clock::Instant,
    ) -> Result<Whole, Fault> {
        let mut held = Held::default();
        loop {
            match clock::timeout_at(by, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    if let Err(failure) = held.push(&chunk, &self.gateway.memory) {
                        let fault = Fault::broken(upstream);
                        let failure = Failure { kind: Kind::UpstreamFailed, ..failure };
                        let answer = Box::new(Err(failure));
                        return Err(Fault { same_again: false, counts: false, answer, ..fault });
                    }
                }
                Ok(Ok(None)) => break,
                Ok(Err(_)) => return Err(Fault::broken(upstream)),
                Err(_) => return Err(Fault::timeout(upstream)),
            }
            by = clock::instant() + self.gateway.times.idle;
        }
        let (body, wait) = (held.finish(), response.retry_after());
        let (status, headers) = (response.status, upstream.headers_down(&response.headers));
        let usage = (200..300).contains(&status).then(|| (self.surface.usage)(&body)).flatten();
        Ok(Whole { status, headers, body: upstream.without_key(body), wait, usage })
    }

    /// Whether a whole answer is handed on.
    fn judge(&self, upstream: &Upstream, mut whole: Whole) -> Result<Answer, Fault> {
        let status = whole.status;
        if (200..300).contains(&status) && whole.usage.is_none() {
            match check(&whole.headers, &whole.body) {
                Checked::Answer => {}
                Checked::Cut => return Err(Fault::broken(upstream)),
                Checked::Refusal(status) => whole.status = status,
                Checked::Failure(status) => {
                    whole.status = status;
                    return Err(Fault::of(whole));
                }
            }
        }
        if matches!(status, 401 | 403) {
            self.gateway.engine.tell(key_refused(&upstream.name, status, self.gateway.engine.now()));
            let words = format!("The provider {} refuses the gateway's own credential.", upstream.name);
            let fault = Fault::new("credential_refused", false, Kind::UpstreamFailed, words);
            // 403 may be about this one request: a region, a model, what a prompt says.
            return Err(Fault { same_again: false, counts: status == 401, ..fault });
        }
        if (300..400).contains(&status) {
            let words = format!("The provider {} redirects, which is not followed.", upstream.name);
            return Err(Fault {
                same_again: false,
                ..Fault::new("redirect", false, Kind::UpstreamFailed, words)
            });
        }
        if !is_transient(status) {
            return Ok(Answer::Whole(Box::new(whole)));
        }
        Err(Fault::of(whole))
    }
}

/// The event that a provider refuses the key that it is sent; equal ones within a minute become one.
fn key_refused(upstream: &str, status: u16, now: Millis) -> Event {
    let summary = format!(
        "The provider {upstream} answered {status}: it refuses the key of the gateway. Correct `api_key` of this \
         upstream and start anew."
    );
    let details = ProviderCredentialRefused { summary, upstream: upstream.to_owned(), status };
    let event = Event::new(now, EventType::ProviderCredentialRefused, Severity::Critical, None);
    // Of each upstream apart.
    Event { detector: Some(format!("gateway:{upstream}")), ..event.with(&details) }
}

fn header_starts(headers: &HeaderMap, name: &str, start: &str) -> bool {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.get(..start.len())).is_some_and(|value| value.eq_ignore_ascii_case(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::golden;

    #[test]
    fn a_refused_key_is_written_as_its_golden_file_says() {
        golden::check("", &key_refused("openai", 401, 1_772_442_000_000));
    }
}
