//! Standings: changes, what they do to charges, and how they end.

use keyward::{
    domain::{
        DAY, MINUTE,
        decision::{Action, Would},
        event::{EventType, format_millis},
        finding::Severity,
        observation::{Charge, ChargeMode},
        standing::{Standing, StandingState},
        subject::Subject,
    },
    store::{EventQuery, Refund, Respond, Responded, StandingRecord, Store},
};

use crate::store::support::*;

async fn in_force(store: &dyn Store, now: i64) -> Vec<Subject> {
    store.standings_in_force(now).await.unwrap().into_iter().map(|record| record.subject).collect()
}

async fn log_of(store: &dyn Store, subject: &Subject) -> Vec<EventType> {
    let query = EventQuery { subject: Some(subject.clone()), limit: 100, ..EventQuery::default() };
    store.events(&query).await.unwrap().items.into_iter().map(|event| event.kind).collect()
}

pub(crate) async fn a_standing_is_kept_with_its_detail(store: &dyn Store) {
    let subject = key("a");
    assert_eq!(store.standing(&subject).await.unwrap(), None);
    let standing = Standing {
        strikes: 1.5,
        bans: 2,
        bans_since: START - DAY,
        grace_until: START + 7,
        grace_detectors: 0b101,
        ..ban(1, START, START + MINUTE)
    };
    respond(store, change(&subject, START, standing)).await;
    let detail = because("it had to be");
    let record = StandingRecord { subject: subject.clone(), standing, detail };
    assert_eq!(store.standing(&subject).await.unwrap(), Some(record));
    assert_eq!(observe(store, charge(&subject, START, 1)).await.standing, standing);
    // What has ended is still remembered.
    assert!(store.standing(&subject).await.unwrap().is_some());
}

pub(crate) async fn a_change_from_an_old_version_is_a_conflict(store: &dyn Store) {
    let subject = key("a");
    for wrong in [0, 2] {
        let answer =
            store.respond(&change(&subject, START, ban(wrong, START, START + MINUTE))).await.unwrap();
        assert!(matches!(answer, Responded::Conflict(current) if current == Standing::default()), "{wrong}");
    }
    let first = ban(1, START, START + MINUTE);
    respond(store, change(&subject, START, first)).await;
    for wrong in [1, 3] {
        let answer = store.respond(&change(&subject, START, permanent_ban(wrong, START))).await.unwrap();
        assert!(matches!(answer, Responded::Conflict(current) if current == first), "{wrong}");
    }
    respond(store, change(&subject, START, permanent_ban(2, START))).await;
    assert_eq!(store.standing(&subject).await.unwrap().unwrap().standing.version, 2);
}

pub(crate) async fn a_conflict_writes_nothing(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    let lost = Respond {
        refunds: vec![Refund { charged_at: START, counts: counts(5), peer: None }],
        events: vec![event(START, EventType::TemporaryBan, Severity::High, Some(&subject))],
        ..change(&subject, START, ban(7, START, START + MINUTE))
    };
    assert!(matches!(store.respond(&lost).await.unwrap(), Responded::Conflict(_)));
    assert_eq!(tokens(&store.inspect(&subject, START).await.unwrap().unwrap()), [5; 4]);
    assert!(log_of(store, &subject).await.is_empty());
    assert!(in_force(store, START).await.is_empty());
    assert_eq!(store.standing(&subject).await.unwrap(), None);
}

pub(crate) async fn a_throttled_subject_has_a_share_of_its_limits(store: &dyn Store) {
    let subject = key("a");
    respond(store, change(&subject, START, throttle(1, START, START + MINUTE))).await;
    let limits = token_limits([Some(102), None, None, None]);
    let asked = |now, tokens| Charge { limits, ..charge(&subject, now, tokens) };
    assert!(observe(store, asked(START, 25)).await.admitted);
    let refused = observe(store, asked(START, 1)).await;
    assert_eq!(refused.refusal.unwrap().limit, 25);
    assert!(observe(store, asked(START + MINUTE, 77)).await.admitted);
}

