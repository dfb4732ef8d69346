//! `/v1/tokens`: who may call. Tokens are made and revoked here; those of the configuration are only shown.

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App, Scope, audit,
    auth::{Caller, Holder, new_token},
    error::{ApiError, Problem},
    input::JsonBody,
    lists::List,
    params::{Params, TextPath},
};
use crate::{
    domain::{
        Millis,
        actor::{Actor, valid_token_id},
        event::{format_millis, parse_millis},
        scope::NoScope,
    },
    engine::NewToken,
    intake::FieldError,
};

/// A token, without anything of its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenView {
    /// The id of the token, as events name who acts.
    #[schema(example = "on-call")]
    pub id: String,
    /// What the token may do: `record`, `read`, `bans:write`, `admin`, `metrics`. `admin` includes the others.
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<&'static str>,
    /// When the token ends; null: never.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// Where it is from: `configured` or `stored` (made here).
    #[schema(value_type = String)]
    pub source: &'static str,
    /// When it was made; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub created: Option<String>,
    /// When it was last used, as this instance knows it; null: not since its start.
    #[schema(format = DateTime)]
    pub last_used: Option<String>,
}

/// A token that is made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// The token itself: what callers send. It is shown this once.
    #[schema(example = "kw_on-call.SECRET")]
    token: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    view: TokenView,
}

/// What is asked of a token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenOrder {
    /// Who it is for, as events will say it: 1 to 64 letters, digits, `-` or `_`. It is part of the token. Without it,
    /// a random one.
    #[serde(default)]
    #[schema(example = "on-call", pattern = "^[A-Za-z0-9_-]{1,64}$")]
    id: Option<String>,
    /// What it may do: one or more of `record`, `read`, `bans:write`, `admin`, `metrics`.
    #[schema(min_items = 1, example = json!(["read"]))]
    scopes: Vec<String>,
    /// Until when (RFC 3339, in the future); null: for good.
    #[serde(default)]
    #[schema(format = DateTime)]
    expires: Option<String>,
}

impl From<&Holder> for TokenView {
    fn from(holder: &Holder) -> Self {
        let Caller { actor, scopes, expires } = &holder.caller;
        Self {
            id: actor.as_str().to_owned(),
            scopes: scopes.iter().map(|scope| scope.name()).collect(),
            expires: expires.map(format_millis),
            source: if holder.created.is_some() { "stored" } else { "configured" },
            created: holder.created.map(format_millis),
            last_used: holder.last_used.map(format_millis),
        }
    }
}

/// Lists the tokens, by id: what each may do, until when, and when it was last used. Nothing of the tokens themselves
/// is known.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "service", operation_id = "list_tokens",
    responses((status = 200, body = List<TokenView>, description = "Every token, expired ones too.")),
)]
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<TokenView>>, ApiError> {
    params.only(&[])?;
    let items = app.auth.holders().iter().map(TokenView::from).collect();
    Ok(Json(List { items, next_cursor: None }))
}

/// Makes a token. It is in force on every instance within a second; what is kept of it is a hash.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "service", operation_id = "create_token", request_body = TokenOrder,
    responses(
        (status = 201, body = MadeToken, description = "The token, which is shown this once."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "There is a token of this id."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in the order is wrong; none was made."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; none was made."
        ),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    JsonBody(order): JsonBody<TokenOrder>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let changes = app.engine.token_changes();
    let _alone = changes.alone().await;
    let (scopes, expires) = order.read(now, app.auth.is_open()).map_err(ApiError::Fields)?;
    let taken = order.id.as_deref().filter(|id| find(&app, id).is_some());
    if let Some(id) = taken {
        return Err(ApiError::Conflict(format!(
            "there is a token {id}; revoke it first, or name another id"
        )));
    }
    let made = new_token(order.id.as_deref(), &scopes, expires).map_err(|_| ApiError::Internal)?;
    let (token, entry) = made;
    let (id, expires) = (entry.id.as_str(), entry.expires.as_deref());
    changes.put(&NewToken { id, hash: &entry.hash, scopes: &entry.scopes, expires }, &actor, now).await?;
    app.auth.replace_stored(&app.engine.stored_tokens().borrow());
    audit(&actor, "token made", id);
    let holder = find(&app, id).ok_or(ApiError::Internal)?;
    let made = MadeToken { token: token.to_string(), view: TokenView::from(&holder) };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

/// Revokes a token that was made over the API. It has no right any more on any instance within a second, here at once;
/// streams that it opened end.
#[utoipa::path(
    delete, path = "/v1/tokens/{id}", tag = "service", operation_id = "revoke_token",
    params(("id" = String, Path, description = "The id of the token.")),
    responses(
        (status = 204, description = "It is revoked."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "It is in the configuration, or the last one there is."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn revoke(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(id): TextPath,
) -> Result<StatusCode, ApiError> {
    let changes = app.engine.token_changes();
    let _alone = changes.alone().await;
    let Some(holder) = find(&app, &id) else {
        return Err(ApiError::NotFound("there is no token of this id".to_owned()));
    };
    if holder.created.is_none() {
        let detail =
            format!("the token {id} is in the configuration; take it out there, and have it read again");
        return Err(ApiError::Conflict(detail));
    }
    if app.auth.holders().len() == 1 {
        let detail =
            "it is the last token, and without one everybody might do everything: make another first";
        return Err(ApiError::Conflict(detail.to_owned()));
    }
    changes.revoke(&id, &actor, app.engine.now()).await?;
    app.auth.replace_stored(&app.engine.stored_tokens().borrow());
    audit(&actor, "token revoked", &id);
    Ok(StatusCode::NO_CONTENT)
}

fn find(app: &App, id: &str) -> Option<Holder> {
    app.auth.holders().into_iter().find(|holder| holder.caller.actor.as_str() == id)
}

impl TokenOrder {
    /// What it may do and until when, or everything that is wrong. The first token must be able to make others.
    fn read(&self, now: Millis, is_first: bool) -> Result<(Vec<Scope>, Option<Millis>), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, detail: String| errors.push(FieldError::new(&pointer, detail));
        if self.id.as_deref().is_some_and(|id| !valid_token_id(id)) {
            let must = "must be 1 to 64 letters, digits, - or _, other than local and cli";
            wrong("/id".to_owned(), must.to_owned());
        }
        let mut scopes = Vec::new();
        for (n, text) in self.scopes.iter().enumerate() {
            match text.parse::<Scope>() {
                Ok(scope) => scopes.push(scope),
                // The text is not repeated: it may be a token in the wrong place.
                Err(NoScope) => wrong(format!("/scopes/{n}"), NoScope.to_string()),
            }
        }
        if self.scopes.is_empty() {
            wrong("/scopes".to_owned(), NoScope.to_string());
        } else if is_first && !scopes.contains(&Scope::Admin) {
            let must = "must have admin: from the first token on nobody may do anything without one";
            wrong("/scopes".to_owned(), must.to_owned());
        }
        let expires = self.expires.as_deref().map(|text| parse_millis(text).ok().filter(|at| *at > now));
        if expires == Some(None) {
            let must = "must be an RFC 3339 time in the future, for example 2030-01-01T00:00:00Z";
            wrong("/expires".to_owned(), must.to_owned());
        }
        if errors.is_empty() { Ok((scopes, expires.flatten())) } else { Err(errors) }
    }
}
