//! `PATCH` and `DELETE /v1/reservations/{id}`: what a check holds is held for longer, noted as dispatched, or given
//! back.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    input::JsonBody,
    params::TextPath,
};
use crate::{
    domain::{
        Millis, SECOND,
        calendar::format_millis,
        money::Usd,
        reservation::{Reservation, ReservationChange, ReservationChanged, ReservationId, Stage},
    },
    intake,
};

/// What is changed of a reservation; at least one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WireExtension {
    /// It ends so many seconds from now, and never earlier than it did.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3600)]
    lease_seconds: Option<u64>,
    /// `true`: the request has left for the provider. Where nobody reports it in time, its estimate is charged.
    #[serde(default)]
    dispatched: Option<bool>,
}

/// A reservation that has not ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReservationView {
    /// What the record names.
    id: String,
    /// The public id of its key.
    key_id: String,
    /// Whole seconds until it ends.
    lease_seconds: u64,
    /// When it ends, RFC 3339.
    until: String,
    /// Whether its estimate is charged where nobody reports it in time.
    dispatched: bool,
    /// What it holds in every window and limit.
    held: HeldView,
}

/// What a reservation holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HeldView {
    /// Always 1, where windows hold it.
    requests: u64,
    /// Tokens of the estimate.
    tokens: u64,
    /// The cost of the estimate in US dollars, a decimal in quotes.
    cost_usd: String,
}

impl ReservationView {
    fn of(reservation: &Reservation, now: Millis) -> Self {
        Self {
            id: reservation.id.to_string(),
            key_id: reservation.key.to_string(),
            lease_seconds: ((reservation.until - now).max(0) / SECOND).unsigned_abs(),
            until: format_millis(reservation.until),
            dispatched: reservation.stage == Stage::Dispatched,
            held: HeldView {
                requests: reservation.counts.requests,
                tokens: reservation.counts.tokens,
                cost_usd: Usd(reservation.cost_nanos).to_string(),
            },
        }
    }
}

/// Holds a reservation for longer, or notes that its request has left for the provider.
#[utoipa::path(
    patch, path = "/v1/reservations/{id}", tag = "records", operation_id = "change_reservation",
    request_body = WireExtension,
    params(("id" = String, Path, description = "`reservation_id` of the check that made it.")),
    responses(
        (status = 200, body = ReservationView, description = "The reservation as it is now."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "It has ended, or there is none of this id."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Nothing was changed."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn change(
    State(app): State<App>,
    TextPath(id): TextPath,
    JsonBody(wire): JsonBody<WireExtension>,
) -> Result<Json<ReservationView>, ApiError> {
    let lease = intake::lease(wire.lease_seconds).map_err(|error| ApiError::Fields(vec![error]))?;
    let dispatched = wire.dispatched == Some(true);
    if lease.is_none() && !dispatched {
        return Err(ApiError::field("/lease_seconds", "give lease_seconds, dispatched (true), or both"));
    }
    let now = app.engine.now();
    let reservation = make(&app, &id, ReservationChange::Extend { lease, dispatched }, now).await?;
    Ok(Json(ReservationView::of(&reservation, now)))
}

/// Gives a reservation back: the request is not made.
#[utoipa::path(
    delete, path = "/v1/reservations/{id}", tag = "records", operation_id = "give_reservation_back",
    params(("id" = String, Path, description = "`reservation_id` of the check that made it.")),
    responses(
        (status = 204, description = "Nothing is held any more."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "It has ended, or there is none of this id."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; nothing is acknowledged."
        ),
    ),
)]
pub(super) async fn give_back(
    State(app): State<App>,
    TextPath(id): TextPath,
) -> Result<StatusCode, ApiError> {
    make(&app, &id, ReservationChange::GiveBack, app.engine.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn make(app: &App, id: &str, change: ReservationChange, now: Millis) -> Result<Reservation, ApiError> {
    let Some(id) = ReservationId::parse(id) else { return Err(unknown()) };
    let engine = app.engine.clone();
    // Seen through also when the caller goes away meanwhile.
    let changing = tokio::spawn(async move { engine.reservations().change(&id, change, now).await });
    match changing.await.map_err(|_| ApiError::Internal)?? {
        ReservationChanged::Done(reservation, _) => Ok(reservation),
        ReservationChanged::Ended(stage) => Err(ended(stage)),
        ReservationChanged::Unknown => Err(unknown()),
    }
}

fn unknown() -> ApiError {
    let detail = "there is no open reservation of this id: it was settled or given back, or it never was; a record \
                  that names it is a plain report";
    ApiError::Conflict(detail.to_owned())
}

fn ended(stage: Stage) -> ApiError {
    let detail = match stage {
        Stage::Dispatched | Stage::Charged | Stage::Corrected => {
            "it has ended and its estimate is charged; its record corrects that within a day"
        }
        Stage::Observed => "it holds no estimate: its request was counted when it was seen",
        Stage::Held | Stage::Lapsed => {
            "it has ended and what it held is given back; check again, and report the request as a plain record"
        }
    };
    ApiError::Conflict(detail.to_owned())
}
