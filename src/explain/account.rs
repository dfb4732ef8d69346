//! The account of one decision: all that led to it, as one JSON object. The text for people is made of the same.

use serde::Serialize;

use super::{BanStatus, ProfileView, sentence};
use crate::{
    answer::Answer,
    detect::{DetectorReport, Quiet},
    domain::{
        Millis,
        decision::Action,
        event::format_millis,
        finding::{AnomalyKind, Finding, Mode},
        ladder,
        place::{Place, PlaceSummary},
        policy::LadderPolicy,
        record::Record,
        standing::StandingState,
        window::{Unit, WINDOW_NAMES},
    },
    engine::{Climb, Course, Explanation, Learned, RecentPlace},
    store::StandingRecord,
};

/// Where in the input the request is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Located {
    /// Number of its line, from 1.
    pub line: u64,
    /// Other lines with the same request id. Only looked for where an id was given.
    pub also_at: Vec<Met>,
}

/// A line on which the request id was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Met {
    /// Number of the line, from 1.
    pub line: u64,
    /// The key of that request.
    pub key_id: String,
}

/// All that led to one decision.
#[derive(Debug, Serialize)]
pub struct Account<'a> {
    /// The request as it was read, without its key.
    pub(super) request: RequestView<'a>,
    /// Where it was found.
    #[serde(flatten)]
    pub(super) located: &'a Located,
    /// What was decided and why, in a sentence or two.
    pub(super) summary: String,
    /// How far the request came: `judged`, `banned`, `limited`, `repeated`, `late`, `not_counted`, `allowlisted` or
    /// `unavailable`.
    pub(super) course: &'static str,
    /// The answer, as the API gives it.
    pub(super) decision: Answer<'a>,
    /// The ban that refused it.
    pub(super) banned_by: Option<StandingView>,
    /// Where the key stood before.
    pub(super) standing_before: StandingView,
    /// What the windows held, the request included if it was counted.
    pub(super) windows: Vec<WindowView>,
    /// Where the key was seen shortly before, newest first.
    pub(super) recent_places: Vec<RecentPlaceView>,
    /// What was normal for the key before; null when nothing was known.
    pub(super) profile: Option<ProfileView>,
    /// What every detector said; empty where they were not asked.
    pub(super) detectors: Vec<DetectorView<'a>>,
    /// What the ladder did, for each subject that was accused.
    pub(super) ladder: Vec<ClimbView>,
    /// What the profile did with the request: `learned`, `flagged` (counted what it spent, learned nothing) or
    /// `nothing`.
    pub(super) learned: &'static str,
}

/// The request, without anything secret.
#[derive(Debug, Serialize)]
pub(super) struct RequestView<'a> {
    pub(super) request_id: &'a str,
    pub(super) key_id: &'a str,
    /// By which moment it was decided.
    pub(super) time: String,
    /// That moment is later than the record's own: the key was further already.
    pub(super) out_of_order: bool,
    pub(super) endpoint: &'a str,
    pub(super) model: Option<&'a str>,
    pub(super) tokens: u64,
    pub(super) cost_usd: Option<f64>,
    pub(super) response_status: u16,
    pub(super) source_ip: String,
    pub(super) place: Option<PlaceSummary>,
    pub(super) user_agent: Option<&'a str>,
    pub(super) project: Option<&'a str>,
}

/// A standing with the sentence about it and the request that led to it.
#[derive(Debug, Serialize)]
pub(super) struct StandingView {
    /// Why it is so.
    pub(super) summary: String,
    /// The request that led to it.
    pub(super) request_id: Option<String>,
    #[serde(flatten)]
    pub(super) status: BanStatus,
}

/// What one window held, beside the limits in force.
#[derive(Debug, Serialize)]
pub(super) struct WindowView {
    pub(super) window: &'static str,
    pub(super) requests: u64,
    /// Most requests; null without such a limit.
    pub(super) request_limit: Option<u64>,
    pub(super) tokens: u64,
    /// Most tokens; null without such a limit.
    pub(super) token_limit: Option<u64>,
    pub(super) auth_failures: u64,
    pub(super) not_found: u64,
}

/// A place where the key was seen shortly before.
#[derive(Debug, Serialize)]
pub(super) struct RecentPlaceView {
    #[serde(flatten)]
    pub(super) place: PlaceSummary,
    /// Last seen so many seconds before.
    pub(super) seconds_before: i64,
    pub(super) last_seen: String,
    pub(super) requests: u64,
}

/// What one detector said: a finding, or why it stayed quiet.
#[derive(Debug, Serialize)]
pub(super) struct DetectorView<'a> {
    pub(super) detector: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: AnomalyKind,
    pub(super) mode: Mode,
    pub(super) finding: Option<&'a Finding>,
    pub(super) quiet: Option<Quiet>,
}

/// One subject's step on the ladder.
#[derive(Debug, Serialize)]
pub(super) struct ClimbView {
    pub(super) subject: String,
    pub(super) action: Action,
    /// Why the subject climbed, in a sentence.
    pub(super) why: String,
    /// The type of the finding that led to it.
    pub(super) cause: Option<AnomalyKind>,
    pub(super) state_before: StandingState,
    pub(super) state_after: StandingState,
    pub(super) strikes_before: f64,
    pub(super) strikes_after: f64,
    /// Until when the new standing holds; null for good, and when nothing changed.
    pub(super) until: Option<String>,
}

