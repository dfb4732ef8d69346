//! Questions about usage: what the parameters of `/v1/usage` ask for.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use super::{MAX_ROWS, MAX_SCANNED};
use crate::{
    domain::{
        Millis,
        usage::{Bucket, Grouping, Rows, UsageKey, UsageQuery},
    },
    http::{error::ApiError, params::Params},
    pricing::Prices,
};

/// Most buckets of one answer.
const MAX_BUCKETS: Millis = 10_000;

/// What is asked for.
pub(super) struct Asked {
    pub(super) query: UsageQuery,
    pub(super) csv: bool,
    /// The span of a row, by its name.
    pub(super) bucket: Bucket,
}

impl Asked {
    pub(super) fn read(
        params: Params,
        headers: &HeaderMap,
        prices: &Prices,
        now: Millis,
    ) -> Result<Self, ApiError> {
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
            group: group.unwrap_or_default(),
            only: only(&params, prices),
            latencies: true,
            max_rows: MAX_ROWS,
            max_scanned: MAX_SCANNED,
            ..UsageQuery::new(Rows::Each(bucket), (from, to), now)
        };
        Ok(Self { query, csv, bucket })
    }
}

/// What is asked for alone. A model is, by any of its names, the one that usage is summed under.
pub(in crate::http) fn only(params: &Params, prices: &Prices) -> UsageKey {
    let named = |name| params.text(name).map(Arc::from);
    let counted = |model: Arc<str>| match prices.find(&model).identity() {
        Some(identity) => identity.name.clone(),
        None => model,
    };
    UsageKey {
        project: named("project"),
        model: named("model").map(counted),
        key: named("key"),
        ..UsageKey::default()
    }
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
