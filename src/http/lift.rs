//! `POST /v1/bans/lift`: lifts many bans and throttles at once.

use axum::{Extension, Json, extract::State};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App, audit,
    error::{ApiError, Problem},
    input::JsonBody,
    params::subject,
    text,
};
use crate::{
    domain::{actor::Actor, subject::Subject},
    intake::FieldError,
};

/// Most subjects of one call.
const MOST: usize = 500;
/// Liftings that are written at the same time.
const AT_ONCE: usize = 16;

/// Whose bans and throttles to lift: those that are named, or those whose reason has a text in it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LiftOrder {
    /// Whom they hold: 1 to 500 subjects.
    #[schema(min_items = 1, max_items = 500)]
    pub subjects: Option<Vec<String>>,
    /// A part of the reasons of bans and throttles in force, in any case, at least 3 bytes: the newest 500 are lifted.
    #[schema(min_length = 3, max_length = 1000)]
    pub reason_contains: Option<String>,
    /// Why they are lifted, in at most 1000 bytes.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
}

/// What became of each.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Lifted {
    /// Whom nothing of their own holds any longer.
    pub lifted: Vec<String>,
    /// Who was neither banned nor throttled by a standing of their own.
    pub not_held: Vec<String>,
    /// Whose lifting could not be written: what held them still does. Ask again.
    pub failed: Vec<String>,
    /// How many more have the text in their reasons; 0 where subjects were named.
    pub left: usize,
}

/// Lifts many bans and throttles. Each is an event of its own; a failure of one does not undo the others.
#[utoipa::path(
    post, path = "/v1/bans/lift", tag = "bans", operation_id = "lift_bans", request_body = LiftOrder,
    responses(
        (status = 200, body = Lifted, description = "What became of each."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The request is wrong; nothing is lifted."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is lifted."
        ),
    ),
)]
pub(super) async fn lift_many(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    JsonBody(order): JsonBody<LiftOrder>,
) -> Result<Json<Lifted>, ApiError> {
    lift(&app, &actor, order).await.map(Json)
}

/// Carries an order out.
///
/// # Errors
/// The order is wrong, or the store does not answer from the first one on.
pub(crate) async fn lift(app: &App, actor: &Actor, order: LiftOrder) -> Result<Lifted, ApiError> {
    let (subjects, left) = meant(app, &order).await?;
    let now = app.engine.now();
    let (bans, reason) = (app.engine.bans(), order.reason.as_str());
    let lifting = |subject: Subject| async move {
        let lifted = bans.lift(&subject, reason, actor, now).await;
        (subject.to_string(), lifted.map(|record| record.is_some()))
    };
    let mut results = stream::iter(subjects).map(lifting).buffered(AT_ONCE);
    let (mut done, mut error) = (Lifted { left, ..Lifted::default() }, None);
    while let Some((subject, result)) = results.next().await {
        match result {
            Ok(true) => {
                audit(actor, "lift", &subject);
                done.lifted.push(subject);
            }
            Ok(false) => done.not_held.push(subject),
            Err(failed) => {
                error = Some(failed);
                done.failed.push(subject);
            }
        }
    }
    match error {
        Some(error) if done.lifted.is_empty() => Err(error.into()),
        _ => Ok(done),
    }
}

/// Whom an order means, each once, and how many more it would mean.
async fn meant(app: &App, order: &LiftOrder) -> Result<(Vec<Subject>, usize), ApiError> {
    let mut errors = Vec::new();
    text::check("/reason", &order.reason, 1, &mut errors);
    let part = order.reason_contains.as_deref();
    if part.is_some_and(|part| !(3..=1000).contains(&part.trim().len())) {
        errors.push(FieldError::new("/reason_contains", "must have 3 to 1000 bytes"));
    }
    if order.subjects.as_ref().is_some_and(|subjects| !(1..=MOST).contains(&subjects.len())) {
        errors.push(FieldError::new("/subjects", format!("must name 1 to {MOST} subjects")));
    }
    if order.subjects.is_some() == part.is_some() {
        errors.push(FieldError::new("/subjects", "either this or reason_contains must be given"));
    }
    if !errors.is_empty() {
        return Err(ApiError::Fields(errors));
    }
    match (&order.subjects, part) {
        (Some(named), _) => Ok((named_subjects(app, named).await?, 0)),
        (None, part) => with_reason(app, part.unwrap_or_default()).await,
    }
}

async fn named_subjects(app: &App, named: &[String]) -> Result<Vec<Subject>, ApiError> {
    let mut subjects = Vec::with_capacity(named.len());
    for (index, name) in named.iter().enumerate() {
        let subject = subject(app, name, &format!("/subjects/{index}")).await?;
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    Ok(subjects)
}

async fn with_reason(app: &App, part: &str) -> Result<(Vec<Subject>, usize), ApiError> {
    let part = part.trim().to_lowercase();
    let mut records = app.engine.store().standings_in_force(app.engine.now()).await?;
    records.retain(|record| record.detail.reason.to_lowercase().contains(&part));
    let left = records.len().saturating_sub(MOST);
    Ok((records.into_iter().take(MOST).map(|record| record.subject).collect(), left))
}
