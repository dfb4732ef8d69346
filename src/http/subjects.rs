//! `/v1/subjects`: what an analyst opens first, and forgetting a subject.

use axum::{Extension, Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App, audit,
    bans::{Because, because, status},
    error::{ApiError, Problem},
    input::MaybeJson,
    params::{Params, SubjectPath},
};
use crate::{
    domain::{
        actor::Actor,
        event::{Event, format_millis},
        observation::{Observation, PeerSeen},
        place::{PlaceCore, PlaceSummary},
        subject::SubjectKind,
        window::WINDOW_NAMES,
    },
    engine::{Engine, SubjectView},
    explain::{self, BanStatus, ProfileView},
};

/// All that is known about a subject.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubjectPage {
    /// Whom it is about.
    pub subject: String,
    /// Why it stands as it does, and what is known of it, in a sentence or two.
    #[schema(example = "Clear. Learned from 14 days, 4,210 requests; usually from Frankfurt, DE (AS3320).")]
    pub summary: String,
    /// Where it stands on the ladder.
    pub standing: BanStatus,
    /// What its windows hold.
    pub windows: Vec<WindowView>,
    /// Where a key was seen lately, newest first.
    pub recent_places: Vec<RecentPlace>,
    /// What is normal for it; null when nothing was learned.
    pub profile: Option<ProfileView>,
    /// The newest events about it.
    pub events: Vec<Event>,
}

/// What one window holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WindowView {
    /// `1min`, `5min`, `1hour` or `24hour`.
    #[schema(value_type = String)]
    pub window: &'static str,
    /// How many requests there were.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: u64,
    /// Requests answered 401 or 403.
    pub auth_failures: u64,
    /// Requests answered 404 or 405.
    pub not_found: u64,
    /// When the oldest usage leaves it.
    #[schema(format = DateTime)]
    pub resets_at: String,
}

/// A place where a key was seen lately.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecentPlace {
    /// Where it was seen.
    #[serde(flatten)]
    pub place: PlaceSummary,
    /// First seen, among the recent ones.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When it was seen there last, RFC 3339.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// How many requests there were since then.
    pub hits: u64,
}

/// Shows standing, windows, places, profile and newest events of a subject.
#[utoipa::path(
    get, path = "/v1/subjects/{subject}", tag = "subjects", operation_id = "show_subject",
    params((
        "subject" = String, Path,
        description = "`key:<key_id>`, `ip:<address or prefix>` or `project:<id>`, percent-encoded."
    )),
    responses(
        (status = 200, body = SubjectPage, description = "All that is known."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "Nothing is known."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    SubjectPath(subject): SubjectPath,
) -> Result<Json<SubjectPage>, ApiError> {
    let now = app.engine.now();
    let view = app.engine.subjects().view(&subject, now).await?;
    let view = view.ok_or_else(|| ApiError::NotFound(format!("nothing is known about {subject}")))?;
    let is_key = subject.kind() == SubjectKind::Key;
    let SubjectView { standing, observation, profile, events, .. } = view;
    let places = profile.as_ref().map(|profile| app.engine.known_places(profile)).unwrap_or_default();
    let seen = observation.as_ref().filter(|_| is_key);
    let known = profile.as_ref().map(|profile| (profile, &*places));
    Ok(Json(SubjectPage {
        subject: subject.to_string(),
        summary: explain::of_subject(&standing, known, &app.engine.policy().policy.ladder, now),
        standing: status(&app, &standing, now),
        windows: observation.as_ref().map(windows).unwrap_or_default(),
        recent_places: seen.map(|seen| recent_places(&app.engine, seen)).unwrap_or_default(),
        profile: profile.as_ref().map(|profile| ProfileView::new(profile, &places, now)),
        events,
    }))
}

/// Forgets a subject: its windows, profile and standing. Events stay until their retention ends.
#[utoipa::path(
    delete, path = "/v1/subjects/{subject}", tag = "subjects", operation_id = "forget_subject",
    request_body = Option<Because>,
    params(
        ("subject" = String, Path, description = "Whom to forget."),
        ("reason" = Option<String>, Query, description = "Why."),
    ),
    responses(
        (status = 204, description = "Nothing is kept about it now."),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn forget(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    SubjectPath(subject): SubjectPath,
    params: Params,
    MaybeJson(body): MaybeJson<Because>,
) -> Result<StatusCode, ApiError> {
    let reason = because(&params.only(&["reason"])?, body, &actor, "forgotten")?;
    app.engine.subjects().forget(&subject, &reason, &actor, app.engine.now()).await?;
    audit(&actor, "forget", subject.as_str());
    Ok(StatusCode::NO_CONTENT)
}

fn windows(observation: &Observation) -> Vec<WindowView> {
    let held = observation.counts.iter().zip(observation.resets_at);
    WINDOW_NAMES
        .iter()
        .zip(held)
        .map(|(window, (counts, resets_at))| WindowView {
            window,
            requests: counts.requests,
            tokens: counts.tokens,
            auth_failures: counts.auth_failures,
            not_found: counts.not_found,
            resets_at: format_millis(resets_at),
        })
        .collect()
}

fn recent_places(engine: &Engine, observation: &Observation) -> Vec<RecentPlace> {
    let shown = |seen: &PeerSeen| RecentPlace {
        place: engine.describe(&PlaceCore::unpack(&seen.peer.data)),
        first_seen: format_millis(seen.first_seen),
        last_seen: format_millis(seen.last_seen),
        hits: seen.hits,
    };
    observation.peers.iter().map(shown).collect()
}