pub(crate) async fn a_standing_that_was_only_observed_counts_for_those_who_observe_alone(store: &dyn Store) {
    let limits = token_limits([Some(100), None, None, None]);
    let asked = |id, now, tokens, observing| Charge { limits, observing, ..charge(&key(id), now, tokens) };
    let marked =
        |standing| Standing { unenforced: true, unenforced_strikes: 1.0, unenforced_bans: 1, ..standing };
    let banned = marked(permanent_ban(1, START));
    respond(store, change(&key("a"), START, banned)).await;
    assert_eq!(store.standing(&key("a")).await.unwrap().unwrap().standing, banned);
    assert!(!observe(store, asked("a", START, 5, true)).await.admitted);
    let seen = observe(store, asked("a", START, 5, false)).await;
    assert!(seen.admitted && seen.standing == banned);
    assert_eq!(tokens(&seen)[0], 5);
    respond(store, change(&key("b"), START, marked(throttle(1, START, START + MINUTE)))).await;
    assert_eq!(observe(store, asked("b", START, 30, true)).await.refusal.unwrap().limit, 25);
    assert!(observe(store, asked("b", START, 60, false)).await.admitted);
    // What it was refused by is the limit, not its share.
    assert_eq!(observe(store, asked("b", START, 60, false)).await.refusal.unwrap().limit, 100);
}

pub(crate) async fn the_end_of_a_ban_that_was_only_observed_says_so(store: &dyn Store) {
    let standing = Standing { unenforced: true, ..ban(1, START, START + 5) };
    respond(store, change(&key("a"), START, standing)).await;
    assert_eq!(store.expire_bans(START + 5).await.unwrap(), 1);
    let query = EventQuery { kind: Some(EventType::BanExpired), limit: 10, ..EventQuery::default() };
    let events = store.events(&query).await.unwrap().items;
    assert_eq!(events[0].would, Some(Would::go_on(Action::None)));
}

pub(crate) async fn a_banned_subject_is_refused_in_every_mode_and_its_reports_are_counted(store: &dyn Store) {
    let subject = key("a");
    observe(store, Charge { peer: Some(peer(1)), ..charge(&subject, START, 5) }).await;
    respond(store, change(&subject, START, permanent_ban(1, START))).await;
    for mode in [ChargeMode::Admit, ChargeMode::Peek] {
        let asked = Charge { mode, peer: Some(peer(2)), ..charge(&subject, START + 1, 5) };
        let refused = observe(store, asked).await;
        assert!(!refused.admitted && refused.refusal.is_none() && refused.tracked, "{mode:?}");
        assert_eq!((tokens(&refused), refused.peers.len()), ([5; 4], 1), "{mode:?}");
    }
    let unchanged = store.inspect(&subject, START).await.unwrap().unwrap();
    assert_eq!((unchanged.now, unchanged.admitted, tokens(&unchanged)), (START, false, [5; 4]));
    let report = Charge { mode: ChargeMode::Report, peer: Some(peer(2)), ..charge(&subject, START + 1, 5) };
    let reported = observe(store, report).await;
    assert!(!reported.admitted && reported.refusal.is_none());
    assert_eq!(tokens(&reported), [10; 4]);
    let counted = store.inspect(&subject, START + 1).await.unwrap().unwrap();
    assert_eq!((tokens(&counted), counted.peers.len()), ([10; 4], 1), "its place is not seen");
}

pub(crate) async fn a_ban_ends_on_time(store: &dyn Store) {
    let subject = key("a");
    respond(store, change(&subject, START, ban(1, START, START + MINUTE))).await;
    assert!(!observe(store, charge(&subject, START + MINUTE - 1, 1)).await.admitted);
    let free = observe(store, charge(&subject, START + MINUTE, 1)).await;
    assert!(free.admitted);
    assert_eq!(free.standing.state, StandingState::TemporarilyBanned);
    // Back in time is still after the end, for this subject.
    assert!(observe(store, charge(&subject, START, 1)).await.admitted);
}

