//! A stream on its way: what has come goes on at once, until its end, or until it must end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::{
    super::{
        dialect::{
            failure::{Failure, Kind},
            usage::Usage,
        },
        meter::Meter,
        upstream::{Redacted, Upstream},
    },
    admit::{Hold, stopped},
    attempt::Stream,
    call::Call,
    exchange::ReplyTo,
    reply,
    running::comment,
    settle::Used,
};
use crate::{clock, domain::decision::Reason, outbound::StreamResponse};

/// Most bytes of a part of a stream.
const PART: usize = 8 * 1024;
/// Parts of a stream that wait for a slow client: 64 KiB.
const WAITING: usize = 8;
/// How long a client may take nothing of what waits for it.
const STALLED: Duration = Duration::from_secs(300);
/// How long the last event may wait for a slow client when a stream is ended.
const LAST_EVENT: Duration = Duration::from_millis(100);
/// How long is waited for the end of a connection whose answer is whole, so that it can be used again.
const DRAIN: Duration = Duration::from_millis(50);

/// A stream that goes out. Unless it is whole, the connection breaks at its end: a clean end would pass for an answer.
struct StreamBody {
    frames: mpsc::Receiver<Frame<Bytes>>,
    is_whole: Arc<AtomicBool>,
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.frames.poll_recv(context).map(|frame| match frame {
            Some(frame) => Some(Ok(frame)),
            None if self.is_whole.load(Ordering::Acquire) => None,
            None => Some(Err(io::Error::from(io::ErrorKind::ConnectionAborted))),
        })
    }
}

/// Where a stream goes.
struct Out {
    frames: mpsc::Sender<Frame<Bytes>>,
    is_whole: Arc<AtomicBool>,
    /// Whether a part of an event has gone out, and not its end: nothing else may follow it.
    is_within: bool,
    /// What has not gone out, since it may be the beginning of the provider's key.
    redacted: Redacted,
}

/// How a stream ended.
enum Ending {
    /// The answer is whole; its last part has not gone out yet.
    Whole(Bytes),
    /// The provider said in the stream that it failed.
    Failed,
    /// The client went away, or takes nothing.
    Gone,
    /// It must not go on.
    Stopped(Reason),
    /// It must not go on, and half an event has gone out to a client that takes no more: nothing may follow it.
    Torn(Reason),
    /// The provider's connection broke, or it ended too early.
    Broken,
    /// The provider fell silent.
    Silent,
}

impl Call {
    /// Relays a stream and settles it.
    pub(super) async fn relay(&self, stream: Stream, mut hold: Hold, upstream: &Upstream, reply_to: ReplyTo) {
        let Stream { headers, mut response, mut meter, first, redacted } = stream;
        let (frames, receiver) = mpsc::channel(WAITING);
        let is_whole = Arc::new(AtomicBool::new(false));
        let body = StreamBody { frames: receiver, is_whole: is_whole.clone() };
        let mut out = Out { frames, is_whole, is_within: false, redacted };
        let ending = match reply_to.send(self.head(headers, &hold, body)) {
            Ok(()) => self.pass(&mut response, &mut meter, first, (&mut out, &mut hold, upstream)).await,
            Err(_) => Ending::Gone,
        };
        let is_whole = matches!(ending, Ending::Whole(_));
        if !is_whole {
            // Cancelled at once: before anything else is waited for.
            drop(response);
            self.end(ending, &meter, hold, upstream, out).await;
        } else {
            self.end(ending, &meter, hold, upstream, out).await;
            drop(clock::timeout(DRAIN, response.chunk()).await);
        }
    }

    fn head(&self, headers: HeaderMap, hold: &Hold, body: StreamBody) -> Response {
        let mut response = Response::new(Body::new(body));
        *response.headers_mut() = headers;
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-cost-usd"));
        self.add_headers(response.headers_mut(), Some(&hold.decision));
        response
    }

    /// Passes on what comes, until the stream ends.
    async fn pass(
        &self,
        response: &mut StreamResponse,
        meter: &mut Meter,
        mut bytes: Bytes,
        (out, hold, upstream): (&mut Out, &mut Hold, &Upstream),
    ) -> Ending {
        let record = hold.record.clone();
        let mut stop = std::pin::pin!(self.stop(&record));
        let mut shown = clock::instant();
        loop {
            if meter.has_ended {
                return Ending::Whole(bytes);
            }
            let all = bytes.len();
            let sent = tokio::select! {
                biased;
                reason = &mut stop => Err(reason),
                is_sent = out.send(&mut bytes, STALLED) => Ok(is_sent),
            };
            match sent {
                Ok(true) => out.is_within = !meter.is_between_events(),
                Ok(false) => return Ending::Gone,
                Err(reason) => return out.tear(bytes, all, reason, meter).await,
            }
            let chunk = tokio::select! {
                biased;
                () = out.frames.closed() => return Ending::Gone,
                reason = &mut stop => return Ending::Stopped(reason),
                chunk = clock::timeout(self.gateway.times.idle, response.chunk()) => chunk,
            };
            bytes = match chunk {
                Ok(Ok(Some(chunk))) => {
                    let pushed = meter.push(chunk);
                    upstream.without_key_in(&mut out.redacted, pushed, meter.is_between_events())
                }
                Ok(Ok(None)) => {
                    let rest = upstream.without_key_in(&mut out.redacted, meter.finish(), true);
                    return match (meter.has_ended || meter.is_final, meter.has_failed) {
                        (true, _) => Ending::Whole(rest),
                        (false, true) => Ending::Failed,
                        (false, false) => Ending::Broken,
                    };
                }
                Ok(Err(_)) if meter.has_failed => return Ending::Failed,
                Ok(Err(_)) => return Ending::Broken,
                Err(_) => return Ending::Silent,
            };
            if let Some(reason) = self.hold_more(hold, meter).await {
                return Ending::Stopped(reason);
            }
            bytes = self.with_cost(bytes, &mut shown, hold, meter);
        }
    }

