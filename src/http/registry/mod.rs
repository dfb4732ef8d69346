//! `/v1/plans`, `/v1/projects`, `/v1/keys`: who belongs where, and which limits are on whom.

mod body;
pub(super) mod issue;
pub(super) mod keys;
mod kind;
mod patch;
pub(super) mod plans;
pub(super) mod projects;
mod resource;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::ApiError,
    lists::{Cursor, List},
    params::Params,
};
use crate::{
    domain::{
        Millis,
        key::looks_secret,
        registry::{Held, Registry, Wrong},
        subject::valid_id,
    },
    store::DocumentKind,
};

/// How many users of what cannot be deleted are named.
const NAMED: usize = 5;

/// Where an entry is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Source {
    /// It is in the configuration.
    Configured,
    /// It was put over the API.
    Stored,
}

impl Source {
    fn of(updated: Option<Millis>) -> Self {
        if updated.is_some() { Self::Stored } else { Self::Configured }
    }
}

/// The registry in force.
fn registry(app: &App) -> std::sync::Arc<Registry> {
    app.engine.policy().registry.clone()
}

/// That a plan or a project may have this name, which a path holds.
fn may_be_named(name: &str, pointer: &str) -> Result<(), ApiError> {
    if valid_id(name) {
        return Ok(());
    }
    Err(ApiError::field(pointer, "must be 1 to 128 bytes of printable text without spaces"))
}

/// That a plan which is named does not exist.
fn absent_plan(registry: &Registry, plan: Option<&str>) -> Option<Wrong> {
    let name = plan.filter(|name| !registry.plans().contains_key(*name))?;
    Some(Wrong::new("/plan", format!("must name a plan that exists; there is no {name}")))
}

/// A page of a list, newest first; what the configuration has comes last.
fn page<'r, T: 'r, V>(
    entries: impl Iterator<Item = (&'r str, Option<Millis>, T)>,
    params: Params,
    view: impl Fn(&str, T) -> V,
) -> Result<Json<List<V>>, ApiError> {
    let params = params.only(&["cursor", "limit"])?;
    let (cursor, limit) = (params.text("cursor").map(Cursor::decode).transpose()?, params.limit()?);
    let after = |time: Millis, name: &str| cursor.as_ref().is_none_or(|c| c.precedes(time, name));
    let mut entries: Vec<_> = entries
        .map(|(name, updated, entry)| (std::cmp::Reverse(updated.unwrap_or_default()), name, entry))
        .filter(|(time, name, _)| after(time.0, name))
        .collect();
    let more = entries.len() > limit;
    if more {
        // Only a page of what may be 100,000 is sorted.
        entries.select_nth_unstable_by(limit, |a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        entries.truncate(limit);
    }
    entries.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let end = entries.last().filter(|_| more);
    let next_cursor = end.map(|(time, name, _)| Cursor { time: time.0, name: (*name).to_owned() }.encode());
    let items = entries.into_iter().map(|(_, name, entry)| view(name, entry)).collect();
    Ok(Json(List { items, next_cursor }))
}

/// That what is to be deleted is not in the configuration alone.
fn stored<T>(kind: DocumentKind, name: &str, held: Option<&Held<T>>) -> Result<(), ApiError> {
    if held.is_none_or(|held| held.updated.is_some()) {
        return Ok(());
    }
    let kind = kind.name();
    Err(ApiError::Conflict(format!(
        "the {kind} {name} is in the configuration; take it out there, or put another one over it"
    )))
}

/// Names what is not there, unless it may be a secret that was taken for a public id.
fn absent(kind: DocumentKind, name: &str) -> ApiError {
    ApiError::NotFound(match looks_secret(name).filter(|_| kind == DocumentKind::Key) {
        Some(likeness) => format!(
            "there is no such key. What was given {likeness}: POST /v1/bans/lookup takes the secret as api_key and \
             answers with the public id"
        ),
        None => format!("there is no {} {name}", kind.name()),
    })
}

/// That what is to be deleted is used by nobody.
fn unused(kind: DocumentKind, name: &str, mut users: Vec<String>) -> Result<(), ApiError> {
    if users.is_empty() {
        return Ok(());
    }
    if users.len() > NAMED {
        users.truncate(NAMED);
        users.push("others".to_owned());
    }
    let users = users.join(", ");
    Err(ApiError::Conflict(format!("the {} {name} is in use by {users}; change these first", kind.name())))
}
