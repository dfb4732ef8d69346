//! A standing, a subject, a decision: each in a sentence or two.

use crate::{
    detect::is_warming_up,
    domain::{
        Millis,
        decision::{Action, Decision},
        event::FindingEvidence,
        finding::{AnomalyKind, Finding},
        ladder,
        money::Usd,
        policy::LadderPolicy,
        profile::Profile,
        record::Record,
        registry::amount,
        standing::{Origin, Standing, StandingDetail, StandingState},
        subject::{Subject, SubjectKind},
        window::Unit,
        wording::{count, moment, percent, span, whole},
    },
    engine::{Climb, Course, Explanation, KnownPlace},
    store::StandingRecord,
};

/// Strikes below this are as good as none.
const FORGIVEN: f64 = 0.05;

/// Why a subject stands as it does, and for one that is clear, what is known of it.
pub fn of_subject(
    record: &StandingRecord,
    profile: Option<(&Profile, &[KnownPlace])>,
    policy: &LadderPolicy,
    now: Millis,
) -> String {
    let mut standing = of_standing(record, policy, now);
    if let Some((profile, _)) = profile {
        standing += &of_stopped(profile, now);
    }
    match profile {
        Some((profile, places)) if record.standing.state_at(now) == StandingState::Clear => {
            format!("{standing} {}", of_profile(profile, places, now))
        }
        _ => standing,
    }
}

/// Why a subject stands as it does.
pub(super) fn of_standing(record: &StandingRecord, policy: &LadderPolicy, now: Millis) -> String {
    let StandingRecord { standing, detail, .. } = record;
    let until =
        standing.until.map_or_else(|| "for good".to_owned(), |at| format!("until {}", moment(at, now)));
    let strikes = ladder::strikes(standing, policy, now);
    let strikes = (strikes >= FORGIVEN).then(|| count(strikes, "strike", "strikes"));
    let theory = if standing.unenforced { " Only observed: it refuses nothing." } else { "" };
    match standing.state_at(now) {
        StandingState::Clear => match strikes {
            Some(strikes) => format!("Clear, with {strikes} of earlier bans."),
            None => "Clear.".to_owned(),
        },
        StandingState::Throttled => {
            let share = percent(f64::from(standing.share_permille) / 1000.0);
            format!("Slowed down to {share} of its limits {until}{}.{theory}", because(standing, detail))
        }
        StandingState::TemporarilyBanned | StandingState::PermanentlyBanned => {
            let strikes = strikes.map(|strikes| format!("; {strikes}")).unwrap_or_default();
            format!("Banned {until}{}{strikes}.{theory}", because(standing, detail))
        }
    }
}

/// Of which parts of its traffic nothing passes, if of any; the one that is stopped for the longest by name.
fn of_stopped(profile: &Profile, now: Millis) -> String {
    let parts = profile.later.parts.stopped(now);
    let Some(longest) = parts.max_by_key(|part| part.until) else { return String::new() };
    let more = match profile.later.parts.stopped(now).count() - 1 {
        0 => String::new(),
        others => format!(", nor of {}", count(others as f64, "other part", "other parts")),
    };
    format!(" Nothing passes of {} until {}{more}.", longest.name, moment(longest.until, now))
}

fn because(standing: &Standing, detail: &StandingDetail) -> String {
    let reason = detail.reason.trim().trim_end_matches('.');
    if standing.origin == Origin::Operator {
        return if reason.is_empty() {
            " by an operator".to_owned()
        } else {
            format!(" by an operator: {reason}")
        };
    }
    let kind = detail.detector.as_deref().and_then(AnomalyKind::of_detector);
    let summary = FindingEvidence::of(&detail.evidence).summary;
    match (kind, summary) {
        (Some(kind), Some(summary)) => format!(" after {}: {}", kind.words(), clause(summary)),
        (Some(kind), None) => format!(" after {}", kind.words()),
        _ if reason.is_empty() => String::new(),
        _ => format!(": {reason}"),
    }
}