    /// Settles a stream, and says how it ended.
    async fn end(&self, ending: Ending, meter: &Meter, hold: Hold, upstream: &Upstream, out: Out) {
        let used = self.used(&ending, meter, &hold, upstream);
        let failure = self.failure(&ending, upstream);
        let status = failure.as_ref().map_or(200, |failure| failure.kind.status());
        // A ban is felt at once, whatever the store takes to settle.
        if let Some(failure) = &failure {
            let mut event = failure.event(self.surface.dialect, &self.request_id);
            let is_torn = matches!(ending, Ending::Torn(_)) || out.is_within;
            if !is_torn && out.send(&mut event, LAST_EVENT).await {
                out.is_whole.store(true, Ordering::Release);
            }
            drop(out);
            self.settle(hold, used, status).await;
            return;
        }
        let decision = self.settle(hold, used, status).await;
        let cost = decision.as_ref().map(|decision| self.cost(decision)).unwrap_or_default();
        if let Ending::Whole(mut last) = ending {
            let mut comment = comment(&cost).into();
            let is_shown = !self.shows_cost || out.send(&mut comment, STALLED).await;
            if is_shown && out.send(&mut last, STALLED).await {
                out.finish(&cost).await;
            }
        } else if matches!(ending, Ending::Failed) {
            out.finish(&cost).await;
        }
    }

    /// What is charged for a stream that ended so.
    fn used(&self, ending: &Ending, meter: &Meter, hold: &Hold, upstream: &Upstream) -> Used {
        let is_cancelled = matches!(ending, Ending::Gone | Ending::Stopped(_) | Ending::Torn(_));
        if meter.is_final {
            Used::Exactly(meter.usage)
        } else if is_cancelled && !upstream.bills_after_cancel {
            let output = meter.usage.output.unwrap_or(0).max(meter.events);
            let input = meter.usage.input.or(Some(hold.prompt.reserved));
            Used::Metered(Usage { input, output: Some(output), ..meter.usage })
        } else {
            Used::Unknown
        }
    }

    /// What the client is told of a stream that could not go on.
    fn failure(&self, ending: &Ending, upstream: &Upstream) -> Option<Failure> {
        match ending {
            Ending::Whole(_) | Ending::Failed | Ending::Gone => None,
            Ending::Stopped(reason) | Ending::Torn(reason) => Some(stopped(*reason)),
            Ending::Broken => {
                let words = format!("The answer of the provider {} broke off.", upstream.name);
                Some(Failure::new(Kind::UpstreamFailed, words))
            }
            Ending::Silent => {
                let words =
                    format!("The provider {} fell silent in the middle of its answer.", upstream.name);
                Some(Failure::new(Kind::UpstreamTimeout, words))
            }
        }
    }
}

impl Out {
    /// Sends bytes on; `false` where nobody takes them. Whatever happens, `bytes` are those that have not gone out.
    async fn send(&self, bytes: &mut Bytes, patience: Duration) -> bool {
        while !bytes.is_empty() {
            let Ok(Ok(room)) = clock::timeout(patience, self.frames.reserve()).await else { return false };
            room.send(Frame::data(bytes.split_to(bytes.len().min(PART))));
        }
        true
    }

    /// How a stream ends that must not go on, while `bytes` of the `all` that came last have not gone out: behind a
    /// whole event, which a slow client may still take.
    async fn tear(&mut self, mut bytes: Bytes, all: usize, reason: Reason, meter: &Meter) -> Ending {
        let is_begun = bytes.len() < all;
        if is_begun
            && !matches!(clock::timeout(LAST_EVENT, self.send(&mut bytes, LAST_EVENT)).await, Ok(true))
        {
            return Ending::Torn(reason);
        }
        self.is_within = if is_begun { !meter.is_between_events() } else { self.is_within };
        Ending::Stopped(reason)
    }

    /// Ends a stream as it should end, with its cost in the trailer.
    async fn finish(self, cost: &str) {
        let mut trailers = HeaderMap::new();
        if let Ok(cost) = HeaderValue::from_str(cost) {
            trailers.insert(reply::COST, cost);
        }
        self.is_whole.store(true, Ordering::Release);
        drop(clock::timeout(STALLED, self.frames.send(Frame::trailers(trailers))).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::dialect::CHAT;

    #[tokio::test(start_paused = true)]
    async fn an_error_stands_behind_a_whole_event_or_nowhere() {
        let (frames, mut taken) = mpsc::channel(1);
        let (is_whole, redacted) = (Arc::default(), Redacted::default());
        let mut out = Out { frames, is_whole, is_within: false, redacted };
        let meter = Meter::new(&CHAT, false);
        let mut bytes = Bytes::from(vec![b'x'; 3 * PART]);
        let all = bytes.len();
        assert!(!out.send(&mut bytes, STALLED).await, "nobody takes the second part");
        assert_eq!(bytes.len(), 2 * PART);
        let torn = out.tear(bytes.clone(), all, Reason::ApiKeyBanned, &meter).await;
        assert!(matches!(torn, Ending::Torn(_)), "half of an event has gone out");
        let not_begun = out.tear(bytes.clone(), bytes.len(), Reason::ApiKeyBanned, &meter).await;
        assert!(matches!(not_begun, Ending::Stopped(_)));
        let taking = tokio::spawn(async move { while taken.recv().await.is_some() {} });
        let went_out = out.tear(bytes, all, Reason::ApiKeyBanned, &meter).await;
        assert!(matches!(went_out, Ending::Stopped(_)));
        drop(out);
        taking.await.unwrap();
    }
}
