//! `/v1/events`: the log, and an analyst's word about an event. Following it is in `stream`.

use axum::{Extension, Json, extract::State};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    App, audit,
    error::{ApiError, Problem},
    input::JsonBody,
    lists::List,
    params::{Params, TextPath},
    text,
};
use crate::{
    domain::{
        actor::Actor,
        event::{Event, EventType, Verdict},
        finding::Severity,
        subject::Subject,
    },
    store::EventQuery,
};

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct EventFilter {
    /// Only events about this subject.
    pub subject: Option<Subject>,
    /// Only events of this type.
    pub kind: Option<EventType>,
    /// Of at least this severity.
    pub severity: Option<Severity>,
}

impl EventFilter {
    /// The names of its parameters.
    pub(super) const PARAMS: [&'static str; 3] = ["subject", "type", "severity"];

    /// Reads the parameters `subject`, `type` and `severity`.
    ///
    /// # Errors
    /// When one is wrong, or the store does not say whether the subject is known.
    pub(crate) async fn from_params(app: &App, params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            subject: params.subject(app).await?,
            kind: params.get(
                "type",
                "one of the event types, for example TEMPORARY_BAN",
                EventType::parse,
            )?,
            severity: params.get("severity", "low, medium, high or critical", |text| {
                serde_json::from_value(text.into()).ok()
            })?,
        })
    }

    /// Whether an event is wanted.
    pub(crate) fn admits(&self, event: &Event) -> bool {
        self.subject.as_ref().is_none_or(|s| event.subject.as_ref() == Some(s))
            && self.kind.is_none_or(|k| k == event.kind)
            && self.severity.is_none_or(|s| s <= event.severity)
    }
}

/// Lists events, newest first.
#[utoipa::path(
    get, path = "/v1/events", tag = "events", operation_id = "list_events",
    params(
        ("since" = Option<String>, Query, description = "Not before (RFC 3339)."),
        ("until" = Option<String>, Query, description = "Before (RFC 3339)."),
        ("subject" = Option<String>, Query, description = "Only about this subject."),
        ("type" = Option<String>, Query, description = "Only of this type."),
        ("severity" = Option<Severity>, Query, description = "Of at least this severity."),
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses(
        (status = 200, body = List<Event>, description = "A page."),
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
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<Event>>, ApiError> {
    let params = params.only(&["since", "until", "subject", "type", "severity", "cursor", "limit"])?;
    let EventFilter { subject, kind, severity } = EventFilter::from_params(&app, &params).await?;
    let query = EventQuery {
        since: params.time("since")?,
        until: params.time("until")?,
        subject,
        kind,
        severity,
        cursor: params.text("cursor").map(str::to_owned),
        limit: params.limit()?,
    };
    let page = app.engine.store().events(&query).await?;
    Ok(Json(List { items: page.items, next_cursor: page.next }))
}

/// What an analyst says of an event.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Feedback {
    /// What the event turned out to be.
    pub verdict: VerdictWord,
    /// Why, in at most 1000 bytes.
    #[schema(max_length = 1000)]
    pub note: Option<String>,
}

/// What an event was, in an analyst's eyes.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum VerdictWord {
    /// Nothing: the ban is lifted, its strike undone, and the profile learns.
    Benign,
    /// It was an attack.
    Attack,
}

/// Takes an analyst's word about an event. A benign one lifts the ban and undoes its strike.
#[utoipa::path(
    post, path = "/v1/events/{id}/feedback", tag = "events", operation_id = "give_feedback", request_body = Feedback,
    params(("id" = String, Path, description = "Which event.")),
    responses(
        (status = 200, body = Event, description = "The word is taken; the event that it leads to or is about."),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "There is no such event."
        ),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "The word is wrong."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn feedback(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(id): TextPath,
    JsonBody(word): JsonBody<Feedback>,
) -> Result<Json<Event>, ApiError> {
    give_feedback(&app, &id, word, &actor).await.map(Json)
}

/// Takes an analyst's word about an event, and returns the event that it leads to or is about.
///
/// # Errors
/// The word is wrong, there is no such event, or it could not be written.
pub(crate) async fn give_feedback(
    app: &App,
    id: &str,
    word: Feedback,
    by: &Actor,
) -> Result<Event, ApiError> {
    let note = word.note.unwrap_or_default();
    let mut errors = Vec::new();
    text::check("/note", &note, 0, &mut errors);
    if !errors.is_empty() {
        return Err(ApiError::Fields(errors));
    }
    let verdict = match word.verdict {
        VerdictWord::Benign => Verdict::Benign,
        VerdictWord::Attack => Verdict::Attack,
    };
    let event = app.engine.feedback().give(id, verdict, &note, by, app.engine.now()).await?;
    let event = event.ok_or_else(|| ApiError::NotFound("there is no event with this id".to_owned()))?;
    audit(by, "feedback", id);
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_admits_what_it_names_and_what_is_worse() {
        let subject = Subject::key("k1:1");
        let event = |severity| Event::new(0, EventType::TemporaryBan, severity, Some(subject.clone()));
        let filter = EventFilter {
            subject: Some(subject.clone()),
            kind: Some(EventType::TemporaryBan),
            severity: Some(Severity::High),
        };
        assert!(filter.admits(&event(Severity::High)) && filter.admits(&event(Severity::Critical)));
        assert!(!filter.admits(&event(Severity::Medium)));
        assert!(!filter.admits(&Event { subject: None, ..event(Severity::High) }));
        assert!(EventFilter::default().admits(&event(Severity::Low)));
    }
}
