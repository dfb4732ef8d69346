//! `/v1/whoami`: who calls, and what they may do.

use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    auth::Caller,
    error::{ApiError, Problem},
    params::Params,
};
use crate::domain::event::format_millis;

/// Who calls, and what they may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhoAmI {
    /// The id of the token; `local` where no token is configured.
    #[schema(example = "on-call")]
    pub id: String,
    /// What the token may do: `record`, `read`, `bans:write`, `admin`, `metrics`. `admin` includes the others.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<&'static str>,
    /// When the token ends; null: never.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
}

/// Says who calls: the id and the scopes of the token. Any token that is valid may ask.
#[utoipa::path(
    get, path = "/v1/whoami", tag = "service", operation_id = "who_am_i",
    responses(
        (status = 200, body = WhoAmI, description = "Who calls."),
        (
            status = 401, body = Problem, content_type = "application/problem+json",
            description = "There is no valid token."
        ),
    ),
)]
pub(super) async fn show(
    Extension(caller): Extension<Caller>,
    params: Params,
) -> Result<Json<WhoAmI>, ApiError> {
    params.only(&[])?;
    Ok(Json(WhoAmI::from(&caller)))
}

impl From<&Caller> for WhoAmI {
    fn from(caller: &Caller) -> Self {
        Self {
            id: caller.actor.as_str().to_owned(),
            scopes: caller.scopes.iter().map(|scope| scope.name()).collect(),
            expires: caller.expires.map(format_millis),
        }
    }
}
