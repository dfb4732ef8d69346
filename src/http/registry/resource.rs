//! What plans, projects and keys have in common: how one is listed, shown, put, patched and deleted.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

pub(super) use super::kind::Resource;
use super::{absent, body, page, patch::Patch, registry};
use crate::{
    domain::{actor::Actor, registry::Held},
    http::{App, audit, error::ApiError, lists::List, params::Params},
    intake::parse,
};

/// How often a patch is begun anew because the registry has changed meanwhile.
const ATTEMPTS: usize = 32;

pub(super) fn list<R: Resource>(app: &App, params: Params) -> Result<Json<List<R::View>>, ApiError> {
    let registry = registry(app);
    let entries = R::entries(&registry).map(|(name, held)| (name, held.updated, held));
    page(entries, params, |name, held| R::view(name, &held))
}

pub(super) fn show<R: Resource>(app: &App, name: &str) -> Result<Json<R::View>, ApiError> {
    let held = R::held(&registry(app), name);
    held.map(|held| Json(R::view(name, &held))).ok_or_else(|| absent(R::KIND, name))
}

/// Answers 200 where one was replaced, else 201.
pub(super) async fn put<R: Resource>(
    app: &App,
    actor: &Actor,
    name: &str,
    body: &[u8],
) -> Result<Response, ApiError> {
    R::may_be_named(name)?;
    let body: R = body::read(body, &registry(app))?;
    let now = app.engine.now();
    let existed = app.engine.registry_changes().put(name, &body.clone().into_entry(), actor, now).await?;
    audit(actor, &format!("{} put", R::KIND.name()), name);
    let code = if existed { StatusCode::OK } else { StatusCode::CREATED };
    let view = R::view(name, &Held { body: body.into(), updated: Some(now) });
    Ok((code, Json(view)).into_response())
}

/// Changes a part of what is in force. Where anybody changes the registry meanwhile, it is begun anew from what is
/// there then, so that nobody's change is lost.
pub(super) async fn patch<R: Resource>(
    app: &App,
    actor: &Actor,
    name: &str,
    patch: &[u8],
) -> Result<Json<R::View>, ApiError> {
    let patch: Patch = parse(patch)?;
    let _alone = app.engine.registry_changes().alone().await;
    for _ in 0..ATTEMPTS {
        let active = app.engine.policy();
        let held = R::held(&active.registry, name).ok_or_else(|| absent(R::KIND, name))?;
        let body = patch.apply::<R>(&held.body, &active.registry)?;
        let now = app.engine.now();
        let entry = body.clone().into_entry();
        if app.engine.registry_changes().put_after(&active, name, &entry, actor, now).await? {
            audit(actor, &format!("{} patch", R::KIND.name()), name);
            return Ok(Json(R::view(name, &Held { body: body.into(), updated: Some(now) })));
        }
    }
    Err(ApiError::Conflict("others change the registry all the time; send the same again".to_owned()))
}

pub(super) async fn delete<R: Resource>(
    app: &App,
    actor: &Actor,
    name: &str,
) -> Result<StatusCode, ApiError> {
    R::may_be_deleted(app, name)?;
    let there = app.engine.registry_changes().delete(R::KIND, name, actor, app.engine.now()).await?;
    if !there {
        return Err(absent(R::KIND, name));
    }
    audit(actor, &format!("{} delete", R::KIND.name()), name);
    Ok(StatusCode::NO_CONTENT)
}
