//! Reads the log, and sends both policies through what it holds.

use std::{cmp::Reverse, collections::BTreeMap};

use serde_json::{Map, Value};

use super::{
    figures::{Acts, Preview, Ruled, SubjectRow, TypeRow},
    happening::{Happening, What},
    side::Side,
};
use crate::{
    domain::{
        Millis,
        difference::difference,
        event::format_millis,
        finding::{AnomalyKind, Mode},
        policy::Policy,
        subject::Subject,
    },
    engine::{ActivePolicy, Engine},
    store::{EventQuery, StoreError},
};

/// Events that are read at most, the newest first.
const MOST_EVENTS: usize = 100_000;
/// Events that are asked for at a time.
const PAGE: usize = 1_000;
/// Subjects that are listed at most.
const MOST_SUBJECTS: usize = 100;

/// What the policy in force and another make of what was found from the first to before the second moment.
///
/// # Errors
/// When the store does not answer.
pub async fn preview(
    engine: &Engine,
    policy: &Policy,
    span: (Millis, Millis),
) -> Result<Preview, StoreError> {
    let log = read(engine, span).await?;
    let in_force = engine.policy();
    let given = ActivePolicy::new(policy.clone(), Default::default());
    Ok(compare([&in_force, &given], log, span))
}

/// What was read of the log.
#[derive(Debug, Default)]
struct Log {
    events: usize,
    is_complete: bool,
    /// In the order of their times.
    happenings: Vec<Happening>,
}

async fn read(engine: &Engine, (since, until): (Millis, Millis)) -> Result<Log, StoreError> {
    let mut query =
        EventQuery { since: Some(since), until: Some(until), limit: PAGE, ..EventQuery::default() };
    let mut log = Log::default();
    loop {
        let page = engine.store().events(&query).await?;
        log.events += page.items.len();
        log.happenings.extend(page.items.iter().filter_map(Happening::of));
        query.cursor = page.next;
        if query.cursor.is_none() || log.events >= MOST_EVENTS {
            break;
        }
    }
    log.is_complete = query.cursor.is_none();
    // They came with the newest first; what was written together stays in the order of the log.
    log.happenings.reverse();
    log.happenings.sort_by_key(|happening| happening.at);
    Ok(log)
}

/// Sends two policies, the one in force first, through the same happenings.
fn compare([in_force, given]: [&ActivePolicy; 2], log: Log, (since, until): (Millis, Millis)) -> Preview {
    let mut sides = [Side::new(&in_force.policy), Side::new(&given.policy)];
    let mut found: BTreeMap<AnomalyKind, u64> = BTreeMap::new();
    let mut rest = log.happenings.as_slice();
    while let Some(first) = rest.first() {
        let together = rest.iter().skip(1).take_while(|next| first.is_found_with(next)).count() + 1;
        let (now, later) = rest.split_at(together);
        rest = later;
        for happening in now {
            if let What::Found(kind, _) = happening.what {
                *found.entry(kind).or_default() += happening.count;
            }
        }
        pass(&mut sides, now);
    }
    let (changes, not_covered) = changes(&in_force.policy, &given.policy);
    let [before, after] = sides;
    let (subjects, more_subjects) = subjects(&before, &after);
    Preview {
        since: format_millis(since),
        until: format_millis(until),
        complete: log.is_complete,
        events: log.events as u64,
        findings: found.values().sum(),
        changes,
        not_covered,
        types: types(&found, &before, &after),
        subjects,
        more_subjects,
        before: ruled(in_force, &before),
        after: ruled(given, &after),
    }
}

