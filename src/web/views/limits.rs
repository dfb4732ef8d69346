//! Limits: plans, projects and keys as they are registered.

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        registry::{Amount, LimitBody},
        window::Unit,
        wording::whole,
    },
    http::{App, params::Params},
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{in_words, subject_path},
    },
};

/// Rows of each table.
const ROWS: usize = 100;

#[derive(Template)]
#[template(path = "limits.html")]
struct LimitsPage {
    frame: Frame,
    text: String,
    plans: Vec<PlanRow>,
    projects: Vec<ProjectRow>,
    keys: Vec<KeyRow>,
    keys_found: String,
    is_cut: bool,
}

struct PlanRow {
    name: String,
    limits: Vec<String>,
}

struct ProjectRow {
    name: String,
    path: String,
    plan: String,
    budget: String,
    owner: String,
    limits: Vec<String>,
}

struct KeyRow {
    name: String,
    path: String,
    label: String,
    project: String,
    plan: String,
    bounds: String,
    expires: String,
}

/// Shows the registry: parameter `q`, a part of a key's id, label or project.
pub(in crate::web) async fn show(
    State(app): State<App>,
    frame: Frame,
    params: Params,
) -> Result<Response, Fault> {
    let params = params.only(&["q", "done"])?;
    let text = params.text("q").unwrap_or_default().trim().to_owned();
    let part = text.to_lowercase();
    let policy = app.engine.policy();
    let plans = policy.registry.plans().iter();
    let plans =
        plans.map(|(name, held)| PlanRow { name: name.to_string(), limits: words(&held.body.limits) });
    let projects = policy.registry.projects().iter().map(|(name, held)| ProjectRow {
        name: name.to_string(),
        path: subject_path(&format!("project:{name}")),
        plan: held.body.plan.clone().unwrap_or_default(),
        budget: held.body.budget_usd.as_ref().map(dollars).unwrap_or_default(),
        owner: held.body.owner.clone().unwrap_or_default(),
        limits: words(&held.body.limits),
    });
    let (mut keys, mut found) = (Vec::new(), 0_u64);
    for (id, held) in policy.registry.keys() {
        let body = &held.body;
        let texts = [Some(&**id), body.label.as_deref(), body.project.as_deref()];
        if !texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&part)) {
            continue;
        }
        found += 1;
        if keys.len() < ROWS {
            keys.push(key_row(id, body));
        }
    }
    let is_cut = found > ROWS as u64;
    Ok(render(
        200,
        &LimitsPage {
            text,
            plans: plans.take(ROWS).collect(),
            projects: projects.take(ROWS).collect(),
            keys,
            keys_found: whole(found),
            is_cut,
            frame,
        },
    ))
}

fn key_row(id: &str, body: &crate::domain::registry::KeyEntry) -> KeyRow {
    let bounds: Vec<String> = [&body.allowed_networks, &body.allowed_countries, &body.allowed_models]
        .into_iter()
        .filter(|allowed| !allowed.is_empty())
        .map(|allowed| allowed.join(", "))
        .collect();
    KeyRow {
        name: id.to_owned(),
        path: subject_path(&format!("key:{id}")),
        label: body.label.clone().unwrap_or_default(),
        project: body.project.clone().unwrap_or_default(),
        plan: body.plan.clone().unwrap_or_default(),
        bounds: bounds.join("; "),
        expires: body.expires.as_deref().and_then(|at| at.get(..10)).unwrap_or_default().to_owned(),
    }
}

/// Limits as people say them: `1,000 requests per hour`.
fn words(limits: &[LimitBody]) -> Vec<String> {
    let one = |limit: &LimitBody| {
        let amount = match limit.unit {
            Unit::CostUsd => dollars(&limit.limit),
            unit => format!("{} {}", plain(&limit.limit), in_words(unit.name()).to_lowercase()),
        };
        let model = limit.model.as_deref().map(|model| format!(" to {model}")).unwrap_or_default();
        let shadow = if limit.mode.enforces() { "" } else { " (shadow)" };
        format!("{amount} per {}{model}{shadow}", limit.window)
    };
    limits.iter().map(one).collect()
}

fn dollars(amount: &Amount) -> String {
    format!("${}", plain(amount))
}

fn plain(amount: &Amount) -> String {
    match amount {
        Amount::Whole(number) => whole(*number),
        Amount::Decimal(text) => text.clone(),
    }
}
