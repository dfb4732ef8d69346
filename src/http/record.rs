//! `POST /v1/record` and `POST /v1/check`: one request, one decision.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    App, AppState,
    error::{ApiError, Problem},
    input::JsonBody,
    ratelimit,
};
use crate::{
    answer::Answer,
    domain::{Millis, decision::Decision, money::Usd, record::Record},
    intake::{InputError, WireCheck, WireRecord},
};

/// Reports one finished request and answers with the decision.
#[utoipa::path(
    post, path = "/v1/record", tag = "records", operation_id = "record", request_body = WireRecord,
    responses(
        (status = 200, description = "The decision, whether it admits or refuses.", body = Answer, headers(
            ("RateLimit-Policy" = String, description = "Every limit (draft-ietf-httpapi-ratelimit-headers-11)."),
            ("RateLimit" = String, description = "The tightest limit."),
            ("Retry-After" = u64, description = "When refused and known."),
            ("X-Cost-USD" = String, description = "What the request costs, as `cost_usd`."),
        )),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Nothing was recorded."
        ),
    ),
)]
pub(super) async fn record(
    State(app): State<App>,
    JsonBody(wire): JsonBody<WireRecord>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let record = app.take(wire, now)?;
    let decisions = app.record(vec![record], now).await?;
    decisions.first().map(answer).ok_or(ApiError::Internal)
}

/// Asks about a request before it is made. Counts no usage; a refusal is an event.
#[utoipa::path(
    post, path = "/v1/check", tag = "records", operation_id = "check", request_body = WireCheck,
    responses(
        (status = 200, description = "The decision, whether it admits or refuses.", body = Answer, headers(
            ("RateLimit-Policy" = String, description = "Every limit (draft-ietf-httpapi-ratelimit-headers-11)."),
            ("RateLimit" = String, description = "The tightest limit."),
            ("Retry-After" = u64, description = "When refused and known."),
            ("X-Cost-USD" = String, description = "What the estimate would cost, as `cost_usd`."),
        )),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The question cannot be answered."
        ),
    ),
)]
pub(super) async fn check(
    State(app): State<App>,
    JsonBody(wire): JsonBody<WireCheck>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let hold = wire.hold().map_err(|error| vec![error]);
    let (record, hold) = match (app.take(wire.into(), now), hold) {
        (Ok(record), Ok(hold)) => (record, hold),
        (Err(InputError::Fields(mut errors)), Err(of_hold)) => {
            errors.extend(of_hold);
            return Err(for_check(InputError::Fields(errors)));
        }
        (Err(error), _) => return Err(for_check(error)),
        (_, Err(errors)) => return Err(ApiError::Fields(errors)),
    };
    let engine = app.engine.clone();
    let check = tokio::spawn(async move {
        match hold {
            Some(terms) => engine.reserve(&record, terms, now).await,
            None => engine.check(&record, false, now).await,
        }
    });
    Ok(answer(&check.await.map_err(|_| ApiError::Internal)?))
}

impl AppState {
    /// Decides about records. It is seen through also when the caller goes away meanwhile: what was charged is counted.
    pub(super) async fn record(&self, records: Vec<Record>, now: Millis) -> Result<Vec<Decision>, ApiError> {
        let engine = self.engine.clone();
        let deciding = tokio::spawn(async move { engine.record(&records, now).await });
        deciding.await.map_err(|_| ApiError::Internal)
    }

    /// Takes a record in. Keys that are registered now may have ids that look like secrets.
    pub(super) fn take(&self, wire: WireRecord, now: Millis) -> Result<Record, InputError> {
        self.intake.record_where(wire, now, |key_id| self.engine.is_registered(key_id))
    }
}

/// What a check calls otherwise than a record: where each field of a record stands in a check.
const ESTIMATES: [(&str, &str); 4] = [
    ("/tokens_used", "/estimated_tokens"),
    ("/prompt_tokens", "/estimated_input_tokens"),
    ("/completion_tokens", "/estimated_output_tokens"),
    ("/cost_usd", "/estimated_cost_usd"),
];

/// A mistake by the name that it has in a check.
fn for_check(error: InputError) -> ApiError {
    match ApiError::from(error) {
        ApiError::Fields(mut errors) => {
            for error in &mut errors {
                let names = ESTIMATES.iter().find(|(of_record, _)| *of_record == error.pointer);
                if let Some((_, of_check)) = names {
                    error.pointer = (*of_check).to_owned();
                }
            }
            ApiError::Fields(errors)
        }
        other => other,
    }
}

fn answer(decision: &Decision) -> Response {
    let mut body = Vec::with_capacity(512);
    if serde_json::to_writer(&mut body, &Answer::from(decision)).is_err() {
        return ApiError::Internal.into_response();
    }
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ratelimit::add(headers, decision);
    if let Ok(cost) = HeaderValue::try_from(Usd(decision.cost.nanos).to_string()) {
        headers.insert(HeaderName::from_static("x-cost-usd"), cost);
    }
    response
}
