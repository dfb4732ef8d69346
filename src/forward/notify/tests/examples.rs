//! The groups by examples.

use super::*;
use crate::domain::{
    actor::Actor,
    decision::{Action, Reason, Would},
    event::{EmergencyHookCalled, FeedbackGiven, HookOutcome, Verdict},
};
use crate::forward::notify::{EndReason, groups::MAX_GROUPS, message, rule::rule};

#[test]
fn one_incident_is_one_message_and_its_end_another() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    day.take(travel(Severity::High, "a"));
    day.take(event(EventType::HighSeverityAnomaly, Severity::High, "a"));
    day.take(ban("a", Some(NOW + 30 * MINUTE)));
    assert!(day.after(9 * SECOND).is_empty(), "the group is waited for");
    let notices = day.after(SECOND);
    assert_eq!(kinds(&notices), [(NoticeKind::Firing, 3)]);
    assert_eq!(notices[0].title, "Impossible travel");
    assert_eq!(notices[0].samples.len(), 3);
    assert!(day.after(29 * MINUTE).is_empty());
    day.take(event(EventType::BanExpired, Severity::Low, "a"));
    let notices = day.after(0);
    assert_eq!(
        (kinds(&notices), notices[0].end),
        (vec![(NoticeKind::Resolved, 0)], Some(EndReason::Expired))
    );
    assert_eq!(day.groups.len(), 0);
}

#[test]
fn what_is_worse_is_sent_soon_what_is_new_later_and_more_of_the_same_last() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    day.take(travel(Severity::High, "a"));
    assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)]);
    day.take(travel(Severity::High, "a"));
    assert!(day.after(10 * MINUTE).is_empty(), "more of the same");
    day.take(event(EventType::HighSeverityAnomaly, Severity::High, "a"));
    assert_eq!(kinds(&day.after(0)), [(NoticeKind::Update, 2)], "a type of event that no notice has named");
    day.take(travel(Severity::Critical, "a"));
    assert!(day.after(9 * SECOND).is_empty());
    assert_eq!(kinds(&day.after(SECOND)), [(NoticeKind::Update, 1)], "it got worse");
    for _ in 0..8 {
        day.take(travel(Severity::High, "a"));
        assert!(day.after(29 * MINUTE).is_empty());
    }
    day.take(travel(Severity::High, "a"));
    assert_eq!(kinds(&day.after(8 * MINUTE)), [(NoticeKind::Update, 9)], "four hours after the last message");
}

#[test]
fn a_throttle_ends_with_its_time_and_a_longer_ban_takes_its_place() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    let mut throttle = ban("a", Some(NOW + 10 * MINUTE));
    throttle.kind = EventType::Throttled;
    day.take(throttle.clone());
    assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)]);
    assert_eq!(kinds(&day.after(11 * MINUTE)), [(NoticeKind::Resolved, 0)], "throttles end in silence");
    day.take(ban("b", Some(day.now + 10 * MINUTE)));
    let mut longer = ban("b", None);
    longer.detector = Some("operator".to_owned());
    day.take(longer);
    assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1), (NoticeKind::Firing, 1)]);
    assert!(day.after(12 * HOUR).is_empty());
    day.take(event(EventType::BanLifted, Severity::Low, "b"));
    assert_eq!(kinds(&day.after(0)), [(NoticeKind::Resolved, 0), (NoticeKind::Resolved, 0)]);
}

