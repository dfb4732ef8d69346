//! Detectors: is each worth its noise?

use std::collections::BTreeMap;

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        DAY,
        event::{EventType, FeedbackGiven, TallyBy, Verdict},
        finding::{AnomalyKind, Mode},
        wording::{percent, whole},
    },
    http::App,
    store::EventQuery,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::in_words,
    },
};

/// Days that are looked back over.
const DAYS: i64 = 30;
/// Words of analysts that are looked at.
const MOST_WORDS: usize = 1_000;

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
    let begin = now - DAYS * DAY;
    let query = EventQuery {
        kind: Some(EventType::FeedbackGiven),
        since: Some(begin),
        limit: MOST_WORDS,
        ..EventQuery::default()
    };
    let (counts, given) = tokio::try_join!(
        app.engine.event_counts().summary(TallyBy::Type, (begin, now + 1), DAY),
        app.engine.store().events(&query),
    )?;
    let mut findings: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, name), count) in &counts.rows {
        *findings.entry(name.as_deref().unwrap_or_default()).or_default() += count;
    }
    // The last word on each event counts; the newest come first.
    let mut last: BTreeMap<String, FeedbackGiven> = BTreeMap::new();
    for word in given.items.iter().filter_map(|event| event.read::<FeedbackGiven>()) {
        last.entry(word.event.clone()).or_insert(word);
    }
    let policy = app.engine.policy();
    let row = |kind: &AnomalyKind| {
        let of = |verdict: Verdict| {
            let said = last.values().filter(|word| word.verdict == verdict && is_about(word, *kind));
            said.count() as u64
        };
        let (benign, attack) = (of(Verdict::Benign), of(Verdict::Attack));
        Row {
            title: in_words(kind.name()),
            detector: kind.detector(),
            kind: kind.name(),
            mode: mode(policy.policy.mode(*kind)),
            findings: whole(findings.get(kind.name()).copied().unwrap_or(0)),
            benign,
            attack,
            false_share: match benign + attack {
                0 => "-".to_owned(),
                all => percent(benign as f64 / all as f64),
            },
        }
    };
    let rows = AnomalyKind::ALL.iter().map(row).collect();
    let page = DetectorsPage { frame, rows, is_complete: counts.is_complete, words: last.len() };
    Ok(render(200, &page))
}

/// Whether a word is about a finding of a detector, or about a ban that one led to.
fn is_about(word: &FeedbackGiven, kind: AnomalyKind) -> bool {
    word.judged.kind == EventType::Anomaly(kind) || word.judged.detector.as_deref() == Some(kind.detector())
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
        Mode::Off => "off",
    }
}
