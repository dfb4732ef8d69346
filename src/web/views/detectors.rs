//! Detectors: is each worth its noise?

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        DAY,
        wording::{percent, whole},
    },
    http::App,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::in_words,
    },
    week::{self, Noise},
};

/// Days that are looked back over.
const DAYS: i64 = 30;

#[derive(Template)]
#[template(path = "detectors.html")]
struct DetectorsPage {
    frame: Frame,
    rows: Vec<Row>,
    is_complete: bool,
    words: usize,
}

struct Row {
    title: String,
    detector: &'static str,
    kind: &'static str,
    mode: &'static str,
    findings: String,
    benign: u64,
    attack: u64,
    false_share: String,
}

/// Shows for each detector what it found in the last 30 days, and what people said of it.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    let now = app.engine.now();
    let table = week::noise(&app.engine, (now - DAYS * DAY, now + 1)).await?;
    let row = |noise: Noise| Row {
        title: in_words(noise.kind.name()),
        detector: noise.kind.detector(),
        kind: noise.kind.name(),
        mode: noise.mode.name(),
        findings: whole(noise.findings),
        benign: noise.benign,
        attack: noise.attack,
        false_share: match noise.benign + noise.attack {
            0 => "-".to_owned(),
            all => percent(noise.benign as f64 / all as f64),
        },
    };
    let rows = table.rows.into_iter().map(row).collect();
    let page = DetectorsPage { frame, rows, is_complete: table.is_complete, words: table.words };
    Ok(render(200, &page))
}
