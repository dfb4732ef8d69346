//! Questions about usage: what the parameters of `/v1/usage` ask for.

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use super::{MAX_ROWS, MAX_SCANNED};
use crate::{
    domain::{
        DAY, Millis,
        calendar::{Calendar, Zone},
        profile::endpoint_template,
        usage::{Bucket, Grouping, Rows, UsageKey, UsageQuery},
    },
    http::{error::ApiError, params::Params},
    pricing::Prices,
};

/// Most buckets of one answer.
const MAX_BUCKETS: Millis = 10_000;

/// The parameters of `GET /v1/usage`, checked: a mistake is a 422 that names the parameter.
pub(super) struct Asked {
    pub(super) query: UsageQuery,
    pub(super) csv: bool,
    /// The span of a row, by its name.
    pub(super) bucket: &'static str,
    /// Where days and months begin at midnight.
    pub(super) zone: Zone,
}

impl Asked {
    pub(super) fn read(
        params: Params,
        headers: &HeaderMap,
        prices: &Prices,
        (now, sums_by_user): (Millis, bool),
    ) -> Result<Self, ApiError> {
        const NAMES: [&str; 11] = [
            "group_by", "bucket", "timezone", "from", "to", "project", "model", "key", "endpoint", "user",
            "format",
        ];
        let params = params.only(&NAMES)?;
        let zone = params.get("timezone", "an IANA time zone, for example Asia/Tokyo", Zone::named)?;
        let zone = zone.unwrap_or(Zone::UTC);
        let span = params.get("bucket", "minute, hour, day or month", Span::parse)?.unwrap_or(Span::Hour);
        let group =
            params.get("group_by", "some of project, model, key, endpoint and user, by commas", grouping)?;
        let (group, only) = (group.unwrap_or_default(), only(&params, prices));
        let by_user = [(group.user, "/group_by"), (only.user.is_some(), "/user")];
        if let Some((_, pointer)) = by_user.into_iter().find(|(asked, _)| *asked && !sums_by_user) {
            let detail = "asks for users, which are not told apart: set usage.by_user = true in the configuration, and \
                          records are summed by their `user` from then on";
            return Err(ApiError::field(pointer, detail));
        }
        let (from, to) = between(&params, span, zone, now)?;
        let query = UsageQuery {
            group,
            only,
            latencies: true,
            max_rows: MAX_ROWS,
            max_scanned: MAX_SCANNED,
            ..UsageQuery::new(span.rows(zone), (from, to), now)
        };
        Ok(Self { query, csv: wants_csv(&params, headers)?, bucket: span.name(), zone })
    }
}

/// The span of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Minute,
    Hour,
    Day,
    Month,
}

impl Span {
    const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Minute => Bucket::Minute.name(),
            Self::Hour => Bucket::Hour.name(),
            Self::Day => Bucket::Day.name(),
            Self::Month => "month",
        }
    }

    fn rows(self, zone: Zone) -> Rows {
        match self {
            Self::Minute => Rows::Each(Bucket::Minute),
            Self::Hour => Rows::Each(Bucket::Hour),
            Self::Day if zone == Zone::UTC => Rows::Each(Bucket::Day),
            Self::Day => Rows::Calendar(Calendar::Day, zone),
            Self::Month => Rows::Calendar(Calendar::Month, zone),
        }
    }

    /// The begin and the end of the one that a moment is in.
    fn around(self, at: Millis, zone: Zone) -> (Millis, Millis) {
        match self.rows(zone) {
            Rows::Each(bucket) => {
                let start = bucket.start(at);
                (start, start.saturating_add(bucket.millis()))
            }
            Rows::Calendar(period, zone) => period.period(at, &zone),
            Rows::Whole => (at, at.saturating_add(1)),
        }
    }

    /// A length that none is much shorter than.
    fn length(self) -> Millis {
        match self {
            Self::Minute => Bucket::Minute.millis(),
            Self::Hour => Bucket::Hour.millis(),
            Self::Day => DAY,
            Self::Month => 28 * DAY,
        }
    }
}

/// The begin of the first and the end of the last row: one that is begun is given as a whole.
fn between(params: &Params, span: Span, zone: Zone, now: Millis) -> Result<(Millis, Millis), ApiError> {
    let today = || Calendar::Day.period(now, &zone).0;
    let from = params.time_or_date("from", zone)?.unwrap_or_else(today);
    let to = params.time_or_date("to", zone)?.unwrap_or_else(|| now.saturating_add(1));
    if from >= to {
        let detail =
            "must be before to; from is the beginning of today and to is now where they are not given";
        return Err(ApiError::field("/from", detail));
    }
    let (from, to) = (span.around(from, zone).0, span.around(to.saturating_sub(1), zone).1);
    let buckets = to.saturating_sub(from) / span.length();
    if buckets > MAX_BUCKETS {
        let detail = format!(
            "and to are {buckets} buckets apart; at most {MAX_BUCKETS}: ask for a shorter span, or a longer bucket"
        );
        return Err(ApiError::field("/from", detail));
    }
    Ok((from, to))
}

fn wants_csv(params: &Params, headers: &HeaderMap) -> Result<bool, ApiError> {
    let format = params.get("format", "json or csv", |text| match text {
        "json" => Some(false),
        "csv" => Some(true),
        _ => None,
    })?;
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    Ok(format.unwrap_or_else(|| accepted.is_some_and(|accept| accept.starts_with("text/csv"))))
}

/// What is asked for alone. A model is, by any of its names, the one that usage is summed under, and an endpoint is its
/// template.
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
        endpoint: params.text("endpoint").map(|endpoint| endpoint_template(endpoint).into()),
        user: named("user"),
    }
}

fn grouping(text: &str) -> Option<Grouping> {
    let mut group = Grouping::default();
    for name in text.split(',') {
        let place = match name.trim() {
            "project" => &mut group.project,
            "model" => &mut group.model,
            "key" => &mut group.key,
            "endpoint" => &mut group.endpoint,
            "user" => &mut group.user,
            _ => return None,
        };
        *place = true;
    }
    Some(group)
}
