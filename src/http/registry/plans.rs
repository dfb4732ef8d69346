//! `/v1/plans`: limits that keys have by name.

use axum::{Extension, Json, extract::State, http::StatusCode, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    NAMED, Source, absent, answer, bad, delete as delete_stored, named, page, registry, stored, unused,
};
use crate::{
    domain::{
        actor::Actor,
        event::format_millis,
        registry::{Entry, Held, LimitBody, Plan},
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

/// A plan: limits for each key that has it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PlanView {
    /// Its name.
    pub name: String,
    /// The limits.
    pub limits: Vec<LimitBody>,
    /// Where it is from.
    pub source: Source,
    /// When it was put; null: it is the configuration's.
    #[schema(format = DateTime)]
    pub updated: Option<String>,
}

impl PlanView {
    fn of(name: &str, held: &Held<Plan>) -> Self {
        let Plan { limits } = (*held.body).clone();
        Self {
            name: name.to_owned(),
            limits,
            source: Source::of(held.updated),
            updated: held.updated.map(format_millis),
        }
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
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<List<PlanView>>, ApiError> {
    let registry = registry(&app);
    let entries = registry.plans().iter().map(|(name, held)| (&**name, held.updated, held));
    page(entries, params, PlanView::of)
}

/// Shows one plan.
#[utoipa::path(
    get, path = "/v1/plans/{name}", tag = "registry", operation_id = "show_plan",
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 200, body = PlanView, description = "The plan."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
    ),
)]
pub async fn show(State(app): State<App>, TextPath(name): TextPath) -> Result<Json<PlanView>, ApiError> {
    let registry = registry(&app);
    let held = registry.plans().get(name.as_str());
    held.map(|held| Json(PlanView::of(&name, held))).ok_or_else(|| absent(DocumentKind::Plan, &name))
}

/// Puts a plan in force, or replaces it as a whole. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/plans/{name}", tag = "registry", operation_id = "put_plan", request_body = Plan,
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 200, body = PlanView, description = "Replaced."),
        (status = 201, body = PlanView, description = "New."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "Something in it is wrong; nothing changed."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn put(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
    JsonBody(body): JsonBody<Plan>,
) -> Result<Response, ApiError> {
    let name = named(name, "/name")?;
    let body = body.checked().map_err(bad)?;
    let now = app.engine.now();
    let existed = app.engine.put_entry(&name, &Entry::Plan(body.clone()), &actor, now).await?;
    audit(&actor, "plan put", &name);
    Ok(answer(existed, PlanView::of(&name, &Held { body: body.into(), updated: Some(now) })))
}

/// Deletes a plan. Where the configuration has one of this name, that one is in force again.
#[utoipa::path(
    delete, path = "/v1/plans/{name}", tag = "registry", operation_id = "delete_plan",
    params(("name" = String, Path, description = "The name, percent-encoded.")),
    responses(
        (status = 204, description = "It is gone, or the one of the configuration is in force again."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "It is in use, or in the configuration alone."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn delete(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(name): TextPath,
) -> Result<StatusCode, ApiError> {
    let registry = registry(&app);
    stored(DocumentKind::Plan, &name, registry.plans().get(name.as_str()))?;
    if !registry.configures_plan(&name) {
        unused(DocumentKind::Plan, &name, registry.users_of_plan(&name, NAMED + 1))?;
    }
    let done = delete_stored(&app, DocumentKind::Plan, &name, &actor).await?;
    audit(&actor, "plan delete", &name);
    Ok(done)
}
