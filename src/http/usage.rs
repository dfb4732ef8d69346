//! `/v1/usage`: what was used and what it cost, as JSON or CSV.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App, csv,
    error::{ApiError, Problem},
    params::Params,
};
use crate::{
    domain::{
        DAY, Millis,
        calendar::{Calendar, Zone},
        event::format_millis,
        money::Usd,
        usage::{Bucket, Grouping, Totals, UsageKey, UsageQuery, UsageTable},
    },
    pricing::Prices,
};

/// Most buckets of one answer.
const MAX_BUCKETS: Millis = 10_000;
/// Most rows of one answer.
const MAX_ROWS: usize = 10_000;
/// Most series that one answer is made of.
const MAX_SCANNED: usize = 2_000_000;
/// The media type of CSV.
const CSV: &str = "text/csv; charset=utf-8";

/// Sums of usage over a bucket or a span.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Sums {
    /// How many records there were.
    pub requests: u64,
    /// Of them, those that Keyward refused.
    pub refused: u64,
    /// Of them, those that failed with a 4xx.
    pub client_errors: u64,
    /// Of them, those that failed with a 5xx.
    pub server_errors: u64,
    /// Tokens, as the limits count them.
    pub tokens: u64,
    /// Tokens of prompts, those from a cache included.
    pub input_tokens: u64,
    /// Of them, those from a cache.
    pub cached_tokens: u64,
    /// Tokens of answers, as prices count them.
    pub output_tokens: u64,
    /// US dollars: a decimal, exact to the nano-dollar.
    #[schema(value_type = String, example = "0.007456")]
    pub cost_usd: Usd,
}

impl From<&Totals> for Sums {
    fn from(totals: &Totals) -> Self {
        Self {
            requests: totals.requests,
            refused: totals.refused,
            client_errors: totals.client_errors,
            server_errors: totals.server_errors,
            tokens: totals.tokens,
            input_tokens: totals.input_tokens,
            cached_tokens: totals.cached_tokens,
            output_tokens: totals.output_tokens,
            cost_usd: Usd(totals.cost_nanos),
        }
    }
}

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
    /// How much was used.
    #[serde(flatten)]
    pub sums: Sums,
}

/// Usage over time, in buckets.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    /// The start of the first bucket.
    pub from: String,
    /// The end of the last one.
    pub to: String,
    /// The span of a row: minute, hour or day.
    #[schema(value_type = String)]
    pub bucket: &'static str,
    /// By what rows are told apart.
    #[schema(value_type = Vec<String>)]
    pub group_by: Vec<&'static str>,
    /// What began before this is no longer kept in buckets of this span.
    pub kept_from: String,
    /// Oldest first; buckets without usage have none.
    pub rows: Vec<UsageRow>,
    /// The sum of all rows.
    pub total: Sums,
    /// Since midnight UTC, of the same project, model and key.
    pub today: Sums,
    /// Since the first of the month, midnight UTC, of the same project, model and key.
    pub month_to_date: Sums,
}

/// What is asked for.
struct Asked {
    query: UsageQuery,
    csv: bool,
}

impl Asked {
    fn read(params: Params, headers: &HeaderMap, prices: &Prices, now: Millis) -> Result<Self, ApiError> {
        const NAMES: [&str; 8] = ["group_by", "bucket", "from", "to", "project", "model", "key", "format"];
        let params = params.only(&NAMES)?;
        let bucket = params.get("bucket", "minute, hour or day", Bucket::parse)?.unwrap_or(Bucket::Hour);
        let group = params.get("group_by", "some of project, model and key, by commas", grouping)?;
        let from = params.time("from")?.unwrap_or_else(|| Bucket::Day.start(now));
        let to = params.time("to")?.unwrap_or_else(|| now.saturating_add(1));
        if from >= to {
            let detail =
                "must be before to; from is the beginning of today and to is now where they are not given";
            return Err(ApiError::field("/from", detail));
        }
        // A bucket that is begun is given as a whole.
        let (from, to) =
            (bucket.start(from), bucket.start(to.saturating_sub(1)).saturating_add(bucket.millis()));
        let buckets = to.saturating_sub(from) / bucket.millis();
        if buckets > MAX_BUCKETS {
            let detail = format!(
                "and to are {buckets} buckets apart; at most {MAX_BUCKETS}: ask for a shorter span, or a longer bucket"
            );
            return Err(ApiError::field("/from", detail));
        }
        let format = params.get("format", "json or csv", |text| match text {
            "json" => Some(false),
            "csv" => Some(true),
            _ => None,
        })?;
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
        let csv = format.unwrap_or_else(|| accepted.is_some_and(|accept| accept.starts_with("text/csv")));
        let query = UsageQuery {
            bucket,
            from,
            to,
            now,
            group: group.unwrap_or_default(),
            only: only(&params, prices),
            max_rows: MAX_ROWS,
            max_scanned: MAX_SCANNED,
        };
        Ok(Self { query, csv })
    }
}

