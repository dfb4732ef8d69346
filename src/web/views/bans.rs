//! Bans: who is held? To search, to lift several at once, and to ban by hand.

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{standing::StandingState, wording::whole},
    http::{App, params::Params},
    store::StandingRecord,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::HeldRow,
    },
};

/// Rows that are shown; who is not among them is found by a search.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "bans.html")]
struct BansPage {
    frame: Frame,
    text: String,
    state: &'static str,
    rows: Vec<HeldRow>,
    found: String,
    all: String,
    left_out: usize,
}

/// Lists who is held, newest first: parameters `q` (a part of the subject or of the reason) and `state`.
pub(in crate::web) async fn list(
    State(app): State<App>,
    frame: Frame,
    params: Params,
) -> Result<Response, Fault> {
    let params = params.only(&["q", "state", "done"])?;
    let text = params.text("q").unwrap_or_default().trim().to_owned();
    let state = params.get("state", "throttled, temporarily_banned or permanently_banned", state)?;
    let now = app.engine.now();
    let mut records = app.engine.store().standings_in_force(now).await?;
    let all = records.len();
    let part = text.to_lowercase();
    records.retain(|record| {
        state.is_none_or(|(_, state)| record.standing.state_at(now) == state) && mentions(record, &part)
    });
    let rows = records.iter().take(MOST).map(|record| HeldRow::new(&app, record, now)).collect();
    Ok(render(
        200,
        &BansPage {
            frame,
            state: state.map_or("", |(name, _)| name),
            rows,
            found: whole(records.len() as u64),
            all: whole(all as u64),
            left_out: records.len().saturating_sub(MOST),
            text,
        },
    ))
}

fn state(text: &str) -> Option<(&'static str, StandingState)> {
    let all = [
        ("throttled", StandingState::Throttled),
        ("temporarily_banned", StandingState::TemporarilyBanned),
        ("permanently_banned", StandingState::PermanentlyBanned),
    ];
    all.into_iter().find(|(name, _)| *name == text)
}

/// Whether a text in lower case is a part of whom a standing is about, or of why.
fn mentions(record: &StandingRecord, part: &str) -> bool {
    let found = crate::domain::event::FindingEvidence::of(&record.detail.evidence).summary;
    let texts = [record.subject.as_str(), record.detail.reason.as_str(), found.unwrap_or_default()];
    texts.into_iter().any(|text| text.to_lowercase().contains(part))
}
