//! One subject: what is it doing, and why is it held?

use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    events::pair,
    subject_parts::{HourRow, LimitRow, Usual, hours, limits, map, timeline, usual, week},
};
use crate::{
    domain::{
        Millis,
        event::{Event, EventType},
        observation::Observation,
        place::{PlaceCore, PlaceSummary},
        profile::Profile,
        standing::{Origin, StandingState},
        subject::{Subject, SubjectKind},
        window::WINDOW_NAMES,
        wording::{number, whole},
    },
    engine::SubjectView,
    explain::{self, ProfileView},
    http::{App, bans, params::SubjectPath},
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{EventRow, Moment, in_path, state_words},
    },
};

/// The rungs of the ladder, in words.
const RUNGS: [&str; 4] = ["clear", "slowed down", "banned for a time", "banned for good"];

#[derive(Template)]
#[template(path = "subject.html")]
struct SubjectPage {
    frame: Frame,
    subject: String,
    subject_query: String,
    kind: &'static str,
    label: Option<String>,
    project: Option<String>,
    sentence: String,
    is_known: bool,
    is_held: bool,
    /// Whether it has something of its own to lift: a ban, a throttle, or a stopped part of its traffic.
    can_lift: bool,
    stopped: Vec<(String, Moment)>,
    state: &'static str,
    class: &'static str,
    rungs: Vec<(&'static str, bool)>,
    strikes: String,
    since: Option<Moment>,
    until: Option<Moment>,
    origin: &'static str,
    /// The event to say a word about: what led to where it stands.
    cause: Option<EventRow>,
    pair: Option<String>,
    windows: Vec<WindowRow>,
    profile: Option<ProfileParts>,
    map: Option<String>,
    limits: Vec<LimitRow>,
    events: Vec<EventRow>,
}

/// What a window holds.
struct WindowRow {
    name: &'static str,
    requests: String,
    tokens: String,
    refused: String,
    missing: String,
}

/// What is usual for it, and what it did.
struct ProfileParts {
    timeline: String,
    hours: Vec<HourRow>,
    week: String,
    usual: Vec<Usual>,
    requests: String,
    days: u32,
    first_seen: String,
    is_young: bool,
    sizes: Vec<(&'static str, String)>,
}

/// Shows all that is known of a subject; one of which nothing is known has its page, too, from where it can be banned.
pub(in crate::web) async fn show(
    State(app): State<App>,
    frame: Frame,
    SubjectPath(subject): SubjectPath,
) -> Result<Response, Fault> {
    let now = app.engine.now();
    let is_limited = matches!(subject.kind(), SubjectKind::Key | SubjectKind::Project);
    let (view, limits_of) = tokio::join!(app.engine.subjects().view(&subject, now), async {
        if is_limited { app.engine.limits().of(&subject, now).await } else { Ok(Vec::new()) }
    });
    let (view, limits_of) = (view?, limits(&limits_of?));
    let status = if view.is_some() { 200 } else { 404 };
    let view = match view {
        Some(view) => view,
        None => nothing(&app, &subject).await?,
    };
    Ok(render(status, &page(&app, frame, &subject, view, limits_of, status == 200, now)))
}

async fn nothing(app: &App, subject: &Subject) -> Result<SubjectView, Fault> {
    let standing = app.engine.standings().of(subject).await?;
    Ok(SubjectView { standing, is_held_itself: false, observation: None, profile: None, events: Vec::new() })
}

fn page(
    app: &App,
    frame: Frame,
    subject: &Subject,
    view: SubjectView,
    limits: Vec<LimitRow>,
    is_known: bool,
    now: Millis,
) -> SubjectPage {
    let SubjectView { standing, is_held_itself, observation, profile, events } = view;
    let status = bans::status(app, &standing, now);
    let (state, class) = state_words(status.state);
    let is_held = status.state != StandingState::Clear;
    let policy = app.engine.policy();
    let entry = (subject.kind() == SubjectKind::Key).then(|| policy.registry.key(subject.id())).flatten();
    let entry = entry.map(|held| held.body);
    let cause = events.iter().find(|event| is_cause(event));
    let places = profile.as_ref().map(|profile| app.engine.known_places(profile)).unwrap_or_default();
    let known = profile.as_ref().map(|profile| (profile, &*places));
    let stopped = profile.as_ref().map(|profile| stopped(profile, now)).unwrap_or_default();
    let nothing = Profile::default();
    let view = ProfileView::new(profile.as_ref().unwrap_or(&nothing), &places, now);
    SubjectPage {
        subject: subject.to_string(),
        subject_query: in_path(subject.as_str()),
        kind: kind(subject),
        label: entry.as_ref().and_then(|entry| entry.label.clone()),
        project: entry.as_ref().and_then(|entry| entry.project.clone()),
        sentence: explain::of_subject(&standing, known, &policy.policy.ladder, now),
        is_known,
        is_held,
        can_lift: !stopped.is_empty() || is_held_itself,
        stopped,
        state,
        class,
        rungs: RUNGS.iter().enumerate().map(|(n, rung)| (*rung, n == status.state as usize)).collect(),
        strikes: number(status.strikes),
        since: is_held.then(|| Moment::at(standing.standing.since)),
        until: standing.standing.until.filter(|_| is_held).map(Moment::at),
        origin: if standing.standing.origin == Origin::Operator { "a person" } else { "a detector" },
        pair: events.iter().find_map(pair),
        cause: cause.map(EventRow::from),
        windows: observation.as_ref().map(windows).unwrap_or_default(),
        map: map(&view, &lately(app, observation.as_ref()), &events),
        profile: profile.as_ref().map(|profile| parts(profile, view, &events, now)),
        limits,
        events: events.iter().map(EventRow::from).collect(),
        frame,
    }
}

/// Parts of its traffic of which nothing passes, and until when.
fn stopped(profile: &Profile, now: Millis) -> Vec<(String, Moment)> {
    let parts = profile.later.parts.stopped(now);
    parts.map(|part| (part.name.to_owned(), Moment::at(part.until))).collect()
}

fn kind(subject: &Subject) -> &'static str {
    match subject.kind() {
        SubjectKind::Key => "API key",
        SubjectKind::Ip if subject.network().is_some() => "network",
        SubjectKind::Ip => "address",
        SubjectKind::Project => "project",
    }
}

/// Whether an event is one of which an analyst says that it was benign, or an attack.
fn is_cause(event: &Event) -> bool {
    matches!(
        event.kind,
        EventType::Anomaly(_) | EventType::TemporaryBan | EventType::PermanentBan | EventType::Throttled
    ) && !event.evidence.is_by_operator()
}

fn windows(seen: &Observation) -> Vec<WindowRow> {
    let row = |(name, counts): (&&'static str, &crate::domain::window::Counts)| WindowRow {
        name,
        requests: whole(counts.requests),
        tokens: whole(counts.tokens),
        refused: whole(counts.auth_failures),
        missing: whole(counts.not_found),
    };
    WINDOW_NAMES.iter().zip(&seen.counts).map(row).collect()
}

/// Where it was seen lately, newest first.
fn lately(app: &App, seen: Option<&Observation>) -> Vec<PlaceSummary> {
    let peers = seen.map(|seen| &*seen.peers).unwrap_or_default();
    peers.iter().map(|seen| app.engine.describe(&PlaceCore::unpack(&seen.peer.data))).collect()
}

fn parts(profile: &Profile, view: ProfileView, events: &[Event], now: Millis) -> ProfileParts {
    let hours = hours(profile, now);
    let quantiles = [
        ("half", view.sizes.p50),
        ("90 %", view.sizes.p90),
        ("95 %", view.sizes.p95),
        ("99 %", view.sizes.p99),
    ];
    ProfileParts {
        timeline: timeline(&hours, events, now),
        week: week(&view, profile, now),
        usual: usual(&view),
        requests: whole(view.requests),
        days: view.days_seen,
        first_seen: view.first_seen.as_deref().and_then(|at| at.get(..10)).unwrap_or_default().to_owned(),
        is_young: view.warming_up,
        sizes: quantiles.into_iter().filter_map(|(name, size)| Some((name, number(size?)))).collect(),
        hours,
    }
}
