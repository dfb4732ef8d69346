//! Policy: what is in force, who changed what, and what another would have done.

use askama::Template;
use axum::{extract::State, response::Response};
use serde_json::Value;

use crate::{
    domain::{
        DAY,
        event::{EventType, PolicyChanged, wire_name},
    },
    http::{App, error::ApiError, preview::compare},
    preview::{Acts, Preview, Ruled},
    store::EventQuery,
    web::{
        acts::required,
        fault::{Fault, render},
        frame::Frame,
        own_form::OwnForm,
        shown::{Moment, in_path, subject_path},
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
    /// The policy that was tried, as it was sent; else the one in force.
    draft: String,
    /// The span that was asked for, in days.
    days: i64,
    preview: Option<PreviewPart>,
}

/// What a policy would have done, as it is shown.
struct PreviewPart {
    preview: Preview,
    totals: Vec<TotalRow>,
    types: Vec<ActsRow>,
    subjects: Vec<ActsRow>,
}

/// How often the two policies do one thing.
struct TotalRow {
    what: &'static str,
    before: u64,
    after: u64,
}

/// What the two do about a type of finding, or about a subject.
struct ActsRow {
    name: String,
    /// Where the subject's page is; empty for a type.
    path: String,
    findings: Option<u64>,
    before: String,
    after: String,
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

/// Spans that a preview may be of, in days.
const SPANS: [i64; 3] = [1, 7, 30];

/// Shows the policy in force, the allowlist, and what was changed of policy, allowlist and registry.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    page(&app, frame, None).await
}

/// Shows what a policy would have done: fields `policy` (as JSON) and `days`. Nothing is put in force.
pub(in crate::web) async fn preview(
    State(app): State<App>,
    frame: Frame,
    OwnForm { fields, .. }: OwnForm,
) -> Result<Response, Fault> {
    let draft = required(&fields, "policy")?.to_owned();
    let read = |text: &str| text.parse().ok().filter(|days| SPANS.contains(days));
    let days = fields.get("days", "1, 7 or 30", read)?.unwrap_or(7);
    let wrong =
        |error: serde_json::Error| ApiError::field("/policy", format!("must be a JSON object: {error}"));
    let document = serde_json::from_str(&draft).map_err(wrong)?;
    let until = app.engine.now() + 1;
    let preview = compare(&app, document, (until - days * DAY, until)).await?;
    page(&app, frame, Some((draft, days, PreviewPart::of(preview)))).await
}

async fn page(app: &App, frame: Frame, tried: Option<(String, i64, PreviewPart)>) -> Result<Response, Fault> {
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
    let json = serde_json::to_string_pretty(&active.policy).unwrap_or_default();
    let (draft, days, preview) = match tried {
        Some((draft, days, preview)) => (draft, days, Some(preview)),
        None => (json.clone(), 7, None),
    };
    Ok(render(
        200,
        &PolicyPage {
            version: active.version.to_string(),
            enforcement: wire_name(&active.policy.enforcement),
            json,
            draft,
            days,
            preview,
            changes: changes.collect(),
            allowlist: allowlist.collect(),
            frame,
        },
    ))
}

impl PreviewPart {
    fn of(preview: Preview) -> Self {
        let types = preview.types.iter().map(|row| ActsRow {
            name: row.kind.name().to_owned(),
            path: String::new(),
            findings: Some(row.findings),
            before: in_words(row.before),
            after: in_words(row.after),
        });
        let subjects = preview.subjects.iter().map(|row| ActsRow {
            name: row.subject.to_string(),
            path: subject_path(row.subject.as_str()),
            findings: None,
            before: in_words(row.before),
            after: in_words(row.after),
        });
        Self {
            totals: totals(&preview.before, &preview.after),
            types: types.collect(),
            subjects: subjects.collect(),
            preview,
        }
    }
}

fn totals(before: &Ruled, after: &Ruled) -> Vec<TotalRow> {
    let row = |what, count: fn(&Ruled) -> u64| TotalRow { what, before: count(before), after: count(after) };
    vec![
        row("who is banned", |ruled| ruled.subjects_banned as u64),
        row("bans", |ruled| ruled.acts.bans),
        row("of them for good", |ruled| ruled.acts.permanent_bans),
        row("requests refused for a ban", |ruled| ruled.acts.refused),
        row("findings that throttle", |ruled| ruled.acts.throttles),
        row("findings that only alert", |ruled| ruled.acts.alerts),
    ]
}

/// What is done, without what is not.
fn in_words(acts: Acts) -> String {
    let counted = [
        (acts.bans, "bans"),
        (acts.refused, "refused"),
        (acts.throttles, "throttles"),
        (acts.alerts, "alerts"),
    ];
    let words = counted.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
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