/// A sentence as a part of another one.
fn clause(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut rest = sentence.chars();
    match rest.next() {
        Some(first) if rest.as_str().starts_with(char::is_lowercase) => {
            first.to_lowercase().chain(rest).collect()
        }
        _ => sentence.to_owned(),
    }
}

fn of_profile(profile: &Profile, places: &[KnownPlace], now: Millis) -> String {
    if profile.requests == 0 {
        return "Nothing is known yet of what is usual for it.".to_owned();
    }
    let from = places.first().map(|known| format!("; usually from {}", known.place.full_name()));
    let young = is_warming_up(profile, now).then_some("; still warming up");
    format!(
        "Learned from {}, {}{}{}.",
        count(f64::from(profile.days.count()), "day", "days"),
        count(profile.requests as f64, "request", "requests"),
        from.unwrap_or_default(),
        young.unwrap_or_default(),
    )
}

/// What was decided about a request, and why.
pub(super) fn of_decision(record: &Record, explained: &Explanation) -> String {
    let ruling = of_ruling(record, explained);
    match explained.decision.would {
        Some(_) => format!("Let through, since the policy only observes. If it enforced: {ruling}"),
        None => ruling,
    }
}

/// What enforcement says about a request, and why.
fn of_ruling(record: &Record, explained: &Explanation) -> String {
    let Explanation { decision, now, .. } = explained;
    match &explained.course {
        Course::Judged => of_judgement(explained),
        Course::Banned(ban) => {
            let standing = of_standing(ban, &explained.policy.policy.ladder, *now);
            let by =
                ban.detail.request_id.as_deref().map(|id| format!(" The request that led to it is {id}."));
            format!(
                "Refused: the {} is {}{}",
                kind_of(&ban.subject),
                clause(&standing) + ".",
                by.unwrap_or_default()
            )
        }
        Course::NotAllowed(refusal) => format!("Refused: {}.", refusal.words()),
        Course::Limited(refusal) => {
            let written = |amount: u64| match refusal.unit {
                Unit::CostUsd => format!("${}", Usd(amount)),
                _ => whole(amount),
            };
            let asked = match refusal.unit {
                Unit::Requests => "one more does".to_owned(),
                Unit::CostUsd => format!("the ${} of this request do", Usd(record.cost().nanos)),
                unit => format!("the {} of this request do", whole(amount(record, unit))),
            };
            let whose = refusal.scope.as_ref().map(|scope| format!(" on {scope}")).unwrap_or_default();
            let model = refusal.model.as_ref().map(|model| format!(" for {model}")).unwrap_or_default();
            format!(
                "Refused by the limit of {} {}{model} in {}{whose}: {} are used, and {asked} not fit; {}.",
                written(refusal.limit),
                refusal.unit.name(),
                refusal.window,
                written(refusal.used),
                retry(decision),
            )
        }
        Course::Repeated => {
            let same = if decision.ruling().allowed { "allowed" } else { "refused" };
            format!(
                "A retry of a request that was answered before, within idempotency.seconds: {same} as then, \
                 not counted again."
            )
        }
        Course::CredentialsRefused => {
            "Counted against nobody: credentials were refused that otherwise succeed from \
                                       this network, as after a revocation or in an outage."
                .to_owned()
        }
        Course::Late => {
            "Allowed: reported late, so it was counted at its own time and detectors did not look at it."
                .to_owned()
        }
        Course::NotCounted => {
            "Only looked at: the caller says that Keyward itself had refused it.".to_owned()
        }
        Course::Allowlisted => "Allowed: the allowlist covers it, so detectors leave it alone.".to_owned(),
        Course::Unavailable => "Decided without the store, by the policy for that.".to_owned(),
    }
}

fn retry(decision: &Decision) -> String {
    match decision.retry_at {
        Some(at) => format!("it would fit {} later", span(at - decision.decided_at)),
        None => "it never fits".to_owned(),
    }
}

