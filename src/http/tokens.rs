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
    App, Scope, acknowledged, audit,
    auth::{Caller, Holder, Source, may_name_token, new_token},
    error::{ApiError, Problem},
    input::JsonBody,
    lists::List,
    params::{Params, TextPath},
};
use crate::{
    domain::{
        Millis,
        actor::Actor,
        event::{format_millis, parse_millis},
        scope::NoScope,
    },
    engine::{MOST_TOKENS, NewToken, TokenChange},
    intake::FieldError,
    store::Document,
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
    /// Whether it lets anybody in: it has not expired, and the configuration has none of the same id in its place.
    pub in_force: bool,
    /// When it was made; null: it is the configuration's, or not known.
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

impl TokenView {
    fn of(holder: &Holder, now: Millis) -> Self {
        let Caller { actor, scopes, expires } = &holder.caller;
        Self {
            id: actor.as_str().to_owned(),
            scopes: scopes.iter().map(|scope| scope.name()).collect(),
            expires: expires.map(format_millis),
            source: if holder.source.is_stored() { "stored" } else { "configured" },
            in_force: !holder.gives_way && expires.is_none_or(|at| at > now),
            created: match holder.source {
                Source::Stored { created } => created.map(format_millis),
                Source::Configured => None,
            },
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
    let now = app.engine.now();
    let items = app.auth.holders().iter().map(|holder| TokenView::of(holder, now)).collect();
    Ok(Json(List { items, next_cursor: None }))
}

/// Makes a token. It is in force on every instance within a second; what is kept of it is a hash. The first of a
/// service that has none must have `admin`: from then on nobody may do anything without a token, also when the last is
/// gone.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "service", operation_id = "create_token", request_body = TokenOrder,
    responses(
        (status = 201, body = MadeToken, description = "The token, which is shown this once."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "There is a token of this id, or there are 1,000."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in the order is wrong; none was made."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; where it did not in time, look whether one was made: revoke it."
        ),
    ),
)]
pub(super) async fn create(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    JsonBody(order): JsonBody<TokenOrder>,
) -> Result<Response, ApiError> {
    let now = app.engine.now();
    let (scopes, expires) = order.read(now, app.auth.is_open()).map_err(ApiError::Fields)?;
    if let Some(id) = order.id.as_deref().filter(|id| app.auth.is_configured(id)) {
        return Err(taken(id));
    }
    let (token, entry) = new_token(order.id.as_deref(), &scopes, expires).map_err(|_| ApiError::Internal)?;
    let (id, expires) = (entry.id.as_str(), entry.expires.as_deref());
    let new = NewToken { id, hash: &entry.hash, scopes: &entry.scopes, expires };
    let put = app.engine.token_changes().put(&new, &actor, now).await;
    match acknowledged(&actor, ("token made", id), put)? {
        TokenChange::Done => {}
        TokenChange::Other => return Err(taken(id)),
        TokenChange::NotAllowed => {
            let detail = format!("there are {MOST_TOKENS} tokens: revoke those that nobody needs");
            return Err(ApiError::Conflict(detail));
        }
        TokenChange::Crowded => return Err(crowded()),
    }
    app.auth.replace_stored(&app.engine.stored_tokens().borrow());
    audit(&actor, "token made", id);
    let holders = app.auth.holders();
    let is_made = |holder: &&Holder| holder.source.is_stored() && holder.caller.actor.as_str() == id;
    let view = holders.iter().find(is_made).map(|holder| TokenView::of(holder, now));
    let made = MadeToken { token: token.to_string(), view: view.ok_or(ApiError::Internal)? };
    Ok((StatusCode::CREATED, Json(made)).into_response())
}

fn taken(id: &str) -> ApiError {
    ApiError::Conflict(format!("there is a token {id}; revoke it first, or name another id"))
}

fn crowded() -> ApiError {
    ApiError::Conflict("others change what is stored all the time; send the same again".to_owned())
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
            description = "It is in the configuration, or the last of the scope admin that has not expired."
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
    let now = app.engine.now();
    let may_go = |others: &[Document]| app.auth.would_have_admin_with(others, now);
    let revoked = app.engine.token_changes().revoke(&id, may_go, &actor, now).await;
    match acknowledged(&actor, ("token revoked", &id), revoked)? {
        TokenChange::Done => {}
        TokenChange::Other if app.auth.is_configured(&id) => {
            let detail =
                format!("the token {id} is in the configuration; take it out there, and have it read again");
            return Err(ApiError::Conflict(detail));
        }
        TokenChange::Other => {
            return Err(ApiError::NotFound("there is no token of this id".to_owned()));
        }
        TokenChange::NotAllowed => {
            let detail = "nobody would be left who may make tokens: it is the last one of the scope admin that has not \
                          expired. Make another first";
            return Err(ApiError::Conflict(detail.to_owned()));
        }
        TokenChange::Crowded => return Err(crowded()),
    }
    app.auth.replace_stored(&app.engine.stored_tokens().borrow());
    audit(&actor, "token revoked", &id);
    Ok(StatusCode::NO_CONTENT)
}

impl TokenOrder {
    /// What it may do and until when, or everything that is wrong. The first token must be able to make others.
    fn read(&self, now: Millis, is_first: bool) -> Result<(Vec<Scope>, Option<Millis>), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, detail: String| errors.push(FieldError::new(&pointer, detail));
        if self.id.as_deref().is_some_and(|id| !may_name_token(id)) {
            let must =
                "must be 1 to 64 letters, digits, - or _, other than local and cli, and not begin with kw_";
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
