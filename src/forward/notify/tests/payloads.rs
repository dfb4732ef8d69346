//! What channels make of events that somebody made to do harm, and whether it fits where it goes.

use serde_json::Value;

use super::*;
use crate::forward::notify::{HeldBackGroup, Restriction, alertmanager, message, pagerduty, slack};

/// Line breaks, markup, calls, links, escape sequences, and text that runs backwards; and too much of it.
fn hostile() -> Notice {
    let bad =
        "<!channel> @here [x](http://evil) *b* `c`\r\nBcc: a@b\u{1b}[31m\u{202e}\u{2028}<b>&amp;".repeat(200);
    let mut event = travel(Severity::Critical, "k<&>\u{202e}'$(reboot)");
    event.evidence = json!({ "summary": bad, "project": bad, "until": bad }).into();
    event.key_id = Some(bad.clone());
    event.source_ip = Some(bad.clone());
    event.action = Some(bad.clone());
    event.detector = Some(bad);
    let mut notice = Notice::alone(&event);
    notice.restriction = Some(Restriction { ban: true, until: None });
    notice.samples = vec![notice.samples[0].clone(); 3];
    notice
}

/// One that was held back, for as many groups as there can be.
fn held_back() -> Notice {
    let notice = hostile();
    let part = HeldBackGroup {
        dedup_key: notice.dedup_key.clone(),
        title: notice.title,
        subject: notice.subject.clone(),
        severity: notice.severity,
        events: u64::MAX,
        end: None,
    };
    Notice { kind: NoticeKind::HeldBack, parts: vec![part; 1_001], ..notice }
}

fn texts<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(members) => members.values().for_each(|member| texts(member, found)),
        _ => {}
    }
}

#[test]
fn words_are_single_lines_without_controls_whatever_is_in_an_event() {
    for notice in [hostile(), held_back()] {
        let mut lines = vec![message::headline(&notice)];
        lines.extend(message::lines(&notice).into_iter().map(|(_, text)| text));
        assert!(lines.len() > 3);
        for line in lines {
            assert!(!line.chars().any(crate::forward::format::text::is_unsafe), "{line:?}");
            assert!(line.chars().count() <= 600, "{line}");
        }
    }
}

#[test]
fn slack_gets_no_markup_from_events_and_nothing_that_is_too_long() {
    for notice in [hostile(), held_back()] {
        let payload = slack::payload(&notice, "chat");
        let mut found = Vec::new();
        texts(&payload, &mut found);
        for text in found {
            assert!(!text.contains(['<', '>']), "{text}");
            assert!(
                text.split('\n').all(|line| !line.contains(crate::forward::format::text::is_unsafe)),
                "{text:?}"
            );
            assert!(
                text.split('&')
                    .skip(1)
                    .all(|rest| ["amp;", "lt;", "gt;"].iter().any(|e| rest.starts_with(e)))
            );
        }
        let chars = |path: &str| payload.pointer(path).unwrap().as_str().unwrap().chars().count();
        assert!((1..=150).contains(&chars("/blocks/0/text/text")));
        assert!((1..=3_000).contains(&chars("/blocks/1/text/text")));
        assert!((1..=2_000).contains(&chars("/blocks/2/elements/0/text")));
        assert!((1..=4_000).contains(&chars("/text")));
        let fallback = payload["text"].as_str().unwrap();
        assert!(!fallback.contains("@here") && !fallback.contains("](http"));
    }
}

#[test]
fn pagerduty_gets_what_its_events_api_takes() {
    for notice in [hostile(), held_back()] {
        let event = pagerduty::event(&notice, "R0123", "pager");
        assert_eq!(event["event_action"], "trigger");
        assert!(event["dedup_key"].as_str().unwrap().len() <= 255);
        assert!(event["payload"]["summary"].as_str().unwrap().chars().count() <= 1_024);
        assert_eq!(event["payload"]["severity"], "critical");
        assert!(event.to_string().len() <= 512 * 1024, "{}", event.to_string().len());
    }
    let resolve = pagerduty::event(&Notice { kind: NoticeKind::Resolved, ..hostile() }, "R0123", "pager");
    assert_eq!(resolve.as_object().unwrap().len(), 3);
}

#[test]
fn an_alert_that_got_worse_ends_as_the_lesser_one() {
    let mut notice = hostile();
    (notice.kind, notice.notified_severity) = (NoticeKind::Update, Some(Severity::High));
    let alerts = alertmanager::alerts(&[notice.clone()], "am", NOW + MINUTE);
    let seen: Vec<_> = alerts.iter().map(|a| (&a["labels"]["severity"], &a["endsAt"])).collect();
    assert_eq!(alerts.len(), 2);
    assert_eq!(seen[0], (&json!("high"), &json!(format_millis(NOW + MINUTE))));
    assert_eq!(seen[1], (&json!("critical"), &json!(format_millis(NOW + 6 * MINUTE))));
    (notice.kind, notice.notified_severity) = (NoticeKind::Resolved, None);
    let over = alertmanager::alerts(&[notice], "am", NOW);
    assert!(over[0]["startsAt"].as_str() < over[0]["endsAt"].as_str(), "an alert lasts at least a moment");
}
