//! `/v1/usage`: what was used and what it cost, as JSON or CSV. `asked` reads the question, `sums` is what a row shows.

mod asked;
mod sums;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use asked::only;
pub(super) use sums::Sums;

use super::{
    App, csv,
    error::{ApiError, Problem},
    params::Params,
};
use crate::domain::{
    Millis,
    calendar::Calendar,
    event::format_millis,
    usage::{Grouping, Rows, UsageKey, UsageQuery, UsageTable},
};
use asked::Asked;

/// Most rows of one answer.
const MAX_ROWS: usize = 10_000;
/// Most series that one answer is made of.
const MAX_SCANNED: usize = 2_000_000;
/// The media type of CSV.
const CSV: &str = "text/csv; charset=utf-8";

/// The usage of a group in a bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UsageRow {
    /// When the bucket begins.
    pub start: String,
    /// When grouped by project: which; null where none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub project: Option<Option<Arc<str>>>,
    /// When grouped by model: which; null where none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub model: Option<Option<Arc<str>>>,
    /// When grouped by key: the public id of which.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub key: Option<Option<Arc<str>>>,
    /// When grouped by endpoint: the template of which, its ids taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub endpoint: Option<Option<Arc<str>>>,
    /// When grouped by user: which; null where none was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    pub user: Option<Option<Arc<str>>>,
    /// How much was used.
    #[serde(flatten)]
    pub sums: Sums,
    /// Of the requests, those that nobody reported: they count by the estimates of their reservations. Absent where
    /// there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    pub estimated_requests: Option<u64>,
}

/// Usage over time, in buckets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    /// The start of the first bucket.
    pub from: String,
    /// The end of the last one.
    pub to: String,
    /// The span of a row: minute, hour, day or month.
    #[schema(value_type = String)]
    pub bucket: &'static str,
    /// Where days and months begin at midnight.
    #[schema(value_type = String)]
    pub timezone: &'static str,
    /// By what rows are told apart.
    #[schema(value_type = Vec<String>)]
    pub group_by: Vec<&'static str>,
    /// What began before this is no longer kept in buckets of this span.
    pub kept_from: String,
    /// Oldest first; buckets without usage have none.
    pub rows: Vec<UsageRow>,
    /// The sum of all rows.
    pub total: Sums,
    /// Since midnight in the time zone, of the same project, model, key, endpoint and user.
    pub today: Sums,
    /// Since the first of the month, midnight in the time zone, of the same.
    pub month_to_date: Sums,
}

/// Sums usage over time. It counts every valid record, refused and late ones too, each once.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", operation_id = "list_usage",
    params(
        (
            "group_by" = Option<String>, Query,
            description = "Some of project, model, key, endpoint and user, by commas; none: sums over all. user wants \
                           usage.by_user = true."
        ),
        (
            "bucket" = Option<String>, Query,
            description = "minute, hour (default), day or month. Minutes and hours are of UTC."
        ),
        (
            "timezone" = Option<String>, Query,
            description = "Where days and months begin: an IANA name such as Asia/Tokyo; UTC by default."
        ),
        (
            "from" = Option<String>, Query,
            description = "Not before this date or RFC 3339 time, rounded down to a bucket; by default today."
        ),
        (
            "to" = Option<String>, Query,
            description = "Before this date or RFC 3339 time, rounded up to a bucket; by default now."
        ),
        ("project" = Option<String>, Query, description = "Only of this project."),
        ("model" = Option<String>, Query, description = "Only of this model, by any of its names."),
        ("key" = Option<String>, Query, description = "Only of the key with this public id."),
        ("endpoint" = Option<String>, Query, description = "Only of this endpoint, or of those like it."),
        ("user" = Option<String>, Query, description = "Only of this user; wants usage.by_user = true."),
        ("format" = Option<String>, Query, description = "json or csv; by default what Accept says, else json."),
    ),
    responses(
        (status = 200, description = "The sums.", content((Usage = "application/json"), (String = "text/csv"))),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong, or it would be too many rows."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let asked = Asked::read(params, &headers, app.intake.prices(), (now, app.engine.usage().is_by_user()))?;
    let Asked { query, csv, bucket, zone } = asked;
    let table = whole(app.engine.usage().table(&query).await?)?;
    if csv {
        return Ok(([(header::CONTENT_TYPE, CSV)], as_csv(&query, &table)).into_response());
    }
    let today = so_far(&app, &query, Calendar::Day.period(now, &zone)).await?;
    let month = so_far(&app, &query, Calendar::Month.period(now, &zone)).await?;
    let group = query.group;
    let rows = table.rows.iter().map(|(place, totals)| UsageRow {
        start: format_millis(place.0),
        project: group.project.then(|| place.1.project.clone()),
        model: group.model.then(|| place.1.model.clone()),
        key: group.key.then(|| place.1.key.clone()),
        endpoint: group.endpoint.then(|| place.1.endpoint.clone()),
        user: group.user.then(|| place.1.user.clone()),
        sums: Sums::of(totals, table.latencies.get(place)),
        estimated_requests: table.estimated.get(place).map(|totals| totals.requests),
    });
    let usage = Usage {
        from: format_millis(query.from),
        to: format_millis(query.to),
        bucket,
        timezone: zone.name(),
        group_by: names(group).to_vec(),
        kept_from: format_millis(table.kept_from),
        rows: rows.collect(),
        total: Sums::of(&table.total, Some(&table.all_latencies)),
        today,
        month_to_date: month,
    };
    Ok(Json(usage).into_response())
}