/// What is asked for alone. A model is, by any of its names, the one that usage is summed under.
pub(super) fn only(params: &Params, prices: &Prices) -> UsageKey {
    let named = |name| params.text(name).map(Arc::from);
    let counted = |model: Arc<str>| match prices.find(&model).identity() {
        Some(identity) => identity.name.clone(),
        None => model,
    };
    UsageKey { project: named("project"), model: named("model").map(counted), key: named("key") }
}

fn grouping(text: &str) -> Option<Grouping> {
    let mut group = Grouping::default();
    for name in text.split(',') {
        let place = match name.trim() {
            "project" => &mut group.project,
            "model" => &mut group.model,
            "key" => &mut group.key,
            _ => return None,
        };
        *place = true;
    }
    Some(group)
}

/// Sums usage over time. It counts every valid record, refused and late ones too, each once.
#[utoipa::path(
    get, path = "/v1/usage", tag = "usage", operation_id = "list_usage",
    params(
        (
            "group_by" = Option<String>, Query,
            description = "Some of project, model and key, by commas; none: sums over all."
        ),
        ("bucket" = Option<String>, Query, description = "minute, hour (default) or day, in UTC."),
        (
            "from" = Option<String>, Query,
            description = "Not before (RFC 3339), rounded down to a bucket; by default the beginning of today."
        ),
        ("to" = Option<String>, Query, description = "Before (RFC 3339), rounded up to a bucket; by default now."),
        ("project" = Option<String>, Query, description = "Only of this project."),
        ("model" = Option<String>, Query, description = "Only of this model, by any of its names."),
        ("key" = Option<String>, Query, description = "Only of the key with this public id."),
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
pub(super) async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let Asked { query, csv } = Asked::read(params, &headers, app.intake.prices(), now)?;
    let table = whole(app.engine.usage().table(&query).await?)?;
    if csv {
        return Ok(([(header::CONTENT_TYPE, CSV)], as_csv(&query, &table)).into_response());
    }
    // Days of this month: today is the last of them.
    let month = UsageQuery {
        bucket: Bucket::Day,
        from: Calendar::Month.period(now, &Zone::UTC).0,
        to: Bucket::Day.start(now).saturating_add(DAY),
        group: Grouping::default(),
        ..query.clone()
    };
    let month = whole(app.engine.usage().table(&month).await?)?;
    let today = month.rows.get(&(Bucket::Day.start(now), UsageKey::default())).copied().unwrap_or_default();
    let group = query.group;
    let rows = table.rows.iter().map(|((start, key), totals)| UsageRow {
        start: format_millis(*start),
        project: group.project.then(|| key.project.clone()),
        model: group.model.then(|| key.model.clone()),
        key: group.key.then(|| key.key.clone()),
        sums: totals.into(),
    });
    let usage = Usage {
        from: format_millis(query.from),
        to: format_millis(query.to),
        bucket: query.bucket.name(),
        group_by: names(group).to_vec(),
        kept_from: format_millis(table.kept_from),
        rows: rows.collect(),
        total: (&table.total).into(),
        today: (&today).into(),
        month_to_date: (&month.total).into(),
    };
    Ok(Json(usage).into_response())
}

fn names(group: Grouping) -> Vec<&'static str> {
    let all = [(group.project, "project"), (group.model, "model"), (group.key, "key")];
    all.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
}

fn whole(table: UsageTable) -> Result<UsageTable, ApiError> {
    if !table.overflowed {
        return Ok(table);
    }
    let detail = format!(
        "makes more than {MAX_ROWS} rows, or is of more than {MAX_SCANNED} series: ask for a shorter span, a longer \
         bucket, fewer names in group_by, or one project, model or key"
    );
    Err(ApiError::field("/group_by", detail))
}

fn as_csv(query: &UsageQuery, table: &UsageTable) -> String {
    let group = query.group;
    let mut header = vec!["start"];
    header.extend(names(group));
    header.extend(["requests", "refused", "client_errors", "server_errors", "tokens"]);
    header.extend(["input_tokens", "cached_tokens", "output_tokens", "cost_usd"]);
    let mut text = String::new();
    csv::line(&mut text, header.into_iter());
    for ((start, key), totals) in &table.rows {
        let named = |asked: bool, name: &Option<Arc<str>>| {
            asked.then(|| csv::name(name.as_deref().unwrap_or_default()).into_owned())
        };
        let names =
            [named(group.project, &key.project), named(group.model, &key.model), named(group.key, &key.key)];
        let sums = Sums::from(totals);
        let numbers = [
            sums.requests,
            sums.refused,
            sums.client_errors,
            sums.server_errors,
            sums.tokens,
            sums.input_tokens,
            sums.cached_tokens,
            sums.output_tokens,
        ];
        let mut cells = vec![format_millis(*start)];
        cells.extend(names.into_iter().flatten());
        cells.extend(numbers.iter().map(u64::to_string));
        cells.push(sums.cost_usd.to_string());
        csv::line(&mut text, cells.iter().map(String::as_str));
    }
    text
}