fn of_judgement(explained: &Explanation) -> String {
    let Explanation { decision, now, .. } = explained;
    let worst = explained.climbs.iter().max_by_key(|climb| climb.action);
    let cause = worst.and_then(|climb| Some((climb, climb.findings.get(climb.cause?)?)));
    let Some((climb, finding)) = cause else {
        let standing = of_standing(&explained.standing, &explained.policy.policy.ladder, *now);
        return match (decision.anomalies.is_empty(), decision.ruling().action) {
            (true, Action::Throttle) => {
                format!("Allowed: no detector found anything. The key is still {}.", clause(&standing))
            }
            (true, _) => "Allowed: no detector found anything.".to_owned(),
            (false, _) => "Allowed: what was found is not acted on.".to_owned(),
        };
    };
    let whose = kind_of(&climb.subject);
    let until = climb.after.and_then(|after| after.until).map_or_else(
        || "for good".to_owned(),
        |at| format!("until {} ({})", moment(at, *now), span(at - now)),
    );
    let done = match climb.action {
        Action::None | Action::Alert => "Allowed and noted".to_owned(),
        Action::Throttle if climb.after.is_some() => format!("Allowed, and the {whose} slowed down {until}"),
        Action::Throttle => format!("Allowed; the {whose} is slowed down already"),
        Action::TemporaryBan | Action::PermanentBan => format!("Refused, and the {whose} banned {until}"),
    };
    format!("{done}, for {}: {}.", finding.kind.words(), clause(&summary(finding)))
}

/// Why the ladder did what it did.
pub(super) fn of_climb(climb: &Climb, policy: &LadderPolicy, now: Millis) -> String {
    if let Some(cause) = climb.cause.and_then(|at| climb.findings.get(at)) {
        let (verb, from) = match climb.action {
            Action::Throttle => ("throttles", policy.throttle_from),
            Action::TemporaryBan | Action::PermanentBan => ("bans", policy.ban_from),
            Action::None | Action::Alert => ("alerts", policy.alert_from),
        };
        let (kind, severity) = (cause.kind.words(), cause.severity.name());
        return format!("{kind} is {severity}, and the policy {verb} from {}", from.name());
    }
    let graced =
        |f: &Finding| now < climb.before.grace_until && climb.before.grace_detectors & f.kind.bit() != 0;
    if climb.findings.iter().all(|f| !f.is_enforced()) {
        "what was found is in shadow mode: logged, not acted on".to_owned()
    } else if climb.findings.iter().filter(|f| f.is_enforced()).all(graced) {
        let until = moment(climb.before.grace_until, now);
        format!("an operator lifted a ban, and the detector that fired is left alone until {until}")
    } else {
        format!("no finding is {} or worse, from where the policy alerts", policy.alert_from.name())
    }
}

/// The sentence of a finding.
pub(super) fn summary(finding: &Finding) -> String {
    let summary = FindingEvidence::of(&finding.evidence).summary;
    summary.map_or_else(|| finding.kind.words(), str::to_owned)
}

