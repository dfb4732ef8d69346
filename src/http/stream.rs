//! `GET /v1/events/stream`: the log as server-sent events.
//!
//! A stream listens first and reads second, so that nothing falls between: one that resumes reads the log from the
//! event it names until it has caught up, then takes events as they come. A stream that cannot keep up loses what
//! is broadcast, so it goes back to the log, from the last event it had. It may repeat an event; it never skips one.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{
        IntoResponse, Response, Sse,
        sse::{self, KeepAlive},
    },
};
use futures::Stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    App,
    error::{ApiError, Problem},
    events::EventFilter,
    params::Params,
};
use crate::{
    domain::event::Event,
    store::{LogPosition, StoreError},
};

/// A silent stream is kept open by a comment this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Clients come back after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Events read at once while catching up.
const PAGE: usize = 500;

/// Follows the log. Resumes after the event that `Last-Event-ID` (or `last_event_id`) names, else starts now.
#[utoipa::path(
    get, path = "/v1/events/stream", tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that arrived."),
        ("last_event_id" = Option<String>, Query, description = "The same, where headers cannot be set."),
        ("subject" = Option<String>, Query, description = "Only about this subject."),
        ("type" = Option<String>, Query, description = "Only of this type."),
        ("severity" = Option<crate::domain::finding::Severity>, Query, description = "Of at least this severity."),
    ),
    responses(
        (status = 200, body = Event, content_type = "text/event-stream", description = "Events, oldest first; may repeat one, never skips one."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "A parameter is wrong."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn stream(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let [subject, kind, severity] = EventFilter::PARAMS;
    let params = params.only(&["last_event_id", subject, kind, severity])?;
    let filter = EventFilter::from_params(&params)?;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).filter(|id| !id.is_empty());
    let last = last.or(params.text("last_event_id")).map(str::to_owned);
    let follower = Follower::start(app, filter, last).await?;
    let mut response =
        Sse::new(frames(follower)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    response
        .headers_mut()
        .insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

fn frames(follower: Follower) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let hello = sse::Event::default().retry(RETRY).comment("follows");
    let events = futures::stream::unfold(follower, |mut follower| async {
        let event = follower.next().await?;
        Some((Ok(frame(&event)), follower))
    });
    futures::StreamExt::chain(futures::stream::iter([Ok(hello)]), events)
}

/// All events have the type `message`, so that one listener hears them all; their own type is in the data.
fn frame(event: &Event) -> sse::Event {
    let data = serde_json::to_string(event).unwrap_or_default();
    sse::Event::default().id(&event.id).data(data)
}

/// One client that follows the log.
struct Follower {
    app: App,
    filter: EventFilter,
    live: Receiver<Arc<Event>>,
    /// Where to read on in the log; `None` when caught up.
    reading: Option<LogPosition>,
    /// The end of the log when this began: where to go back to before any event came.
    begin: LogPosition,
    /// The last event that came, wanted or not.
    last: Option<String>,
    ready: VecDeque<Arc<Event>>,
}

impl Follower {
    async fn start(app: App, filter: EventFilter, last: Option<String>) -> Result<Self, ApiError> {
        let live = app.engine.follow();
        let begin = app.engine.store().log_end().await?;
        let reading = match &last {
            Some(id) => Some(app.engine.store().position_after(id).await?),
            None => None,
        };
        Ok(Self { app, filter, live, reading, begin, last, ready: VecDeque::new() })
    }

    /// The next event that is wanted; `None` at shutdown, and when the store fails (the client comes back then and
    /// resumes).
    async fn next(&mut self) -> Option<Arc<Event>> {
        let shutdown = self.app.shutdown.clone();
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                step = self.step() => step,
            };
            if let Err(error) = step {
                tracing::warn!(%error, "an event stream ends early");
                return None;
            }
        }
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        match self.reading.clone() {
            Some(position) => self.read(&position).await,
            None => self.listen().await,
        }
    }

    async fn read(&mut self, position: &LogPosition) -> Result<(), StoreError> {
        let (events, next) = self.app.engine.store().read_log(position, PAGE).await?;
        self.reading = (!events.is_empty()).then_some(next);
        for event in events {
            self.take(Arc::new(event));
        }
        Ok(())
    }

    async fn listen(&mut self) -> Result<(), StoreError> {
        match self.live.recv().await {
            Ok(event) => self.take(event),
            Err(RecvError::Lagged(_)) => self.reading = Some(self.last_position().await?),
            Err(RecvError::Closed) => {
                return Err(StoreError::Unavailable("events are no longer followed".into()));
            }
        }
        Ok(())
    }

    async fn last_position(&self) -> Result<LogPosition, StoreError> {
        match &self.last {
            Some(id) => self.app.engine.store().position_after(id).await,
            None => Ok(self.begin.clone()),
        }
    }

    fn take(&mut self, event: Arc<Event>) {
        self.last = Some(event.id.clone());
        if self.filter.admits(&event) {
            self.ready.push_back(event);
        }
    }
}
