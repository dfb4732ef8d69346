//! `GET /v1/events/stream`: the log as server-sent events.
//!
//! A stream reads the log from its own position, so it skips nothing. Streams that are as far share what is read. What
//! is broadcast only tells it that there is something to read: losing a part of that, or all of it, costs time alone.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
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
    auth::Right,
    error::{ApiError, Problem},
    events::EventFilter,
    params::Params,
};
use crate::{
    clock,
    domain::{actor::Actor, event::Event, scope::Scope},
    store::{LogPage, LogPosition, StoreError},
};

/// A silent stream is kept open by a comment this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Clients come back after this long.
const RETRY: Duration = Duration::from_secs(2);
/// The log is read this often even when nobody says that there is something new.
const LOOK_ANYWAY: Duration = Duration::from_secs(10);

/// Follows the log, for as long as the token is valid. Resumes after the event that `Last-Event-ID` (or
/// `last_event_id`) names, else starts now.
#[utoipa::path(
    get, path = "/v1/events/stream", tag = "events", operation_id = "follow_events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that arrived."),
        ("last_event_id" = Option<String>, Query, description = "The same, where headers cannot be set."),
        ("subject" = Option<String>, Query, description = "Only about this subject."),
        ("type" = Option<String>, Query, description = "Only of this type."),
        ("severity" = Option<crate::domain::finding::Severity>, Query, description = "Of at least this severity."),
    ),
    responses(
        (
            status = 200, body = Event, content_type = "text/event-stream",
            description = "Events, oldest first; may repeat one, never skips one."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn stream(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let right = app.auth.right(&actor, Scope::Read);
    let [subject, kind, severity] = EventFilter::PARAMS;
    let params = params.only(&["last_event_id", subject, kind, severity])?;
    let filter = EventFilter::from_params(&app, &params).await?;
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).filter(|id| !id.is_empty());
    let last = last.or(params.text("last_event_id")).map(str::to_owned);
    let follower = Follower::start(app, (filter, right), last).await?;
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
        Some((Ok(event), follower))
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
    /// Without it nothing more is sent.
    right: Right,
    news: Receiver<Arc<Event>>,
    position: LogPosition,
    /// Whether the log was read to its end.
    caught_up: bool,
    /// The page that is gone through, and which of its events is next. Streams share it.
    page: Arc<LogPage>,
    next: usize,
}

impl Follower {
    async fn start(
        app: App,
        (filter, right): (EventFilter, Right),
        last: Option<String>,
    ) -> Result<Self, ApiError> {
        let news = app.engine.follow();
        let position = match last {
            Some(id) => app.engine.store().position_after(&id).await.map_err(named)?,
            None => app.engine.store().log_end().await?,
        };
        let page = Arc::new(LogPage { events: Vec::new(), next: position.clone(), gap: false });
        Ok(Self { app, filter, right, news, position, caught_up: false, page, next: 0 })
    }

    /// The next event that is wanted; `None` at shutdown, without a right to it, and when the store fails (the client
    /// comes back then and resumes).
    async fn next(&mut self) -> Option<sse::Event> {
        let shutdown = self.app.shutdown.clone();
        loop {
            if !self.right.holds(self.app.engine.now()) {
                return None;
            }
            while let Some(event) = self.page.events.get(self.next) {
                self.next += 1;
                if self.filter.admits(event) {
                    return Some(frame(event));
                }
            }
            let mut changes = self.right.changes();
            let step = tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                Ok(()) = changes.changed() => {
                    // What was waited for may have come, and is looked for anew.
                    self.caught_up = false;
                    continue;
                }
                step = self.step() => step,
            };
            if let Err(error) = step {
                tracing::warn!(%error, "an event stream ends early");
                return None;
            }
        }
    }

    async fn step(&mut self) -> Result<(), StoreError> {
        if self.caught_up {
            self.wait().await?;
        }
        self.page = self.app.engine.log_page(&self.position).await?;
        self.next = 0;
        self.caught_up = self.page.events.is_empty();
        self.position.clone_from(&self.page.next);
        Ok(())
    }

    /// Waits for news, but not for ever, and takes all that has come as one.
    async fn wait(&mut self) -> Result<(), StoreError> {
        match clock::timeout(LOOK_ANYWAY, self.news.recv()).await {
            Ok(Err(RecvError::Closed)) => {
                Err(StoreError::Unavailable("events are no longer followed".into()))
            }
            Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => {
                self.news = self.news.resubscribe();
                Ok(())
            }
        }
    }
}

/// What other lists call a cursor is the id of an event here.
fn named(error: StoreError) -> ApiError {
    match error {
        StoreError::BadCursor => ApiError::field("/last_event_id", "is not the id of an event"),
        other => other.into(),
    }
}