pub(crate) async fn a_standing_makes_a_subject_known(store: &dyn Store) {
    let subject = key("a");
    respond(store, change(&subject, START, cleared(1, START))).await;
    let seen = observe(store, Charge { may_create: false, ..charge(&subject, START, 5) }).await;
    assert!(seen.admitted && seen.tracked && !seen.created);
    assert_eq!(tokens(&seen), [5; 4]);
}

pub(crate) async fn those_in_force_are_listed_newest_first(store: &dyn Store) {
    let end = START + MINUTE;
    respond(store, change(&key("a"), START, ban(1, START + 1, end))).await;
    respond(store, change(&key("b"), START, permanent_ban(1, START + 3))).await;
    respond(store, change(&Subject::project("p"), START, throttle(1, START + 2, end + 1))).await;
    respond(store, change(&key("c"), START, cleared(1, START + 4))).await;
    respond(store, change(&key("d"), START, ban(1, START + 5, end))).await;
    respond(store, change(&key("d"), START, cleared(2, START + 6))).await;
    assert_eq!(in_force(store, START).await, [key("b"), Subject::project("p"), key("a")]);
    assert_eq!(in_force(store, end).await, [key("b"), Subject::project("p")]);
    assert_eq!(in_force(store, end + 1).await, [key("b")]);
    let first = store.standings_in_force(START).await.unwrap().remove(0);
    assert_eq!((first.standing, first.detail), (permanent_ban(1, START + 3), because("it had to be")));
}

pub(crate) async fn a_ban_that_ran_out_is_noted_exactly_once(store: &dyn Store) {
    let (subject, end) = (key("a"), START + MINUTE);
    respond(store, change(&subject, START, ban(1, START, end))).await;
    assert_eq!(store.expire_bans(end - 1).await.unwrap(), 0);
    assert_eq!(store.expire_bans(end).await.unwrap(), 1);
    assert_eq!(store.expire_bans(end + DAY).await.unwrap(), 0);
    let query = EventQuery { kind: Some(EventType::BanExpired), limit: 10, ..EventQuery::default() };
    let events = store.events(&query).await.unwrap().items;
    assert_eq!(events.len(), 1);
    let noted = &events[0];
    assert_eq!((noted.time, noted.severity, noted.count), (end, Severity::Low, 1));
    assert_eq!((noted.subject.as_ref(), noted.detector.as_deref()), (Some(&subject), Some("ladder")));
    let evidence = serde_json::json!({"since": format_millis(START), "until": format_millis(end)});
    assert_eq!(noted.evidence.as_json(), &evidence);
    assert_eq!(store.standing(&subject).await.unwrap().unwrap().standing.version, 1);
}

pub(crate) async fn a_throttle_runs_out_in_silence(store: &dyn Store) {
    respond(store, change(&key("a"), START, throttle(1, START, START + 5))).await;
    respond(store, change(&key("b"), START, ban(1, START, START + 6))).await;
    assert_eq!(store.expire_bans(START + 5).await.unwrap(), 0);
    assert_eq!(in_force(store, START).await, [key("b")]);
    assert_eq!(store.expire_bans(START + 6).await.unwrap(), 1);
    assert!(log_of(store, &key("a")).await.is_empty());
    assert_eq!(log_of(store, &key("b")).await, [EventType::BanExpired]);
}

