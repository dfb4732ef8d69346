//! `/v1/sinks`: how forwarding is doing, what sinks would not take, and trying one out.

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App, audit,
    error::{ApiError, Problem},
    input::MaybeJson,
    lists::{Cursor, List},
    params::{Params, TextPath},
};
use crate::{
    domain::{Millis, actor::Actor},
    forward::{self, SinkStatus},
    store::{DeadLetter, DeadLetterAct},
};

/// Most dead letters that one call may name.
const MOST_IDS: usize = 1_000;

/// A sink, over all instances.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SinkView {
    /// As the instance that sends for it knows it; `leading` is of the one that answers.
    #[serde(flatten)]
    pub status: SinkStatus,
    /// The instance that sends for it now; null: none does.
    pub sender: Option<String>,
    /// Events that it would not take.
    pub dead_letters: usize,
}

/// Which dead letters are meant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Their event ids, at most 1000; without: all of the sink.
    #[serde(default)]
    pub ids: Option<Vec<String>>,
}

/// How many were meant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Affected {
    /// How many it was done to.
    pub count: usize,
}

/// What came of a test event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tested {
    /// Whether the receiver took it.
    pub delivered: bool,
    /// What the receiver answered, for people; null: it did not take it.
    pub answer: Option<String>,
    /// Why it was not delivered; null: it was.
    pub error: Option<String>,
}

/// Lists the sinks, by name.
#[utoipa::path(
    get, path = "/v1/sinks", tag = "sinks", operation_id = "list_sinks",
    responses(
        (status = 200, body = List<SinkView>, description = "Every sink that is configured."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<SinkView>>, ApiError> {
    params.only(&[])?;
    Ok(Json(List { items: views(&app).await?, next_cursor: None }))
}

/// Every sink, by name, over all instances.
///
/// # Errors
/// When the store does not answer.
pub(crate) async fn views(app: &App) -> Result<Vec<SinkView>, ApiError> {
    let now = app.engine.now();
    let statuses = app.sinks.list();
    let mut items = Vec::with_capacity(statuses.len());
    for status in statuses.iter() {
        let (here, record) = (status.show(now), app.engine.store().sink(status.name()).await?);
        items.push(match record {
            Some(record) => SinkView {
                status: here.or_as_reported(&record, now),
                sender: record.sender(now).map(str::to_owned),
                dead_letters: record.dead_letters,
            },
            None => SinkView { status: here, sender: None, dead_letters: 0 },
        });
    }
    items.sort_by(|a, b| a.status.name.cmp(&b.status.name));
    Ok(items)
}

/// Sends a test event through a sink, and says what came back. It is of type `SINK_TEST` and severity `low`, passes the
/// filter and the groups of the sink, and is in no log; an emergency hook is asked to change nothing.
#[utoipa::path(
    post, path = "/v1/sinks/{name}/test", tag = "sinks", operation_id = "test_sink",
    params(("name" = String, Path, description = "The sink.")),
    responses(
        (status = 200, body = Tested, description = "It was delivered, or why it was not."),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "There is no sink of that name."
        ),
    ),
)]
pub(super) async fn test(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
) -> Result<Json<Tested>, ApiError> {
    Ok(Json(try_out(&app, &name, &actor).await?))
}

/// Sends a test event through a sink, and tells the log of the service who did.
///
/// # Errors
/// There is no sink of that name.
pub(crate) async fn try_out(app: &App, name: &str, by: &Actor) -> Result<Tested, ApiError> {
    let event = forward::test_event("A test of this sink, asked for by an operator.", by, app.engine.now());
    let Some(sent) = app.trials.send(name, event).await else { return Err(no_sink(name)) };
    audit(by, if sent.is_ok() { "sink test, delivered" } else { "sink test, not delivered" }, name);
    let error = sent.as_ref().err().map(ToString::to_string);
    Ok(Tested { delivered: sent.is_ok(), answer: sent.ok(), error })
}

/// Lists what a sink would not take, newest first.
#[utoipa::path(
    get, path = "/v1/sinks/{name}/dead-letters", tag = "sinks", operation_id = "list_dead_letters",
    params(
        ("name" = String, Path, description = "The sink."),
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses(
        (status = 200, body = List<DeadLetter>, description = "A page."),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "There is no sink of that name."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn dead_letters(
    State(app): State<App>,
    TextPath(name): TextPath,
    params: Params,
) -> Result<Json<List<DeadLetter>>, ApiError> {
    let params = params.only(&["cursor", "limit"])?;
    let (cursor, limit) = (params.text("cursor").map(Cursor::decode).transpose()?, params.limit()?);
    known(&app, &name)?;
    let mut items = app.engine.store().dead_letters(&name).await?;
    let place = |letter: &DeadLetter| -> (Millis, String) { (letter.parked_at, letter.event.id.clone()) };
    items.retain(|l| cursor.as_ref().is_none_or(|c| c.precedes(l.parked_at, &l.event.id)));
    items.sort_by_key(|letter| {
        let (time, id) = place(letter);
        (std::cmp::Reverse(time), id)
    });
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|letter| {
        let (time, name) = place(letter);
        Cursor { time, name }.encode()
    });
    Ok(Json(List { items, next_cursor }))
}

/// Has dead letters sent again. The instance that sends for the sink does so within about a second.
#[utoipa::path(
    post, path = "/v1/sinks/{name}/dead-letters/redeliver", tag = "sinks", operation_id = "redeliver_dead_letters",
    request_body = Option<Which>,
    params(("name" = String, Path, description = "The sink.")),
    responses(
        (status = 200, body = Affected, description = "So many will be sent again."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The request is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn redeliver(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    MaybeJson(which): MaybeJson<Which>,
) -> Result<Json<Affected>, ApiError> {
    let count = act(&app, &name, DeadLetterAct::Redeliver, which, &actor).await?;
    audit(&actor, "redeliver dead letters", &name);
    Ok(Json(Affected { count }))
}

/// Gives dead letters up. They stay in the event log as long as events are kept.
#[utoipa::path(
    post, path = "/v1/sinks/{name}/dead-letters/discard", tag = "sinks", operation_id = "discard_dead_letters",
    request_body = Option<Which>,
    params(("name" = String, Path, description = "The sink.")),
    responses(
        (status = 200, body = Affected, description = "So many are given up."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The request is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn discard(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    MaybeJson(which): MaybeJson<Which>,
) -> Result<Json<Affected>, ApiError> {
    let count = act(&app, &name, DeadLetterAct::Discard, which, &actor).await?;
    audit(&actor, "discard dead letters", &name);
    Ok(Json(Affected { count }))
}

async fn act(
    app: &App,
    name: &str,
    act: DeadLetterAct,
    which: Option<Which>,
    by: &Actor,
) -> Result<usize, ApiError> {
    known(app, name)?;
    let ids = match which.and_then(|which| which.ids) {
        Some(ids) if ids.is_empty() || ids.len() > MOST_IDS => {
            return Err(ApiError::field("/ids", "must name 1 to 1000 events; leave it out to mean all"));
        }
        ids => ids.unwrap_or_default(),
    };
    Ok(app.engine.dead_letters().decide(name, act, &ids, by, app.engine.now()).await?)
}

fn known(app: &App, name: &str) -> Result<(), ApiError> {
    let there = app.sinks.list().iter().any(|sink| sink.name() == name);
    if there { Ok(()) } else { Err(no_sink(name)) }
}

fn no_sink(name: &str) -> ApiError {
    ApiError::NotFound(format!("no sink {name} is configured"))
}
