//! `/v1/keys`: where keys belong, and what they may. Never by their secret.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Source, absent, absent_plan,
    resource::{self, Resource},
};
use crate::{
    domain::{
        actor::Actor,
        event::format_millis,
        key::{KEY_ID_FORM, looks_secret, valid_key_id},
        registry::{Amount, Entry, Held, KeyEntry, LimitBody, Registry, Wrong},
    },
    http::{
        App,
        error::{ApiError, Problem},
        input::JsonDocument,
        lists::List,
        params::{Params, TextPath},
    },
    store::DocumentKind,
};

/// A key that is registered, as it is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyEntryView {
    /// The public id of the key.
    #[schema(example = "k1:9f2c41d07be5a8c3", max_length = 256)]
    pub key_id: String,
    /// Its project; null: the one that its records say.
    pub project: Option<String>,
    /// Its plan; null: that of its project, else the default one.
    pub plan: Option<String>,
    /// Limits on it, beside those of its plan and project.
    pub limits: Vec<LimitBody>,
    /// US dollars per calendar month; null: no budget of its own.
    #[schema(value_type = Option<String>, example = "25.00")]
    pub budget_usd: Option<Amount>,
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
    /// Whether nobody may use it, and whoever does is banned by their address.
    pub canary: bool,
    /// The public id of the key that was issued in its place; null: none was.
    pub replaced_by: Option<String>,
    /// Where it is from.
    pub source: Source,
    /// When it was put; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub updated: Option<String>,
}

impl Resource for KeyEntry {
    const KIND: DocumentKind = DocumentKind::Key;
    type View = KeyEntryView;

    fn view(key_id: &str, held: &Held<Self>) -> KeyEntryView {
        let KeyEntry {
            project,
            plan,
            limits,
            budget_usd,
            label,
            allowed_networks,
            allowed_countries,
            allowed_models,
            expires,
            canary,
            replaced_by,
        } = (*held.body).clone();
        KeyEntryView {
            key_id: key_id.to_owned(),
            project,
            plan,
            limits,
            budget_usd,
            label,
            allowed_networks,
            allowed_countries,
            allowed_models,
            expires,
            canary,
            replaced_by,
            source: Source::of(held.updated),
            updated: held.updated.map(format_millis),
        }
    }

    fn entries(registry: &Registry) -> Box<dyn Iterator<Item = (&str, Held<Self>)> + '_> {
        Box::new(registry.keys().map(|(name, held)| (&**name, held)))
    }

    fn held(registry: &Registry, name: &str) -> Option<Held<Self>> {
        registry.key(name)
    }

    fn may_be_named(name: &str) -> Result<(), ApiError> {
        if valid_key_id(name) { Ok(()) } else { Err(ApiError::field("/key_id", KEY_ID_FORM)) }
    }

    fn spelled(self) -> Result<Self, Vec<Wrong>> {
        self.checked()
    }

    fn absent(&self, registry: &Registry) -> Vec<Wrong> {
        let project = self.project.as_deref().filter(|id| !registry.projects().contains_key(*id));
        let project = project
            .map(|id| Wrong::new("/project", format!("must name a project that exists; there is no {id}")));
        absent_plan(registry, self.plan.as_deref()).into_iter().chain(project).collect()
    }

    fn may_be_deleted(app: &App, name: &str) -> Result<(), ApiError> {
        if looks_secret(name).is_some() && !app.engine.is_registered(name) {
            // Nothing is there to delete, and the log would keep the name for good.
            return Err(absent(DocumentKind::Key, name));
        }
        Ok(())
    }

    fn into_entry(self) -> Entry {
        Entry::Key(self)
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
pub(crate) async fn list(
    State(app): State<App>,
    params: Params,
) -> Result<Json<List<KeyEntryView>>, ApiError> {
    resource::list::<KeyEntry>(&app, params)
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
pub(crate) async fn show(
    State(app): State<App>,
    TextPath(name): TextPath,
) -> Result<Json<KeyEntryView>, ApiError> {
    resource::show::<KeyEntry>(&app, &name)
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
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong, or its project or plan does not exist; nothing changed."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn put(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    JsonDocument(body): JsonDocument,
) -> Result<Response, ApiError> {
    resource::put::<KeyEntry>(&app, &actor, &name, &body).await
}

/// Changes a part of a key by a JSON merge patch: what it names is replaced as a whole, what it has as null goes. It
/// is held to what a PUT is held to, and holds on every instance within a second.
#[utoipa::path(
    patch, path = "/v1/keys/{key_id}", tag = "registry", operation_id = "patch_key",
    request_body(
        content(
            (serde_json::Value = "application/merge-patch+json"), (serde_json::Value = "application/json"),
        ),
        description = "Members of the key."
    ),
    params(("key_id" = String, Path, description = "The public id, as answers give it, percent-encoded.")),
    responses(
        (status = 200, body = KeyEntryView, description = "The key as it is in force now."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong, or others change it all the time; nothing changed."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    JsonDocument(patch): JsonDocument,
) -> Result<Json<KeyEntryView>, ApiError> {
    resource::patch::<KeyEntry>(&app, &actor, &name, &patch).await
}

/// Deletes a key. It is one that nobody registered then.
#[utoipa::path(
    delete, path = "/v1/keys/{key_id}", tag = "registry", operation_id = "delete_key",
    params(("key_id" = String, Path, description = "The public id, as answers give it, percent-encoded.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
) -> Result<StatusCode, ApiError> {
    resource::delete::<KeyEntry>(&app, &actor, &name).await
}
