//! Sinks: does the SIEM get it?

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{SECOND, wording::span},
    http::{App, sinks},
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::Moment,
    },
};

#[derive(Template)]
#[template(path = "sinks.html")]
struct SinksPage {
    frame: Frame,
    rows: Vec<Row>,
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
    let rows = sinks::views(&app).await?.into_iter().map(|view| {
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
    Ok(render(200, &SinksPage { frame, rows }))
}
