//! `/v1/plans`: limits that keys have by name.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    NAMED, Source, may_be_named, registry,
    resource::{self, Resource},
    stored, unused,
};
use crate::{
    domain::{
        actor::Actor,
        event::format_millis,
        registry::{Entry, Held, LimitBody, Plan, Registry, Wrong},
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

/// A plan: limits for each key that has it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PlanView {
    /// The name that keys and projects have it by.
    pub name: String,
    /// The limits, each counted per key.
    pub limits: Vec<LimitBody>,
    /// Where it is from.
    pub source: Source,
    /// When it was put; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub updated: Option<String>,
}

impl Resource for Plan {
    const KIND: DocumentKind = DocumentKind::Plan;
    type View = PlanView;

    fn view(name: &str, held: &Held<Self>) -> PlanView {
        let Plan { limits } = (*held.body).clone();
        PlanView {
            name: name.to_owned(),
            limits,
            source: Source::of(held.updated),
            updated: held.updated.map(format_millis),
        }
    }

    fn entries(registry: &Registry) -> Box<dyn Iterator<Item = (&str, Held<Self>)> + '_> {
        Box::new(registry.plans().iter().map(|(name, held)| (&**name, held.clone())))
    }

    fn held(registry: &Registry, name: &str) -> Option<Held<Self>> {
        registry.plans().get(name).cloned()
    }

    fn may_be_named(name: &str) -> Result<(), ApiError> {
        may_be_named(name, "/name")
    }

    fn spelled(self) -> Result<Self, Vec<Wrong>> {
        self.checked()
    }

    fn absent(&self, _registry: &Registry) -> Vec<Wrong> {
        Vec::new()
    }

    fn may_be_deleted(app: &App, name: &str) -> Result<(), ApiError> {
        let registry = registry(app);
        stored(DocumentKind::Plan, name, registry.plans().get(name))?;
        if registry.configures_plan(name) {
            return Ok(());
        }
        unused(DocumentKind::Plan, name, registry.users_of_plan(name, NAMED + 1))
    }

    fn into_entry(self) -> Entry {
        Entry::Plan(self)
    }
}

/// Lists the plans, newest first; the configuration's last.
#[utoipa::path(
    get, path = "/v1/plans", tag = "registry", operation_id = "list_plans",
    params(
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses((status = 200, body = List<PlanView>, description = "A page.")),
)]
pub(crate) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<PlanView>>, ApiError> {
    resource::list::<Plan>(&app, params)
}

/// Shows the plan that is in force under a name.
#[utoipa::path(
    get, path = "/v1/plans/{name}", tag = "registry", operation_id = "show_plan",
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 200, body = PlanView, description = "The plan."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    TextPath(name): TextPath,
) -> Result<Json<PlanView>, ApiError> {
    resource::show::<Plan>(&app, &name)
}

/// Puts a plan in force, or replaces it as a whole. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/plans/{name}", tag = "registry", operation_id = "put_plan", request_body = Plan,
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 200, body = PlanView, description = "Replaced."),
        (status = 201, body = PlanView, description = "New."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong; nothing changed."
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
    resource::put::<Plan>(&app, &actor, &name, &body).await
}

/// Changes a part of a plan by a JSON merge patch: what it names is replaced as a whole, what it has as null goes. It
/// is held to what a PUT is held to, and holds on every instance within a second.
#[utoipa::path(
    patch, path = "/v1/plans/{name}", tag = "registry", operation_id = "patch_plan",
    request_body(
        content(
            (serde_json::Value = "application/merge-patch+json"), (serde_json::Value = "application/json"),
        ),
        description = "Members of the plan."
    ),
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 200, body = PlanView, description = "The plan as it is in force now."),
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
) -> Result<Json<PlanView>, ApiError> {
    resource::patch::<Plan>(&app, &actor, &name, &patch).await
}

/// Deletes a plan. Where the configuration has one of this name, that one is in force again.
#[utoipa::path(
    delete, path = "/v1/plans/{name}", tag = "registry", operation_id = "delete_plan",
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 204, description = "It is gone, or the one of the configuration is in force again."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "It is in use, or in the configuration alone."
        ),
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
    resource::delete::<Plan>(&app, &actor, &name).await
}
