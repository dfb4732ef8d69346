//! `POST /v1/record` and `POST /v1/check`: one request, one decision.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    App, AppState,
    error::{ApiError, Problem},
    input::WholeBody,
    ratelimit,
};
use crate::{
    answer::Answer,
    domain::{Millis, decision::Decision, money::Usd, record::Record},
    intake::{FieldError, InputError, Whole, WireCheck, WireRecord},
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
    WholeBody(wire): WholeBody<WireRecord>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let record = app.take_whole(wire, now)?;
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
    WholeBody(Whole { value, errors }): WholeBody<WireCheck>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let Some(wire) = value else { return Err(ApiError::Fields(errors)) };
    let hold = wire.hold();
    let (taken, of_hold) = (app.take(wire.into(), now), hold.as_ref().err().cloned());
    let (record, hold) = match (taken, hold) {
        (Ok(record), Ok(hold)) if errors.is_empty() => (record, hold),
        (taken, _) => {
            let mut found = fields_of(taken.err())?;
            in_words_of_check(&mut found);
            found.extend(of_hold);
            return Err(ApiError::Fields(Whole::<WireCheck>::errors_with(errors, found)));
        }
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

    /// Takes in a record of which not all may have been readable.
    pub(super) fn take_whole(&self, wire: Whole<WireRecord>, now: Millis) -> Result<Record, ApiError> {
        let Whole { value, errors } = wire;
        match value.map(|wire| self.take(wire, now)) {
            Some(Ok(record)) if errors.is_empty() => Ok(record),
            taken => {
                let found = fields_of(taken.and_then(Result::err))?;
                Err(ApiError::Fields(Whole::<WireRecord>::errors_with(errors, found)))
            }
        }
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

/// The mistakes by the names that they have in a check.
fn in_words_of_check(errors: &mut [FieldError]) {
    for error in errors {
        let names = ESTIMATES.iter().find(|(of_record, _)| *of_record == error.pointer);
        if let Some((_, of_check)) = names {
            error.pointer = (*of_check).to_owned();
        }
    }
}

/// The fields that are wrong, if that is the error.
fn fields_of(error: Option<InputError>) -> Result<Vec<FieldError>, ApiError> {
    match error {
        None => Ok(Vec::new()),
        Some(InputError::Fields(errors)) => Ok(errors),
        Some(error) => Err(error.into()),
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