/// The sum of a day or month up to now, of what `query` asks for alone.
async fn so_far(app: &App, query: &UsageQuery, period: (Millis, Millis)) -> Result<Sums, ApiError> {
    let (from, to) = period;
    let query = UsageQuery { rows: Rows::Whole, from, to, group: Grouping::default(), ..query.clone() };
    let table = whole(app.engine.usage().table(&query).await?)?;
    Ok(Sums::of(&table.total, Some(&table.all_latencies)))
}

/// A question that is answered with no more than an answer may hold.
pub(super) fn bounded(query: UsageQuery) -> UsageQuery {
    UsageQuery { max_rows: MAX_ROWS, max_scanned: MAX_SCANNED, ..query }
}

fn names(group: Grouping) -> Vec<&'static str> {
    let Grouping { project, model, key, endpoint, user } = group;
    let all = [(project, "project"), (model, "model"), (key, "key"), (endpoint, "endpoint"), (user, "user")];
    all.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
}

/// A table that holds everything that was asked for.
///
/// # Errors
/// It would be too many rows.
pub(super) fn whole(table: UsageTable) -> Result<UsageTable, ApiError> {
    if !table.overflowed {
        return Ok(table);
    }
    let detail = format!(
        "makes more than {MAX_ROWS} rows, or is of more than {MAX_SCANNED} series: ask for a shorter span, a longer \
         bucket, fewer names in group_by, or one project, model, key, endpoint or user"
    );
    Err(ApiError::field("/group_by", detail))
}

fn as_csv(query: &UsageQuery, table: &UsageTable) -> String {
    let group = query.group;
    let mut header = vec!["start"];
    header.extend(names(group));
    header.extend(Sums::NAMES);
    header.push("estimated_requests");
    let mut text = String::new();
    csv::line(&mut text, header.into_iter());
    for (place, totals) in &table.rows {
        let (start, UsageKey { project, model, key, endpoint, user }) = place;
        let named = [
            (group.project, project),
            (group.model, model),
            (group.key, key),
            (group.endpoint, endpoint),
            (group.user, user),
        ];
        let names = named.into_iter().filter(|(asked, _)| *asked);
        let names = names.map(|(_, name)| csv::name(name.as_deref().unwrap_or_default()).into_owned());
        let mut cells = vec![format_millis(*start)];
        cells.extend(names);
        cells.extend(Sums::of(totals, table.latencies.get(place)).texts());
        cells.push(table.estimated.get(place).map_or(0, |estimated| estimated.requests).to_string());
        csv::line(&mut text, cells.iter().map(String::as_str));
    }
    text
}