/// What kind of subject it is, for people.
fn kind_of(subject: &Subject) -> &'static str {
    match subject.kind() {
        SubjectKind::Key => "key",
        SubjectKind::Ip => "address",
        SubjectKind::Project => "project",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::default_policy,
        domain::{
            DAY, HOUR, MINUTE,
            place::{PlaceCore, PlaceSummary},
            profile::{PartSighting, Sample},
            record::Outcome,
        },
    };

    /// Monday 2026-03-02, 13:35 UTC.
    const NOW: Millis = 1_772_458_500_000;

    fn sentence(standing: Standing, detail: StandingDetail) -> String {
        let record = StandingRecord { subject: Subject::key("a"), standing, detail };
        of_subject(&record, None, &default_policy().ladder, NOW)
    }

    fn held(state: StandingState, until: Option<Millis>) -> Standing {
        Standing {
            version: 1,
            state,
            since: NOW,
            until,
            strikes: 2.0,
            strikes_at: NOW,
            share_permille: 500,
            ..Standing::default()
        }
    }

    fn travel() -> StandingDetail {
        StandingDetail {
            reason: "IMPOSSIBLE_TRAVEL (critical)".to_owned(),
            detector: Some("impossible_travel".to_owned()),
            evidence: json!({ "summary": "Used in Bucharest 30 minutes after Singapore." }),
            request_id: Some("r-1".to_owned()),
        }
    }

    #[test]
    fn a_ban_is_explained_with_its_end_its_cause_and_its_strikes() {
        let until = Some(NOW + 30 * MINUTE);
        assert_eq!(
            sentence(held(StandingState::TemporarilyBanned, until), travel()),
            "Banned until 14:05 UTC after impossible travel: used in Bucharest 30 minutes after Singapore; 2 strikes."
        );
        let before_summaries = StandingDetail { evidence: json!({}), ..travel() };
        assert_eq!(
            sentence(held(StandingState::PermanentlyBanned, None), before_summaries),
            "Banned for good after impossible travel; 2 strikes."
        );
    }

    #[test]
    fn a_throttle_is_explained_with_what_is_left() {
        assert_eq!(
            sentence(held(StandingState::Throttled, Some(NOW + DAY)), travel()),
            "Slowed down to 50 % of its limits until 2026-03-03 13:35 UTC after impossible travel: used in Bucharest \
             30 minutes after Singapore."
        );
    }

    #[test]
    fn what_is_stopped_of_a_clear_key_is_named() {
        let record = StandingRecord {
            subject: Subject::key("a"),
            standing: Standing::default(),
            detail: StandingDetail::default(),
        };
        let mut profile = Profile::default();
        let sentence =
            |profile: &Profile| of_subject(&record, Some((profile, &[])), &default_policy().ladder, NOW);
        for (client, at) in [("curl", NOW), ("wget", NOW - DAY)] {
            let place = PlaceCore::unknown("198.51.100.7".parse().unwrap());
            profile.later.parts.see(&PartSighting::that_stops(client, &place), at);
        }
        assert_eq!(
            sentence(&profile),
            "Clear. Nothing passes of client curl from a network without a name until 2026-03-16 13:35 UTC, nor of 1 \
             other part. Nothing is known yet of what is usual for it."
        );
    }

    #[test]
    fn an_operators_ban_has_the_operators_words() {
        let ban = Standing {
            origin: Origin::Operator,
            strikes: 0.0,
            ..held(StandingState::TemporarilyBanned, Some(NOW + HOUR))
        };
        let reason = StandingDetail { reason: "leaked on a forum.".to_owned(), ..StandingDetail::default() };
        assert_eq!(sentence(ban, reason), "Banned until 14:35 UTC by an operator: leaked on a forum.");
    }

    #[test]
    fn what_ran_out_leaves_its_strikes_and_what_is_clear_tells_what_was_learned() {
        let over = held(StandingState::TemporarilyBanned, Some(NOW));
        assert_eq!(sentence(over, travel()), "Clear, with 2 strikes of earlier bans.");
        let mut profile = Profile::default();
        for n in 0..14 * 20 {
            profile.learn(&Sample {
                now: NOW - 14 * DAY + n * DAY / 20,
                place: None,
                came_from: None,
                client: None,
                endpoint: "/v1",
                model: None,
                tokens: 1,
                fresh_tokens: 1,
                cost_nanos: 0,
                outcome: Outcome::Success,
                peaks: (1, 1),
            });
        }
        let place = PlaceSummary {
            city: Some("Frankfurt".to_owned()),
            country: Some("DE".to_owned()),
            asn: Some(3320),
            ..PlaceSummary::default()
        };
        let known = [KnownPlace { place, requests: 280, days: profile.days, last_seen: NOW }];
        let record = StandingRecord {
            subject: Subject::key("a"),
            standing: Standing::default(),
            detail: StandingDetail::default(),
        };
        let sentence =
            |profile| of_subject(&record, Some((profile, &known[..])), &default_policy().ladder, NOW);
        assert_eq!(
            sentence(&profile),
            "Clear. Learned from 15 days, 280 requests; usually from Frankfurt, DE (AS3320)."
        );
        assert_eq!(sentence(&Profile::default()), "Clear. Nothing is known yet of what is usual for it.");
    }
}
