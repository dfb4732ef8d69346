//! `/v1/projects`: what keys have in common: limits, a budget, a plan, a priority, an owner.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    NAMED, Source, absent_plan, may_be_named, registry,
    resource::{self, Resource},
    stored, unused,
};
use crate::{
    domain::{
        actor::Actor,
        event::format_millis,
        limit::Priority,
        registry::{Amount, Entry, Held, LimitBody, Project, Registry, Wrong},
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

/// A project as it is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectView {
    /// The id that records and keys have it by.
    pub id: String,
    /// Limits over all its requests.
    pub limits: Vec<LimitBody>,
    /// US dollars per calendar month.
    #[schema(value_type = Option<String>, example = "250")]
    pub budget_usd: Option<Amount>,
    /// The plan of those of its keys that have none of their own.
    pub plan: Option<String>,
    /// How soon its requests are refused as limits fill up.
    pub priority: Option<Priority>,
    /// By whose calendar its days, weeks and months begin; null: UTC.
    pub timezone: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it is from.
    pub source: Source,
    /// When it was put; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub updated: Option<String>,
}

impl Resource for Project {
    const KIND: DocumentKind = DocumentKind::Project;
    type View = ProjectView;

    fn view(id: &str, held: &Held<Self>) -> ProjectView {
        let Project { limits, budget_usd, plan, priority, timezone, owner } = (*held.body).clone();
        ProjectView {
            id: id.to_owned(),
            limits,
            budget_usd,
            plan,
            priority,
            timezone,
            owner,
            source: Source::of(held.updated),
            updated: held.updated.map(format_millis),
        }
    }

    fn entries(registry: &Registry) -> Box<dyn Iterator<Item = (&str, Held<Self>)> + '_> {
        Box::new(registry.projects().iter().map(|(name, held)| (&**name, held.clone())))
    }

    fn held(registry: &Registry, name: &str) -> Option<Held<Self>> {
        registry.projects().get(name).cloned()
    }

    fn may_be_named(name: &str) -> Result<(), ApiError> {
        may_be_named(name, "/id")
    }

    fn spelled(self) -> Result<Self, Vec<Wrong>> {
        self.checked()
    }

    fn absent(&self, registry: &Registry) -> Vec<Wrong> {
        absent_plan(registry, self.plan.as_deref()).into_iter().collect()
    }

    fn may_be_deleted(app: &App, name: &str) -> Result<(), ApiError> {
        let registry = registry(app);
        stored(DocumentKind::Project, name, registry.projects().get(name))?;
        if registry.configures_project(name) {
            return Ok(());
        }
        unused(DocumentKind::Project, name, registry.users_of_project(name, NAMED + 1))
    }

    fn into_entry(self) -> Entry {
        Entry::Project(self)
    }
}

/// Lists the projects, newest first; the configuration's last.
#[utoipa::path(
    get, path = "/v1/projects", tag = "registry", operation_id = "list_projects",
    params(
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses((status = 200, body = List<ProjectView>, description = "A page.")),
)]
pub(crate) async fn list(
    State(app): State<App>,
    params: Params,
) -> Result<Json<List<ProjectView>>, ApiError> {
    resource::list::<Project>(&app, params)
}

/// Shows the project that is in force under an id.
#[utoipa::path(
    get, path = "/v1/projects/{id}", tag = "registry", operation_id = "show_project",
    params(("id" = String, Path, description = "The id, percent-encoded.")),
    responses(
        (status = 200, body = ProjectView, description = "The project."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
    ),
)]
pub(crate) async fn show(
    State(app): State<App>,
    TextPath(name): TextPath,
) -> Result<Json<ProjectView>, ApiError> {
    resource::show::<Project>(&app, &name)
}

/// Puts a project in force, or replaces it as a whole. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/projects/{id}", tag = "registry", operation_id = "put_project", request_body = Project,
    params(("id" = String, Path, description = "The id, percent-encoded.")),
    responses(
        (status = 200, body = ProjectView, description = "Replaced."),
        (status = 201, body = ProjectView, description = "New."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong, or its plan does not exist; nothing changed."
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
    resource::put::<Project>(&app, &actor, &name, &body).await
}

/// Changes a part of a project by a JSON merge patch: what it names is replaced as a whole, what it has as null goes.
/// It is held to what a PUT is held to, and holds on every instance within a second.
#[utoipa::path(
    patch, path = "/v1/projects/{id}", tag = "registry", operation_id = "patch_project",
    request_body(
        content(
            (serde_json::Value = "application/merge-patch+json"), (serde_json::Value = "application/json"),
        ),
        description = "Members of the project."
    ),
    params(("id" = String, Path, description = "The id, percent-encoded.")),
    responses(
        (status = 200, body = ProjectView, description = "The project as it is in force now."),
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
) -> Result<Json<ProjectView>, ApiError> {
    resource::patch::<Project>(&app, &actor, &name, &patch).await
}

/// Deletes a project. Where the configuration has one of this name, that one is in force again.
#[utoipa::path(
    delete, path = "/v1/projects/{id}", tag = "registry", operation_id = "delete_project",
    params(("id" = String, Path, description = "The id, percent-encoded.")),
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
    resource::delete::<Project>(&app, &actor, &name).await
}
