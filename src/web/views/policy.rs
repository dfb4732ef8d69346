//! Policy: what is in force, and who changed what.

use askama::Template;
use axum::{extract::State, response::Response};
use serde_json::Value;

use crate::{
    domain::event::{EventType, PolicyChanged, wire_name},
    http::App,
    store::EventQuery,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{Moment, in_path},
    },
};

/// Changes that are shown.
const CHANGES: usize = 30;

#[derive(Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    version: String,
    enforcement: String,
    json: String,
    changes: Vec<Change>,
    allowlist: Vec<AllowRow>,
}

struct Change {
    at: Moment,
    event: String,
    what: String,
    by: String,
    settings: Vec<(String, String, String)>,
}

struct AllowRow {
    entry: String,
    reason: String,
    expires: String,
}

/// Shows the policy in force, the allowlist, and what was changed of policy, allowlist and registry.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    let active = app.engine.policy();
    let query = EventQuery { kind: Some(EventType::PolicyChanged), limit: CHANGES, ..EventQuery::default() };
    let page = app.engine.store().events(&query).await?;
    let changes = page.items.iter().filter_map(|event| {
        let (what, by, settings) = described(event.read::<PolicyChanged>()?);
        Some(Change { at: Moment::at(event.time), event: in_path(&event.id), what, by, settings })
    });
    let text = |document: &crate::store::Document, name: &str| {
        document.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let allowlist = app.engine.allowlist();
    let allowlist = allowlist.iter().map(|document| AllowRow {
        entry: document.name.clone(),
        reason: text(document, "reason"),
        expires: text(document, "expires"),
    });
    Ok(render(
        200,
        &PolicyPage {
            version: active.version.to_string(),
            enforcement: wire_name(&active.policy.enforcement),
            json: serde_json::to_string_pretty(&active.policy).unwrap_or_default(),
            changes: changes.collect(),
            allowlist: allowlist.collect(),
            frame,
        },
    ))
}

/// What was changed, by whom, and for a policy each setting with what it was and is.
fn described(change: PolicyChanged) -> (String, String, Vec<(String, String, String)>) {
    let who = |by: Option<crate::domain::actor::Actor>| by.map(|by| by.to_string()).unwrap_or_default();
    match change {
        PolicyChanged::Policy { version, former_version, changes, by } => {
            let of = |change: &Value, name: &str| change.get(name).map(Value::to_string).unwrap_or_default();
            let rows = changes.iter();
            let rows = rows.map(|(path, change)| (path.clone(), of(change, "before"), of(change, "after")));
            (format!("policy {former_version} to {version}"), who(by), rows.collect())
        }
        PolicyChanged::Allowlist { allowlist, entry, by } => {
            let done = if entry.is_null() { "taken off the allowlist" } else { "put on the allowlist" };
            (format!("{allowlist} {done}"), who(by), Vec::new())
        }
        PolicyChanged::Registry { document, name, before, after, by } => {
            let done = match (before.is_null(), after.is_null()) {
                (_, true) => "deleted",
                (true, false) => "made",
                (false, false) => "changed",
            };
            (format!("{document} {name} {done}"), who(by), Vec::new())
        }
        PolicyChanged::Restored { document, name, reason } => {
            (format!("{document} {name} restored: {reason}"), String::new(), Vec::new())
        }
    }
}
