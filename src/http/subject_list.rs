//! `GET /v1/subjects`: which subjects there are, with where they stand.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    lists::{Cursor, List},
    params::Params,
};
use crate::{
    domain::{Millis, event::format_millis, standing::StandingState, subject::Subject},
    engine::{SubjectQuery, SubjectRow},
    store::SeenSubject,
};

/// Most bytes of a text that is searched for.
const MOST_TEXT: usize = 256;

/// A subject in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubjectItem {
    /// The subject: kind and id.
    #[schema(example = "key:k1:9f2c41d07be5a8c3")]
    pub subject: String,
    /// Where it stands, by a standing of its own.
    pub state: StandingState,
    /// Since when it is held; null when it is clear.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Until when it is held; null for good, and when it is clear.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Why it is held, in a sentence; null when it is clear.
    pub reason: Option<String>,
    /// When a request of it was learned last; null in a list of who is held.
    #[schema(format = DateTime)]
    pub last_seen: Option<String>,
    /// What people call it, where it is a registered key with a label.
    pub label: Option<String>,
    /// Its project, where it is a registered key with one.
    pub project: Option<String>,
}

impl SubjectItem {
    /// A row as of `now`.
    pub(crate) fn new(row: &SubjectRow, is_held_list: bool, now: Millis) -> Self {
        let held = row.held.as_ref().filter(|_| row.state(now) != StandingState::Clear);
        let entry = row.entry.as_deref();
        Self {
            subject: row.subject.to_string(),
            state: row.state(now),
            since: held.map(|record| format_millis(record.standing.since)),
            until: held.and_then(|record| record.standing.until).map(format_millis),
            reason: held.map(|record| record.detail.reason.clone()).filter(|reason| !reason.is_empty()),
            last_seen: (!is_held_list).then(|| format_millis(row.time)),
            label: entry.and_then(|entry| entry.label.clone()),
            project: entry.and_then(|entry| entry.project.clone()),
        }
    }
}

/// Lists keys that have a profile, the one seen last first, or everybody who is held. A page looks at 20,000 subjects
/// at most, so one that is narrowed down may be short and still have a next.
#[utoipa::path(
    get, path = "/v1/subjects", tag = "subjects", operation_id = "list_subjects",
    params(
        ("q" = Option<String>, Query, description = "A part of the subject, or of a key's label or project, in any \
            case; at most 256 bytes."),
        ("state" = Option<StandingState>, Query, description = "Only those that stand so."),
        ("sort" = Option<String>, Query, description = "`last_seen` (the default): keys by when they were last seen; \
            `since`: everybody who is held, addresses and projects too, by since when."),
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses(
        (status = 200, body = List<SubjectItem>, description = "A page."),
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
pub(super) async fn list(
    State(app): State<App>,
    params: Params,
) -> Result<Json<List<SubjectItem>>, ApiError> {
    let query = query(&params.only(&["q", "state", "sort", "cursor", "limit"])?)?;
    let now = app.engine.now();
    let page = app.engine.subjects().list(&query, now).await?;
    let next_cursor = page
        .next
        .map(|SeenSubject { subject, last_seen: time }| Cursor { time, name: subject.to_string() }.encode());
    let items = page.rows.iter().map(|row| SubjectItem::new(row, query.held, now)).collect();
    Ok(Json(List { items, next_cursor }))
}

/// Reads the parameters of a list of subjects.
///
/// # Errors
/// When one is wrong.
pub(crate) fn query(params: &Params) -> Result<SubjectQuery, ApiError> {
    let text =
        params.get("q", "at most 256 bytes", |text| (text.len() <= MOST_TEXT).then(|| text.to_owned()))?;
    let must = "clear, throttled, temporarily_banned or permanently_banned";
    let state = params.get("state", must, |text| serde_json::from_value(text.into()).ok())?;
    let held = params.get("sort", "last_seen or since", |text| match text {
        "last_seen" => Some(false),
        "since" => Some(true),
        _ => None,
    })?;
    let after = params.text("cursor").map(Cursor::decode).transpose()?.map(place).transpose()?;
    Ok(SubjectQuery { text, state, held: held.unwrap_or(false), after, limit: params.limit()? })
}

fn place(cursor: Cursor) -> Result<SeenSubject, ApiError> {
    let subject = Subject::stored(&cursor.name);
    let subject = subject.map_err(|_| ApiError::field("/cursor", "is not one that this service gave out"))?;
    Ok(SeenSubject { subject, last_seen: cursor.time })
}