#[test]
fn a_key_that_is_cut_off_is_one_incident_until_the_ban_is_lifted() {
    let of = |kind, detector: &str, action: Option<&str>| {
        let mut event = event(kind, Severity::Critical, "a");
        (event.detector, event.action) = (Some(detector.to_owned()), action.map(str::to_owned));
        event
    };
    let mut day = Day::of(CLOSES);
    day.take(of(EventType::SpendAnomaly, "spend", Some("alert")));
    day.take(of(EventType::KeyCutOff, "spend", Some("permanent_ban")));
    day.take(of(EventType::PermanentBan, "spend", Some("permanent_ban")));
    day.take(of(EventType::EmergencyHook, "hook:rotate", None));
    let notices = day.after(10 * SECOND);
    assert_eq!(kinds(&notices), [(NoticeKind::Firing, 4)]);
    assert_eq!(notices[0].dedup_key, "keyward:spend:key:a");
    let headline = message::headline(&notices[0]);
    assert_eq!(headline, "[CRITICAL] Key cut off: key:a banned until somebody lifts it");
    let lines = message::lines(&notices[0]);
    for line in [("Done", "banned until somebody lifts it"), ("Undo", "keyward unban key:a")] {
        assert!(lines.contains(&(line.0, line.1.to_owned())), "{line:?} in {lines:?}");
    }
    day.take(event(EventType::BanLifted, Severity::Low, "a"));
    let notices = day.after(0);
    assert_eq!((kinds(&notices), notices[0].end), (vec![(NoticeKind::Resolved, 0)], Some(EndReason::Lifted)));
    assert_eq!(day.groups.len(), 0);

    day.take(of(EventType::KeyCutOff, "spend", Some("permanent_ban")));
    assert!(day.after(10 * SECOND)[0].restriction.is_some(), "it says so by itself");
    day.take(event(EventType::BanLifted, Severity::Low, "a"));
    assert_eq!(kinds(&day.after(0)), [(NoticeKind::Resolved, 0)]);
    day.take(of(EventType::KeyCutOff, "spend", Some("shadow")));
    assert_eq!(day.after(10 * SECOND)[0].restriction, None, "only watched");
}

#[test]
fn a_notice_of_what_was_only_observed_says_so_and_holds_nobody() {
    let mut day = Day::of(CLOSES);
    let would = Some(Would::refuse(Action::TemporaryBan, Reason::CriticalAnomalyDetected, None, NOW));
    let observed = Event { would, action: Some("none".to_owned()), ..ban("a", Some(NOW + 30 * MINUTE)) };
    day.take(observed);
    let notice = day.after(10 * SECOND).remove(0);
    assert_eq!(notice.restriction, None);
    assert_eq!(message::headline(&notice), "[HIGH] Impossible travel (observed only): key:a");
    let lines = message::lines(&notice);
    assert!(lines.contains(&("Done", "nothing: the policy only observes".to_owned())), "{lines:?}");
    assert!(
        lines.iter().any(|(word, text)| *word == "Why" && text.starts_with("Not enforced: ")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|(word, _)| *word == "Undo"), "{lines:?}");
}

#[test]
fn a_hook_that_a_ban_calls_is_reported_with_that_ban() {
    let mut day = Day::of(CLOSES);
    let ban = ban("a", None);
    let mut hook = event(EventType::EmergencyHook, Severity::High, "a");
    hook.detector = Some("hook:rotate".to_owned());
    hook = hook.with(&EmergencyHookCalled {
        summary: "The emergency hook rotate took the request: HTTP 200.".to_owned(),
        outcome: HookOutcome::Taken,
        request: "rotate".to_owned(),
        sink: "rotate".to_owned(),
        event: ban.id.clone(),
        cause: ban.kind,
        rule: rule(&ban),
        new_key_id: None,
    });
    day.take(ban);
    day.take(hook);
    let notices = day.after(10 * SECOND);
    assert_eq!(kinds(&notices), [(NoticeKind::Firing, 2)]);
    assert_eq!(notices[0].dedup_key, "keyward:impossible_travel:key:a");
}

