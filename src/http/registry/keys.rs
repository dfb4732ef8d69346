//! `/v1/keys`: where keys belong, and what they may. Never by their secret.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Source, absent, answer, bad, delete as delete_stored, page, plan_exists, registry};
use crate::{
    domain::{
        actor::Actor,
        event::format_millis,
        key::{KEY_ID_FORM, looks_secret, valid_key_id},
        registry::{Entry, Held, KeyEntry},
    },
    http::{
        App, audit,
        error::{ApiError, Problem},
        input::JsonBody,
        lists::List,
        params::{Params, TextPath},
    },
    store::DocumentKind,
};

/// A registered key.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyEntryView {
    /// Its public id.
    #[schema(example = "k1:9f2c41d07be5a8c3", max_length = 256)]
    pub key_id: String,
    /// Its project.
    pub project: Option<String>,
    /// Its plan.
    pub plan: Option<String>,
    /// What people call it.
    pub label: Option<String>,
    /// Networks it may be used from; empty: any.
    pub allowed_networks: Vec<String>,
    /// Countries it may be used from; empty: any.
    pub allowed_countries: Vec<String>,
    /// Models it may be used for; empty: any.
    pub allowed_models: Vec<String>,
    /// From when it is refused.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// Where it is from.
    pub source: Source,
    /// When it was put; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub updated: Option<String>,
}

impl KeyEntryView {
    fn of(key_id: &str, held: &Held<KeyEntry>) -> Self {
        let KeyEntry { project, plan, label, allowed_networks, allowed_countries, allowed_models, expires } =
            (*held.body).clone();
        Self {
            key_id: key_id.to_owned(),
            project,
            plan,
            label,
            allowed_networks,
            allowed_countries,
            allowed_models,
            expires,
            source: Source::of(held.updated),
            updated: held.updated.map(format_millis),
        }
    }
}

/// Lists the keys, newest first.
#[utoipa::path(
    get, path = "/v1/keys", tag = "registry", operation_id = "list_keys",
    params(
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses((status = 200, body = List<KeyEntryView>, description = "A page.")),
)]
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<List<KeyEntryView>>, ApiError> {
    let registry = registry(&app);
    let entries = registry.keys().map(|(name, held)| (&**name, held.updated, held));
    page(entries, params, |name, held| KeyEntryView::of(name, &held))
}

/// Shows one registered key.
#[utoipa::path(
    get, path = "/v1/keys/{key_id}", tag = "registry", operation_id = "show_key",
    params(("key_id" = String, Path, description = "The public id, as answers give it, percent-encoded.")),
    responses(
        (status = 200, body = KeyEntryView, description = "The key."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
    ),
)]
pub async fn show(State(app): State<App>, TextPath(name): TextPath) -> Result<Json<KeyEntryView>, ApiError> {
    let registry = registry(&app);
    let held = registry.key(&name);
    held.map(|held| Json(KeyEntryView::of(&name, &held))).ok_or_else(|| absent(DocumentKind::Key, &name))
}

/// Puts a key in force, or replaces it as a whole. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/keys/{key_id}", tag = "registry", operation_id = "put_key", request_body = KeyEntry,
    params((
        "key_id" = String, Path, min_length = 1, max_length = 256, pattern = "^[!-~]+$",
        description = "The public id, as answers give it, percent-encoded. Visible ASCII; case matters. It may \
                       begin as a secret does.",
    )),
    responses(
        (status = 200, body = KeyEntryView, description = "Replaced."),
        (status = 201, body = KeyEntryView, description = "New."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "Something in it is wrong, or its project or plan does not exist; nothing changed."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn put(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    JsonBody(body): JsonBody<KeyEntry>,
) -> Result<Response, ApiError> {
    if !valid_key_id(&name) {
        return Err(ApiError::field("/key_id", KEY_ID_FORM));
    }
    let body = body.checked().map_err(bad)?;
    let registry = registry(&app);
    plan_exists(&registry, body.plan.as_deref())?;
    if let Some(id) = body.project.as_deref().filter(|id| !registry.projects().contains_key(*id)) {
        return Err(ApiError::field(
            "/project",
            format!("must name a project that exists; there is no {id}"),
        ));
    }
    let now = app.engine.now();
    let existed = app.engine.put_entry(&name, &Entry::Key(body.clone()), &actor, now).await?;
    audit(&actor, "key put", &name);
    Ok(answer(existed, KeyEntryView::of(&name, &Held { body: body.into(), updated: Some(now) })))
}

/// Deletes a key. It is one that nobody registered then.
#[utoipa::path(
    delete, path = "/v1/keys/{key_id}", tag = "registry", operation_id = "delete_key",
    params(("key_id" = String, Path, description = "The public id, as answers give it, percent-encoded.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
) -> Result<StatusCode, ApiError> {
    if looks_secret(&name).is_some() && !app.engine.is_registered(&name) {
        // Nothing is there to delete, and the log would keep the name for good.
        return Err(absent(DocumentKind::Key, &name));
    }
    let done = delete_stored(&app, DocumentKind::Key, &name, &actor).await?;
    audit(&actor, "key delete", &name);
    Ok(done)
}