pub(crate) async fn a_prolonged_ban_ends_at_its_new_end(store: &dyn Store) {
    let subject = key("a");
    respond(store, change(&subject, START, ban(1, START, START + 10))).await;
    respond(store, change(&subject, START + 5, ban(2, START + 5, START + 20))).await;
    assert_eq!(store.expire_bans(START + 10).await.unwrap(), 0);
    assert_eq!(store.expire_bans(START + 20).await.unwrap(), 1);
    respond(store, change(&subject, START + 30, ban(3, START + 30, START + 40))).await;
    assert_eq!(store.expire_bans(START + 40).await.unwrap(), 1);
    assert_eq!(log_of(store, &subject).await.len(), 2);
}

pub(crate) async fn a_lifted_or_permanent_ban_never_runs_out(store: &dyn Store) {
    respond(store, change(&key("a"), START, ban(1, START, START + 10))).await;
    respond(store, change(&key("a"), START, cleared(2, START))).await;
    respond(store, change(&key("b"), START, permanent_ban(1, START))).await;
    assert_eq!(store.expire_bans(START + 20 * DAY).await.unwrap(), 0);
    assert_eq!(in_force(store, START + 20 * DAY).await, [key("b")]);
}

pub(crate) async fn ban_events_and_refunds_come_together(store: &dyn Store) {
    let subject = key("a");
    observe(store, Charge { peer: Some(peer(1)), ..charge(&subject, START, 5) }).await;
    observe(store, Charge { peer: Some(peer(2)), ..charge(&subject, START + 1, 7) }).await;
    let kinds = [EventType::HighSeverityAnomaly, EventType::TemporaryBan];
    let all = Respond {
        refunds: vec![
            Refund { charged_at: START, counts: counts(5), peer: Some(1) },
            Refund { charged_at: START + 1, counts: counts(7), peer: Some(2) },
        ],
        events: kinds.map(|kind| event(START + 1, kind, Severity::High, Some(&subject))).to_vec(),
        ..change(&subject, START + 1, ban(1, START + 1, START + MINUTE))
    };
    let appended = respond(store, all.clone()).await;
    assert_eq!(appended.len(), 2);
    for (given, kept) in all.events.iter().zip(&appended) {
        assert!(!kept.id.is_empty());
        assert_eq!(&keyward::domain::event::Event { id: String::new(), ..kept.clone() }, given);
        assert_eq!(store.event(&kept.id).await.unwrap().as_ref(), Some(kept));
    }
    let seen = store.inspect(&subject, START + 1).await.unwrap().unwrap();
    assert_eq!((tokens(&seen), seen.peers.len(), seen.admitted), ([0; 4], 0, false));
    assert_eq!(log_of(store, &subject).await, [kinds[1], kinds[0]]);
}

pub(crate) async fn a_forgotten_subject_is_unknown(store: &dyn Store) {
    let subject = key("a");
    observe(store, charge(&subject, START, 5)).await;
    respond(store, change(&subject, START, ban(1, START, START + MINUTE))).await;
    let delta = keyward::domain::profile::Profile { requests: 3, ..Default::default() };
    store.merge_profile(&subject, &delta).await.unwrap();
    let old = event(START, EventType::TemporaryBan, Severity::High, Some(&subject));
    store.append(std::slice::from_ref(&old)).await.unwrap();
    let told = event(START + 1, EventType::SubjectForgotten, Severity::Low, Some(&subject));
    store.forget(&subject, &told).await.unwrap();
    assert!(store.inspect(&subject, START).await.unwrap().is_none());
    assert!(store.standing(&subject).await.unwrap().is_none());
    assert!(store.profile(&subject).await.unwrap().is_none());
    assert!(in_force(store, START).await.is_empty());
    assert_eq!(store.expire_bans(START + DAY).await.unwrap(), 0);
    let kinds = [EventType::SubjectForgotten, EventType::TemporaryBan];
    assert_eq!(log_of(store, &subject).await, kinds);
    let again = observe(store, charge(&subject, START, 5)).await;
    assert!(again.created && again.standing == Standing::default());
    respond(store, change(&subject, START, ban(1, START, START + MINUTE))).await;
}
