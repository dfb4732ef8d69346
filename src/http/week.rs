//! `/v1/reports/week`: what seven days came to.

use axum::{Json, extract::State};

use super::{
    App,
    error::{ApiError, Problem},
    params::Params,
};
use crate::{
    domain::{HOUR, Millis},
    week::{self, Week},
};

/// Sums up the seven days before a moment: events by type, bans and how they ended, what analysts say of detectors,
/// and spend against budgets. Of the last 35 days; the moment is taken to the end of its hour.
#[utoipa::path(
    get, path = "/v1/reports/week", tag = "events", operation_id = "report_week",
    params(
        ("until" = Option<String>, Query, description = "The end of the week (RFC 3339); now by default."),
    ),
    responses(
        (status = 200, body = Week, description = "The figures of the week."),
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
pub(super) async fn show(State(app): State<App>, params: Params) -> Result<Json<Week>, ApiError> {
    let params = params.only(&["until"])?;
    let now = app.engine.now();
    let until = params.time("until")?.unwrap_or(now);
    if until > now + HOUR || until < now - 28 * crate::domain::DAY {
        return Err(ApiError::field("/until", "must be within the last 28 days"));
    }
    Ok(Json(week::gather(&app.engine, end_of_hour(until)).await?))
}

/// Usage and events are counted by the hour.
fn end_of_hour(at: Millis) -> Millis {
    at.saturating_add(HOUR - 1).div_euclid(HOUR) * HOUR
}
