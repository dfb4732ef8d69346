//! `/v1/policy/versions`: which policies were in force, who changed what, and each as a whole.

use axum::{Json, extract::State, response::Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    lists::List,
    params::{Params, TextPath},
    policy::{PolicyView, respond},
};
use crate::{
    domain::{
        actor::Actor,
        difference::undo,
        event::{Event, EventType, PolicyChanged, format_millis},
        policy::Policy,
    },
    engine::{ActivePolicy, Engine},
    store::{EventQuery, StoreError},
};

/// Changes that are looked through for one answer: the allowlist, plans, projects and keys are among them.
const MOST_LOOKED_AT: usize = 10_000;
/// Changes that are asked for at a time.
const PAGE: usize = 1_000;
/// A question to the store costs at least as much as so many changes.
const QUESTION: usize = 50;

/// A policy that a person put in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyVersion {
    /// Its version, as decisions and events name it.
    pub version: String,
    /// Since when it was in force.
    #[schema(format = DateTime)]
    pub since: String,
    /// Who put it in force: the id of the token; null in a log from before this was kept.
    #[schema(value_type = Option<String>)]
    pub by: Option<Actor>,
    /// The version that was in force before.
    pub former_version: String,
    /// Each setting that differs from that one, by its path, with `before` and `after`.
    #[schema(value_type = Value)]
    pub changes: Map<String, Value>,
    /// The id of the event that tells of it.
    pub event: String,
}

impl PolicyVersion {
    fn of(event: &Event) -> Option<Self> {
        let PolicyChanged::Policy { version, former_version, changes, by } = event.read()? else {
            return None;
        };
        let (since, event) = (format_millis(event.time), event.id.clone());
        Some(Self { version, since, by, former_version, changes, event })
    }
}

/// Lists the policies that people put in force, newest first, as far as the event log goes back. What the configuration
/// says is not among them.
#[utoipa::path(
    get, path = "/v1/policy/versions", tag = "policy", operation_id = "list_policy_versions",
    params(
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses(
        (status = 200, body = List<PolicyVersion>, description = "A page; it may be shorter than asked."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn list(
    State(app): State<App>,
    params: Params,
) -> Result<Json<List<PolicyVersion>>, ApiError> {
    let params = params.only(&["cursor", "limit"])?;
    let mut looked = Looked::from(params.text("cursor"), params.limit()?);
    let mut items = Vec::new();
    // Other changes are passed over, so that a page holds something where anything is left.
    while items.is_empty() && looked.goes_on() {
        items = looked.next(&app.engine).await?;
    }
    Ok(Json(List { items, next_cursor: looked.cursor() }))
}

/// Shows a policy that was in force, as GET /v1/policy shows the present one: to look at, to preview, or to be put
/// again.
#[utoipa::path(
    get, path = "/v1/policy/versions/{version}", tag = "policy", operation_id = "show_policy_version",
    params(("version" = String, Path, description = "Its version.")),
    responses(
        (
            status = 200, body = PolicyView, description = "The policy.",
            headers(("ETag" = String, description = "Its version."))
        ),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "The log does not lead back to a policy of that version."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn show(State(app): State<App>, TextPath(version): TextPath) -> Result<Response, ApiError> {
    match former(&app.engine, &version).await? {
        Some(policy) => Ok(respond(&policy, &version)),
        None => Err(ApiError::NotFound(format!(
            "no policy {version} is known: the changes in the event log do not lead back to it"
        ))),
    }
}

/// The policy of a version: the one in force, or what the changes since then lead back to. What they do not lead to by
/// its digest is not answered, such as where the configuration has changed between.
async fn former(engine: &Engine, wanted: &str) -> Result<Option<Policy>, StoreError> {
    let in_force = engine.policy();
    if *in_force.version == *wanted {
        return Ok(Some(in_force.policy.clone()));
    }
    let Ok(mut document) = serde_json::to_value(&in_force.policy) else { return Ok(None) };
    let mut version = in_force.version.to_string();
    let mut looked = Looked::from(None, PAGE);
    while looked.goes_on() {
        for change in looked.next(engine).await? {
            if change.version != version {
                return Ok(None);
            }
            undo(&mut document, &change.changes);
            let Ok(policy) = serde_json::from_value::<Policy>(document.clone()) else { return Ok(None) };
            let former = ActivePolicy::new(policy, Default::default());
            if *former.version != *change.former_version {
                return Ok(None);
            }
            if *former.version == *wanted {
                return Ok(Some(former.policy));
            }
            version = change.former_version;
        }
    }
    Ok(None)
}

/// The changes in the log, page by page, the newest first.
struct Looked {
    query: EventQuery,
    is_done: bool,
    left: usize,
}

impl Looked {
    fn from(cursor: Option<&str>, limit: usize) -> Self {
        let (kind, cursor) = (Some(EventType::PolicyChanged), cursor.map(str::to_owned));
        let query = EventQuery { kind, cursor, limit, ..EventQuery::default() };
        Self { query, is_done: false, left: MOST_LOOKED_AT }
    }

    /// Whether there may be more, and enough was not looked at.
    fn goes_on(&self) -> bool {
        !self.is_done && self.left > 0
    }

    /// Where one can go on later.
    fn cursor(self) -> Option<String> {
        self.query.cursor.filter(|_| !self.is_done)
    }

    async fn next(&mut self, engine: &Engine) -> Result<Vec<PolicyVersion>, StoreError> {
        let page = engine.store().events(&self.query).await?;
        self.is_done = page.next.is_none();
        self.left = self.left.saturating_sub(page.items.len().max(QUESTION));
        self.query.cursor = page.next;
        Ok(page.items.iter().filter_map(PolicyVersion::of).collect())
    }
}
