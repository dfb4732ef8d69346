//! `/v1/whoami` and `/v1/tokens`: who calls, who may call, and what they may do.

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    auth::Caller,
    error::{ApiError, Problem},
    lists::List,
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

/// Lists the tokens that are configured, by id: what each may do and until when. Nothing of the tokens themselves is
/// known. One is revoked by taking it out of the configuration.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "service", operation_id = "list_tokens",
    responses((status = 200, body = List<WhoAmI>, description = "Every token, expired ones too.")),
)]
pub(super) async fn tokens(State(app): State<App>, params: Params) -> Result<Json<List<WhoAmI>>, ApiError> {
    params.only(&[])?;
    let items = app.auth.holders().iter().map(WhoAmI::from).collect();
    Ok(Json(List { items, next_cursor: None }))
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