/// Both answer what happened at once to one subject.
fn pass([before, after]: &mut [Side<'_>; 2], now: &[Happening]) {
    let Some(first) = now.first() else { return };
    let Happening { at, subject, count, .. } = first;
    match first.what {
        What::Found(..) => [before, after].into_iter().for_each(|side| side.answer(now)),
        What::Banned(_) | What::Lifted { .. } => {
            [before, after].into_iter().for_each(|side| side.follow(first));
        }
        What::Blocked => {
            // A ban that follows from nothing here is older than the span, and holds under both.
            let is_older = !before.bans(subject, *at);
            for side in [before, after] {
                if is_older || side.bans(subject, *at) {
                    side.refuse(subject, *count);
                }
            }
        }
    }
}

fn ruled(policy: &ActivePolicy, side: &Side<'_>) -> Ruled {
    let mut acts = Acts::default();
    side.subjects.values().for_each(|more| acts.add(*more));
    Ruled {
        policy_version: policy.version.to_string(),
        enforcement: policy.policy.enforcement,
        subjects_banned: side.subjects.values().filter(|acts| acts.bans > 0).count(),
        acts,
    }
}

fn types(found: &BTreeMap<AnomalyKind, u64>, before: &Side<'_>, after: &Side<'_>) -> Vec<TypeRow> {
    let acts = |side: &Side<'_>, kind: &AnomalyKind| side.types.get(kind).copied().unwrap_or_default();
    let row = |(kind, findings): (&AnomalyKind, &u64)| TypeRow {
        kind: *kind,
        findings: *findings,
        before: acts(before, kind),
        after: acts(after, kind),
    };
    let mut rows: Vec<TypeRow> = found.iter().map(row).collect();
    rows.sort_by_key(|row| Reverse(row.findings));
    rows
}

/// Those with whom the two deal otherwise, and how many are not listed.
fn subjects(before: &Side<'_>, after: &Side<'_>) -> (Vec<SubjectRow>, usize) {
    let acts = |side: &Side<'_>, subject: &Subject| side.subjects.get(subject).copied().unwrap_or_default();
    let only_before = before.subjects.keys().filter(|subject| !after.subjects.contains_key(*subject));
    let mut rows: Vec<SubjectRow> = after
        .subjects
        .keys()
        .chain(only_before)
        .map(|subject| SubjectRow {
            subject: subject.clone(),
            before: acts(before, subject),
            after: acts(after, subject),
        })
        .filter(|row| row.before != row.after)
        .collect();
    rows.sort_by(|a, b| {
        (b.after, b.before).cmp(&(a.after, a.before)).then_with(|| a.subject.cmp(&b.subject))
    });
    let more = rows.len().saturating_sub(MOST_SUBJECTS);
    rows.truncate(MOST_SUBJECTS);
    (rows, more)
}

/// Each setting that differs, and those of them that the log does not tell the effect of.
fn changes(before: &Policy, after: &Policy) -> (Map<String, Value>, Vec<String>) {
    let document = |policy: &Policy| serde_json::to_value(policy).unwrap_or_default();
    let changes = difference(&document(before), &document(after));
    let not_covered = changes.keys().filter(|path| !is_covered(path, before)).cloned().collect();
    (changes, not_covered)
}

/// Whether findings in the log are enough to tell what a setting would change. What a detector that is off would have
/// found is not there.
fn is_covered(path: &str, before: &Policy) -> bool {
    let was_off =
        |detector: &str| AnomalyKind::of_detector(detector).is_none_or(|kind| before.mode(kind) == Mode::Off);
    match path.split('.').collect::<Vec<_>>().as_slice() {
        ["enforcement"] => true,
        ["ladder", setting] => *setting != "throttle_share",
        ["detectors", detector, "mode"] => !was_off(detector),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::default_policy,
        domain::{
            MINUTE,
            actor::Actor,
            event::{BanLifted, Event, EventType, StandingChanged, Verdict},
            finding::Severity,
            standing::Standing,
        },
    };

    const START: Millis = 1_760_000_000_000;

    fn event(minute: Millis, kind: EventType, severity: Severity, subject: &str) -> Event {
        let request_id = Some(format!("r-{subject}-{minute}"));
        let subject = Subject::parse(subject).unwrap();
        Event { request_id, ..Event::new(START + minute * MINUTE, kind, severity, Some(subject)) }
    }

    fn found(minute: Millis, kind: AnomalyKind, severity: Severity, subject: &str) -> Event {
        event(minute, EventType::Anomaly(kind), severity, subject)
    }

    fn blocked(minute: Millis, subject: &str, count: u64) -> Event {
        Event { count, ..event(minute, EventType::BannedRequestBlocked, Severity::Low, subject) }
    }

    fn between(before: &Policy, after: &Policy, events: &[Event]) -> Preview {
        let [before, after] = [before, after].map(|p| ActivePolicy::new(p.clone(), Default::default()));
        let happenings = events.iter().filter_map(Happening::of).collect();
        let log = Log { events: events.len(), is_complete: true, happenings };
        compare([&before, &after], log, (START, START + 60 * MINUTE))
    }

    #[test]
    fn a_detector_in_shadow_that_would_be_enforced_bans_whom_it_found() {
        let (mut before, after) = (default_policy(), default_policy());
        before.detectors.impossible_travel.mode = Mode::Shadow;
        let travel = AnomalyKind::ImpossibleTravel;
        let preview = between(
            &before,
            &after,
            &[
                found(0, travel, Severity::Critical, "key:a"),
                found(5, travel, Severity::Critical, "key:a"),
                found(5, travel, Severity::Low, "key:b"),
            ],
        );
        assert_eq!(
            (preview.findings, preview.before.acts, preview.before.subjects_banned),
            (3, Acts::default(), 0)
        );
        // The second finding falls into the ban of the first.
        let banned = Acts { bans: 1, refused: 2, ..Acts::default() };
        assert_eq!(preview.after.acts, Acts { alerts: 1, ..banned });
        assert_eq!(preview.after.subjects_banned, 1);
        let row = &preview.types[0];
        assert_eq!((row.kind, row.findings, row.after.bans, row.before), (travel, 3, 1, Acts::default()));
        let rows: Vec<_> = preview.subjects.iter().map(|row| (row.subject.as_str(), row.after)).collect();
        assert_eq!(rows, [("key:a", banned), ("key:b", Acts { alerts: 1, ..Acts::default() })]);
        assert_eq!(preview.changes.keys().collect::<Vec<_>>(), ["detectors.impossible_travel.mode"]);
        assert!(preview.not_covered.is_empty());
    }

    #[test]
    fn requests_that_a_ban_refused_pass_where_the_other_policy_bans_nobody() {
        let (before, mut after) = (default_policy(), default_policy());
        after.detectors.traffic_burst.mode = Mode::Off;
        let events = [
            found(0, AnomalyKind::TrafficBurst, Severity::Critical, "key:a"),
            blocked(1, "key:a", 40),
            // Of a ban that is older than the span.
            blocked(1, "ip:203.0.113.7", 7),
        ];
        let preview = between(&before, &after, &events);
        assert_eq!((preview.before.acts.bans, preview.before.acts.refused), (1, 48));
        assert_eq!((preview.after.acts.bans, preview.after.acts.refused), (0, 7));
        let [row] = preview.subjects.as_slice() else { panic!("{:?}", preview.subjects) };
        assert_eq!((row.subject.as_str(), row.before.refused, row.after), ("key:a", 41, Acts::default()));
    }

    #[test]
    fn a_longer_ban_refuses_what_came_after_the_shorter_one() {
        let (mut before, mut after) = (default_policy(), default_policy());
        (before.ladder.ban_seconds, after.ladder.ban_seconds) = (60, 600);
        let burst = |minute| found(minute, AnomalyKind::TrafficBurst, Severity::Critical, "key:a");
        let preview = between(&before, &after, &[burst(0), burst(5)]);
        assert_eq!((preview.before.acts.bans, preview.after.acts.bans), (2, 1));
        assert_eq!((preview.before.acts.refused, preview.after.acts.refused), (2, 2));
        assert!(preview.not_covered.is_empty());
    }

    #[test]
    fn what_people_did_holds_under_both_and_a_lifted_ban_gives_grace() {
        let policy = default_policy();
        let standing = Standing { until: Some(START + 30 * MINUTE), ..Standing::default() };
        let by = Actor::local();
        let ban = StandingChanged::by_person(&standing, "leaked", &by);
        let lifted =
            BanLifted { reason: "ours".to_owned(), verdict: Some(Verdict::Benign), event: None, by: None };
        let burst = |minute| found(minute, AnomalyKind::TrafficBurst, Severity::Critical, "key:b");
        let mut strict = policy.clone();
        strict.ladder.grace_seconds = 0;
        let preview = between(
            &policy,
            &strict,
            &[
                event(0, EventType::TemporaryBan, Severity::High, "key:a").with(&ban),
                blocked(1, "key:a", 5),
                burst(2),
                event(3, EventType::BanLifted, Severity::Low, "key:b").with(&lifted),
                burst(4),
            ],
        );
        assert_eq!((preview.before.acts.bans, preview.before.acts.refused), (1, 6));
        assert_eq!((preview.after.acts.bans, preview.after.acts.refused), (2, 7));
    }

    #[test]
    fn findings_of_one_request_are_answered_together_by_the_worst() {
        let policy = default_policy();
        let preview = between(
            &policy,
            &policy,
            &[
                found(0, AnomalyKind::NewLocation, Severity::Low, "key:a"),
                found(0, AnomalyKind::ImpossibleTravel, Severity::Critical, "key:a"),
            ],
        );
        assert_eq!(preview.before.acts, Acts { bans: 1, refused: 1, ..Acts::default() });
        assert_eq!((preview.findings, preview.subjects.len()), (2, 0));
    }

    #[test]
    fn what_no_finding_can_tell_is_named() {
        let (mut before, mut after) = (default_policy(), default_policy());
        before.detectors.cost_spike.mode = Mode::Off;
        after.detectors.cost_spike.mode = Mode::Enforce;
        after.detectors.request_size.z_high += 1.0;
        after.ladder.throttle_share /= 2.0;
        after.ladder.ban_seconds += 1;
        after.limits.tokens.insert("1min".to_owned(), 1);
        let preview = between(&before, &after, &[]);
        let named = [
            "detectors.cost_spike.mode",
            "detectors.request_size.z_high",
            "ladder.throttle_share",
            "limits.tokens.1min",
        ];
        assert_eq!(preview.not_covered, named);
        assert_eq!(preview.changes.len(), 5);
    }
}
