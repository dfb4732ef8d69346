//! `/v1/events/summary`: how many events there were, for pictures and reports.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    params::Params,
};
use crate::domain::{
    DAY, HOUR, Millis,
    event::{TallyBucket, TallyBy, format_millis},
};

/// Most buckets of one answer: more are never kept.
const MOST_BUCKETS: Millis = 1_000;

/// How many events there were, by bucket and by one property.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventSummaryPage {
    /// The property by which they are counted.
    #[schema(value_type = String, example = "severity")]
    pub by: &'static str,
    /// How long a bucket is: `hour` or `day`, of UTC.
    #[schema(value_type = String)]
    pub bucket: &'static str,
    /// From when there are counts; later than was asked for where older ones are not kept (35 days are).
    #[schema(format = DateTime)]
    pub since: String,
    /// Until when they were asked for.
    #[schema(format = DateTime)]
    pub until: String,
    /// False within about a minute of a start, while the log is still being read: the newest events are missing then.
    pub complete: bool,
    /// Counts by bucket and name, oldest first; a bucket without events is absent.
    pub rows: Vec<EventCount>,
    /// The sums over all buckets, largest first.
    pub totals: Vec<EventTotal>,
}

/// How many events of one name there were in one bucket.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventCount {
    /// When the bucket begins.
    #[schema(format = DateTime)]
    pub start: String,
    /// What they have in common; null of events that have no such property.
    pub name: Option<String>,
    /// How many; a folded event counts as so many as it stands for.
    pub count: u64,
}

/// How many events of one name there were.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventTotal {
    /// What they have in common; null of events that have no such property.
    pub name: Option<String>,
    /// How many there were in the whole span.
    pub count: u64,
}

/// Counts events by hour or day, and by type, severity, country, detector or project. Of the last 35 days, and as the
/// instance that answers has read the log of all of them: within a second of it.
#[utoipa::path(
    get, path = "/v1/events/summary", tag = "events", operation_id = "summarize_events",
    params(
        ("by" = Option<String>, Query, description = "type (the default), severity, country, detector or project."),
        ("bucket" = Option<String>, Query, description = "hour (the default) or day."),
        ("since" = Option<String>, Query, description = "Not before (RFC 3339); a day ago by default."),
        ("until" = Option<String>, Query, description = "Before (RFC 3339); now by default."),
    ),
    responses(
        (status = 200, body = EventSummaryPage, description = "The counts."),
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
pub(super) async fn show(State(app): State<App>, params: Params) -> Result<Json<EventSummaryPage>, ApiError> {
    let params = params.only(&["by", "bucket", "since", "until"])?;
    let by = params.get("by", "type, severity, country, detector or project", TallyBy::parse)?;
    let bucket = params.get("bucket", "hour or day", TallyBucket::parse)?.unwrap_or(TallyBucket::Hour);
    let (by, until) = (by.unwrap_or(TallyBy::Type), params.time("until")?);
    let until = until.unwrap_or_else(|| app.engine.now() + 1);
    let since = params.time("since")?.unwrap_or(until - DAY);
    let since = begin_of(since, bucket);
    if since >= until || (until - since) / HOUR > MOST_BUCKETS * bucket.length() / HOUR {
        return Err(ApiError::field("/since", "must be before until, by at most 1000 buckets"));
    }
    let summary = app.engine.event_counts().summary(by, (since, until), bucket.length()).await?;
    let mut totals: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for ((_, name), count) in &summary.rows {
        *totals.entry(name.clone()).or_default() += count;
    }
    let mut totals: Vec<_> = totals.into_iter().map(|(name, count)| EventTotal { name, count }).collect();
    totals.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    let rows = summary.rows.into_iter();
    let rows = rows.map(|((start, name), count)| EventCount { start: format_millis(start), name, count });
    Ok(Json(EventSummaryPage {
        by: by.name(),
        bucket: bucket.name(),
        since: format_millis(summary.from),
        until: format_millis(until),
        complete: summary.is_complete,
        rows: rows.collect(),
        totals,
    }))
}

/// The begin of the bucket that a moment is in.
fn begin_of(at: Millis, bucket: TallyBucket) -> Millis {
    at.div_euclid(bucket.length()) * bucket.length()
}