#[test]
fn an_alert_rule_that_is_cleared_closes_its_own_incident_alone() {
    use crate::forward::filter::Filter;
    let alert = |key: &str, window: &str, state: &str| {
        let severity = if state == "cleared" { Severity::Low } else { Severity::High };
        let mut event = event(EventType::AlertRule, severity, key);
        event.evidence = serde_json::json!({
            "summary": "", "start": "2026-03-02T09:00:00.000Z", "metric": "cost", "operator": "gt",
            "threshold": "5", "scope": "key", "window": window, "state": state,
        })
        .into();
        event
    };
    let mut day = Day::of(CLOSES);
    for (key, window) in [("a", "5min"), ("a", "1hour"), ("b", "5min")] {
        day.take(alert(key, window, "firing"));
    }
    assert_eq!(day.after(10 * SECOND).len(), 3);
    let cleared = alert("a", "5min", "cleared");
    let filter = Filter { min_severity: Some(Severity::High), ends: true, ..Filter::default() };
    assert!(filter.admits(&cleared), "whatever its severity is");
    day.take(cleared);
    let notices = day.after(0);
    assert_eq!(
        (kinds(&notices), notices[0].end),
        (vec![(NoticeKind::Resolved, 0)], Some(EndReason::Cleared))
    );
    assert_eq!(day.groups.len(), 2, "the others still fire");
}

#[test]
fn what_was_done_is_said_in_words() {
    for (action, words) in [
        ("permanent_ban", "banned until somebody lifts it"),
        ("temporary_ban", "banned for a time"),
        ("some_new_act", "some new act"),
    ] {
        let mut event = travel(Severity::High, "a");
        event.action = Some(action.to_owned());
        let lines = message::lines(&Notice::alone(&event));
        assert!(lines.contains(&("Done", words.to_owned())), "{lines:?}");
    }
}

#[test]
fn that_nothing_more_came_is_reported_where_something_stays_open() {
    for (traits, expected) in
        [(ChannelTraits::READ_BY_PEOPLE, vec![]), (CLOSES, vec![(NoticeKind::Resolved, 0)])]
    {
        let mut day = Day::of(traits);
        day.take(travel(Severity::High, "a"));
        assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)]);
        assert_eq!(kinds(&day.after(HOUR)), expected);
        assert_eq!(day.groups.len(), 0);
        day.take(travel(Severity::High, "a"));
        assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)], "it begins anew");
    }
}

#[test]
fn what_the_bucket_does_not_allow_is_one_message_when_it_does() {
    let grouping = Grouping { burst: 2, max_per_minute: 1, ..Grouping::default() };
    let mut day = Day::with(grouping.clone(), ChannelTraits::READ_BY_PEOPLE);
    for key in ["a", "b", "c", "d", "e"] {
        day.take(travel(Severity::High, key));
    }
    day.take(travel(Severity::Critical, "e"));
    let notices = day.after(10 * SECOND);
    assert_eq!(kinds(&notices), [(NoticeKind::Firing, 2), (NoticeKind::Firing, 1)], "the worst first");
    assert!(day.after(59 * SECOND).is_empty());
    let notices = day.after(SECOND);
    assert_eq!(kinds(&notices), [(NoticeKind::HeldBack, 3)]);
    assert_eq!(notices[0].parts.len(), 3);
    assert!(day.after(HOUR).is_empty());

    let mut day = Day::with(grouping, CLOSES);
    for key in ["a", "b", "c", "d"] {
        day.take(ban(key, Some(NOW + 5 * MINUTE)));
    }
    assert_eq!(kinds(&day.after(10 * SECOND)).len(), 2);
    assert_eq!(kinds(&day.after(MINUTE)), [(NoticeKind::HeldBack, 2)]);
    for key in ["a", "b", "c", "d"] {
        day.take(event(EventType::BanExpired, Severity::Low, key));
    }
    let mut resolved: Vec<_> = (0..5).flat_map(|_| day.after(MINUTE)).collect();
    assert_eq!(resolved.len(), 4, "each is closed on its own");
    resolved = day.after(HOUR);
    assert_eq!(
        kinds(&resolved),
        [(NoticeKind::Resolved, 0)],
        "and the one that stood for what was held back"
    );
    assert_eq!(day.groups.len(), 0);
}

