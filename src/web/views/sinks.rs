//! Sinks: does the SIEM get it?

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{SECOND, scope::Scope, wording::span},
    http::{App, sinks},
    web::{
        acts::{allowed, required},
        fault::{Fault, render},
        frame::Frame,
        own_form::OwnForm,
        shown::Moment,
    },
};

#[derive(Template)]
#[template(path = "sinks.html")]
struct SinksPage {
    frame: Frame,
    rows: Vec<Row>,
    trial: Option<Trial>,
}

/// What came of a test event.
struct Trial {
    sink: String,
    /// What the receiver answered.
    answer: Option<String>,
    /// Why it was not delivered.
    error: Option<String>,
}

struct Row {
    name: String,
    kind: String,
    class: &'static str,
    state: &'static str,
    lag: String,
    error: Option<String>,
    failing_since: Option<Moment>,
    last_sent: Option<Moment>,
    dead_letters: usize,
}

/// Shows how forwarding is doing, over all instances.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    page(&app, frame, None).await
}

/// Sends a test event through a sink (field `sink`), and shows what came back.
pub(in crate::web) async fn test(
    State(app): State<App>,
    frame: Frame,
    form: OwnForm,
) -> Result<Response, Fault> {
    let (session, fields) = allowed(form, Scope::Admin)?;
    let sink = required(&fields, "sink")?.to_owned();
    let sinks::Tested { answer, error, .. } = sinks::try_out(&app, &sink, &session.caller.actor).await?;
    page(&app, frame, Some(Trial { sink, answer, error })).await
}

async fn page(app: &App, frame: Frame, trial: Option<Trial>) -> Result<Response, Fault> {
    let rows = sinks::views(app).await?.into_iter().map(|view| {
        let status = view.status;
        let (class, state) = match (&status.error, view.sender.is_some()) {
            (Some(_), _) => ("banned", "failing"),
            (None, true) => ("clear", "sending"),
            (None, false) => ("throttled", "nobody sends"),
        };
        let lag = status.lag_seconds.map(|seconds| match i64::try_from(seconds) {
            Ok(0) => "none".to_owned(),
            Ok(seconds) => span(seconds.saturating_mul(SECOND)),
            Err(_) => "for ever".to_owned(),
        });
        Row {
            name: status.name,
            kind: status.kind,
            class,
            state,
            lag: lag.unwrap_or_else(|| "not known".to_owned()),
            error: status.error,
            failing_since: status.failing_since.map(Moment::at),
            last_sent: status.last_sent.map(Moment::at),
            dead_letters: view.dead_letters,
        }
    });
    let rows = rows.collect();
    Ok(render(200, &SinksPage { frame, rows, trial }))
}