impl<'a> Account<'a> {
    /// Puts an explanation into words.
    pub fn of(record: &'a Record, explained: &'a Explanation, located: &'a Located) -> Self {
        let policy = &explained.policy.policy.ladder;
        let now = explained.now;
        let standing = |record: &StandingRecord| StandingView::of(record, policy, now);
        let banned_by = match &explained.course {
            Course::Banned(ban) => Some(standing(ban)),
            _ => None,
        };
        let profile = Some(&explained.profile).filter(|profile| profile.requests > 0);
        Self {
            request: RequestView::of(record, explained),
            located,
            summary: sentence::of_decision(record, explained),
            course: course(&explained.course),
            decision: Answer::from(&explained.decision),
            banned_by,
            standing_before: standing(&explained.standing),
            windows: windows(explained),
            recent_places: explained
                .recent_places
                .iter()
                .map(|seen| RecentPlaceView::of(seen, now))
                .collect(),
            profile: profile.map(|profile| ProfileView::new(profile, &explained.known_places, now)),
            detectors: explained.reports.iter().map(DetectorView::of).collect(),
            ladder: explained.climbs.iter().map(|climb| ClimbView::of(climb, policy, now)).collect(),
            learned: match explained.learned {
                Learned::Learned => "learned",
                Learned::Flagged => "flagged",
                Learned::Nothing => "nothing",
            },
        }
    }
}

impl<'a> RequestView<'a> {
    fn of(record: &'a Record, explained: &Explanation) -> Self {
        Self {
            request_id: &record.request_id,
            key_id: &record.key_id,
            time: format_millis(explained.now),
            out_of_order: record.timestamp.is_some_and(|at| at < explained.now),
            endpoint: &record.endpoint,
            model: record.model.as_deref(),
            tokens: record.tokens,
            cost_usd: record.cost_nanos.map(|nanos| nanos as f64 / 1e9),
            response_status: record.status,
            source_ip: record.source_ip.to_string(),
            place: explained.place.as_deref().map(Place::summary),
            user_agent: record.user_agent.as_deref(),
            project: record.project.as_ref().map(|project| project.id()),
        }
    }
}

impl StandingView {
    fn of(record: &StandingRecord, policy: &LadderPolicy, now: Millis) -> Self {
        let in_force = record.standing.state_at(now) != StandingState::Clear;
        Self {
            summary: sentence::of_standing(record, policy, now),
            request_id: record.detail.request_id.clone().filter(|_| in_force),
            status: BanStatus::new(record, policy, now),
        }
    }
}

impl RecentPlaceView {
    fn of(seen: &RecentPlace, now: Millis) -> Self {
        Self {
            place: seen.place.clone(),
            seconds_before: (now - seen.last_seen).max(0) / 1000,
            last_seen: format_millis(seen.last_seen),
            requests: seen.requests,
        }
    }
}

impl<'a> DetectorView<'a> {
    fn of(judged: &'a DetectorReport) -> Self {
        Self {
            detector: judged.kind.detector(),
            kind: judged.kind,
            mode: judged.mode,
            finding: judged.result.as_ref().ok(),
            quiet: judged.result.as_ref().err().copied(),
        }
    }
}

impl ClimbView {
    fn of(climb: &Climb, policy: &LadderPolicy, now: Millis) -> Self {
        let after = climb.after.unwrap_or(climb.before);
        let strikes = |standing| (ladder::strikes(standing, policy, now) * 1000.0).round() / 1000.0;
        let cause = climb.cause.and_then(|at| climb.findings.get(at));
        Self {
            subject: climb.subject.to_string(),
            action: climb.action,
            why: sentence::of_climb(climb, policy, now),
            cause: cause.map(|finding| finding.kind),
            state_before: climb.before.state_at(now),
            state_after: after.state_at(now),
            strikes_before: strikes(&climb.before),
            strikes_after: strikes(&after),
            until: climb.after.and_then(|after| after.until).map(format_millis),
        }
    }
}

fn windows(explained: &Explanation) -> Vec<WindowView> {
    let Some(observation) = &explained.observation else { return Vec::new() };
    let limits = explained.policy.policy.limits.windows();
    let limits = limits.at_share(observation.standing.share_at(explained.now));
    let held = WINDOW_NAMES.into_iter().zip(&observation.counts).enumerate();
    held.map(|(n, (window, counts))| WindowView {
        window,
        requests: counts.requests,
        request_limit: limits.of(n, Unit::Requests),
        tokens: counts.tokens,
        token_limit: limits.of(n, Unit::Tokens),
        auth_failures: counts.auth_failures,
        not_found: counts.not_found,
    })
    .collect()
}

fn course(course: &Course) -> &'static str {
    match course {
        Course::Judged => "judged",
        Course::Banned(_) => "banned",
        Course::NotAllowed(_) => "not_allowed",
        Course::Limited(_) => "limited",
        Course::Repeated => "repeated",
        Course::CredentialsRefused => "credentials_refused",
        Course::Late => "late",
        Course::NotCounted => "not_counted",
        Course::Allowlisted => "allowlisted",
        Course::Unavailable => "unavailable",
    }
}