#[test]
fn more_groups_than_there_is_room_for_are_one() {
    let mut day = Day::with(Grouping { burst: 1_000, ..Grouping::default() }, ChannelTraits::READ_BY_PEOPLE);
    for n in 0..MAX_GROUPS + 50 {
        day.take(travel(Severity::High, &format!("k{n}")));
    }
    assert_eq!(day.groups.len(), MAX_GROUPS + 1);
    assert!(day.groups.save().len() < 1_500_000, "{}", day.groups.save().len());
    let notices: Vec<_> = (0..10).flat_map(|_| day.after(MINUTE)).collect();
    assert_eq!(notices.iter().map(|notice| notice.events).sum::<u64>(), MAX_GROUPS as u64 + 50);
    assert!(notices.iter().any(|notice| notice.title == "Many more subjects" && notice.events == 50));
}

#[test]
fn an_analysts_word_acknowledges_or_ends() {
    let word = |verdict| {
        let word = FeedbackGiven::new(travel(Severity::High, "a"), verdict, "", &Actor::local());
        event(EventType::FeedbackGiven, Severity::Low, "a").with(&word)
    };
    for (traits, expected) in
        [(ChannelTraits::READ_BY_PEOPLE, vec![]), (CLOSES, vec![(NoticeKind::Acknowledged, 0)])]
    {
        let mut day = Day::of(traits);
        day.take(travel(Severity::High, "a"));
        day.after(10 * SECOND);
        day.take(word(Verdict::Attack));
        assert_eq!(kinds(&day.after(0)), expected);
        day.take(word(Verdict::Benign));
        let notices = day.after(0);
        assert_eq!((notices[0].kind, notices[0].end), (NoticeKind::Resolved, Some(EndReason::Benign)));
    }
}

#[test]
fn what_ends_before_it_was_reported_is_reported_first() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    day.take(ban("a", Some(NOW + HOUR)));
    day.take(event(EventType::BanLifted, Severity::Low, "a"));
    assert_eq!(kinds(&day.after(0)), [(NoticeKind::Firing, 1), (NoticeKind::Resolved, 0)]);
    day.take(event(EventType::BanLifted, Severity::Low, "a"));
    assert!(day.after(HOUR).is_empty(), "an end alone is no news");
}

#[test]
fn a_store_that_answers_again_ends_what_was_reported_of_it() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    day.take(Event::new(NOW, EventType::StoreDegraded, Severity::High, None));
    assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)]);
    day.take(Event::new(NOW, EventType::StoreRecovered, Severity::Medium, None));
    assert_eq!(kinds(&day.after(0)), [(NoticeKind::Resolved, 0)]);
}

#[test]
fn an_event_in_a_group_that_was_about_to_be_over_goes_on() {
    let mut day = Day::of(CLOSES);
    day.take(travel(Severity::High, "a"));
    day.after(10 * SECOND);
    day.now += HOUR;
    assert_eq!(day.groups.next(day.now)[0].kind, NoticeKind::Resolved, "and it fails");
    day.take(travel(Severity::High, "a"));
    assert!(day.after(SECOND).is_empty());
}

#[test]
fn groups_that_cannot_be_read_begin_anew() {
    let mut day = Day::of(ChannelTraits::READ_BY_PEOPLE);
    day.take(travel(Severity::High, "a"));
    let saved = day.groups.save();
    assert!(day.groups.restore(b"{").is_err());
    assert_eq!(day.groups.len(), 0);
    day.groups.restore(&saved).unwrap();
    assert_eq!(kinds(&day.after(10 * SECOND)), [(NoticeKind::Firing, 1)]);
}

#[test]
fn groups_are_stored_under_the_names_of_earlier_versions() {
    let mut day = Day::of(CLOSES);
    day.take(ban("a", Some(NOW + HOUR)));
    day.after(10 * SECOND);
    let saved: serde_json::Value = serde_json::from_slice(&day.groups.save()).unwrap();
    let group = saved["open"].as_object().unwrap().values().next().unwrap();
    for name in ["told", "told_severity", "untold", "news", "hold"] {
        assert!(group.get(name).is_some(), "{name}: {group}");
    }
    assert!(group["hold"]["ban"] == true && saved["bucket"]["missing"].is_u64(), "{saved}");
}
