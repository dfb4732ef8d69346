//! `/v1/usage/forecast`: what is expected by the end of the day and the month.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    params::Params,
    usage::{Sums, only},
};
use crate::domain::{
    calendar::Zone,
    event::format_millis,
    forecast::{self, Forecast},
    money::Usd,
};

/// An amount at the end of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outlook<T> {
    /// What is expected by its end.
    pub expected: T,
    /// In nine of ten cases it is more; null where too few days are known.
    pub low: Option<T>,
    /// In nine of ten cases it is less; null where too few days are known.
    pub high: Option<T>,
}

impl<T> Outlook<T> {
    /// Rounded to whole numbers, as which amounts are kept.
    fn of(outlook: forecast::Outlook, unit: impl Fn(u64) -> T) -> Self {
        let whole = |amount: f64| unit(amount.max(0.0).round() as u64);
        let (low, high) = outlook.interval.map(|(low, high)| (whole(low), whole(high))).unzip();
        Self { expected: whole(outlook.expected), low, high }
    }
}

/// A period that is not over.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Period {
    /// When it began, at midnight of the time zone.
    pub from: String,
    /// When it ends, at midnight of the time zone.
    pub to: String,
    /// What was used since it began.
    pub so_far: Sums,
    /// US dollars at its end, as decimals.
    pub cost_usd: Outlook<String>,
    /// Tokens at its end.
    pub tokens: Outlook<u64>,
    /// Requests at its end.
    pub requests: Outlook<u64>,
}

impl From<&forecast::Period> for Period {
    fn from(period: &forecast::Period) -> Self {
        Self {
            from: format_millis(period.from),
            to: format_millis(period.to),
            so_far: (&period.so_far).into(),
            cost_usd: Outlook::of(period.cost_nanos, |nanos| Usd(nanos).to_string()),
            tokens: Outlook::of(period.tokens, |tokens| tokens),
            requests: Outlook::of(period.requests, |requests| requests),
        }
    }
}

/// What a forecast is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Samples {
    /// Past hours that are known, of 28 days at most.
    pub hours: usize,
    /// Whole days from which the interval is; 0: there is none.
    pub days: usize,
}

/// What is expected by the end of the day and the month.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Expected {
    /// When it was asked.
    pub now: String,
    /// Where days and months begin at midnight.
    pub timezone: String,
    /// From which past hours each hour to come is expected: hour_of_week, hour_of_day, flat, or nothing.
    #[schema(value_type = String)]
    pub basis: &'static str,
    /// How much is known.
    pub samples: Samples,
    /// The day that is not over.
    pub day: Period,
    /// The month that is not over.
    pub month: Period,
}

/// Looks ahead to the end of the day and the month: cost, tokens and requests, with an 80 % interval.
#[utoipa::path(
    get, path = "/v1/usage/forecast", tag = "usage", operation_id = "forecast_usage",
    params(
        ("project" = Option<String>, Query, description = "Only of this project."),
        ("model" = Option<String>, Query, description = "Only of this model."),
        ("key" = Option<String>, Query, description = "Only of the key with this public id."),
        (
            "timezone" = Option<String>, Query,
            description = "Where days begin: an IANA name such as Asia/Tokyo; UTC by default."
        ),
    ),
    responses(
        (status = 200, body = Expected, description = "What is expected."),
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
pub(super) async fn show(State(app): State<App>, params: Params) -> Result<Json<Expected>, ApiError> {
    let params = params.only(&["project", "model", "key", "timezone"])?;
    let zone = params.get("timezone", "an IANA time zone, for example Asia/Tokyo", Zone::named)?;
    let (zone, now) = (zone.unwrap_or(Zone::UTC), app.engine.now());
    let seen = app.engine.usage().forecast(only(&params, app.intake.prices()), &zone, now).await?;
    let Some(Forecast { basis, hours, days, day, month }) = seen else {
        let detail =
            "would look at too many series; ask for everything, or for a project, without model and key";
        return Err(ApiError::field("/key", detail));
    };
    Ok(Json(Expected {
        now: format_millis(now),
        timezone: zone.name().to_owned(),
        basis: basis.name(),
        samples: Samples { hours, days },
        day: (&day).into(),
        month: (&month).into(),
    }))
}
