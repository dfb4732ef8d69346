//! Slack, PagerDuty and webhooks, by fakes that hold what they get against the documents of the real ones.

use std::time::Duration;

use keyward::{
    domain::{
        actor::Actor,
        calendar::parse_millis,
        event::{FeedbackGiven, Verdict},
    },
    forward::SendErrorKind,
};
use serde_json::Value;

use super::{
    fake::{Fake, anything},
    *,
};

/// An incoming webhook of Slack: its path is the secret; blocks and lengths by the Block Kit reference.
fn slack(path: &str, body: &Value) -> Result<(u16, String), String> {
    if !path.ends_with(SECRET) {
        return Err("no_service".to_owned());
    }
    let text_of = |object: &Value, most: usize| {
        let text = object["text"].as_str().ok_or("no text")?;
        let known = ["plain_text", "mrkdwn"].iter().any(|kind| object["type"] == *kind);
        let fits = (1..=most).contains(&text.chars().count());
        if known && fits && !text.contains(['<', '>']) { Ok(()) } else { Err("invalid_blocks".to_owned()) }
    };
    body["text"].as_str().filter(|text| !text.is_empty() && text.len() <= 40_000).ok_or("no_text")?;
    let blocks = body["blocks"].as_array().filter(|blocks| (1..=50).contains(&blocks.len()));
    for block in blocks.ok_or("invalid_blocks")? {
        match block["type"].as_str().ok_or("invalid_blocks")? {
            "header" if block["text"]["type"] == "plain_text" => text_of(&block["text"], 150)?,
            "section" => text_of(&block["text"], 3_000)?,
            "context" => {
                let elements = block["elements"].as_array().ok_or("invalid_blocks")?;
                elements.iter().try_for_each(|element| text_of(element, 2_000))?;
            }
            _ => return Err("invalid_blocks".to_owned()),
        }
    }
    Ok((200, "ok".to_owned()))
}

/// Events API v2.
fn pagerduty(path: &str, body: &Value) -> Result<(u16, String), String> {
    let text = |value: &Value, most: usize| {
        value.as_str().is_some_and(|text| (1..=most).contains(&text.chars().count()))
    };
    let fields = body.as_object().ok_or("no object")?;
    let known =
        ["routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"];
    if path != "/v2/enqueue" || !fields.keys().all(|name| known.contains(&name.as_str())) {
        return Err("unknown path or field".to_owned());
    }
    if body["routing_key"] != SECRET {
        let errors = "[\"Invalid routing key\"]";
        return Err(format!(
            "{{\"status\":\"invalid event\",\"message\":\"Event object is invalid\",\"errors\":{errors}}}"
        ));
    }
    if !text(&body["dedup_key"], 255) || body.to_string().len() > 512 * 1024 {
        return Err("dedup_key or size".to_owned());
    }
    let payload = &body["payload"];
    let severities = ["critical", "error", "warning", "info"];
    let right = match body["event_action"].as_str() {
        Some("trigger") => {
            text(&payload["summary"], 1_024)
                && text(&payload["source"], 1_024)
                && severities.iter().any(|severity| payload["severity"] == *severity)
                && payload["timestamp"].as_str().is_some_and(|time| parse_millis(time).is_ok())
                && payload["custom_details"].is_object()
        }
        Some("acknowledge" | "resolve") => true,
        _ => false,
    };
    let answer = format!(
        "{{\"status\":\"success\",\"message\":\"Event processed\",\"dedup_key\":{}}}",
        body["dedup_key"]
    );
    if right { Ok((202, answer)) } else { Err("invalid event".to_owned()) }
}

async fn slack_channel() -> (Fake, SecretFile, Channel) {
    let fake = Fake::start(slack).await;
    let url = SecretFile::new(&format!("{}/services/{SECRET}\n", fake.url));
    let channel = Channel::open("slack", &format!("url = \"{}\"", url.setting()));
    (fake, url, channel)
}

#[tokio::test]
async fn slack_shows_what_happened_to_whom_why_until_when_and_how_to_undo_it() {
    let (fake, _url, mut channel) = slack_channel().await;
    channel.take(&incident("k1:9f2c")).await;
    assert_eq!(channel.told_after(10).await, 1);
    channel.take(&[expired("k1:9f2c")]).await;
    assert_eq!(channel.told_after(0).await, 1);
    let taken = fake.taken();
    let body = taken[0].body["blocks"][1]["text"]["text"].as_str().unwrap();
    let header = taken[0].body["blocks"][0]["text"]["text"].as_str().unwrap();
    assert!(header.starts_with("[CRITICAL] Impossible travel: key:k1:9f2c banned until 2"), "{header}");
    for part in [
        "Who: key:k1:9f2c\n",
        "Project: checkout\n",
        "From: 203.0.113.7, Bucharest, RO\n",
        "Why: Used in Bucharest 4 min after Singapore, &lt;b&gt;8,900 km&lt;/b&gt; away.  Bcc: x@y\n",
        "Done: banned until ",
        ", 2 events\n",
        "Undo: keyward unban key:k1:9f2c\n",
        "Event: 0-7",
    ] {
        assert!(body.contains(part), "{part:?} in {body}");
    }
    let over = taken[1].body["text"].as_str().unwrap();
    assert!(over.starts_with("Resolved: Impossible travel: key:k1:9f2c (it ran out)\n"), "{over}");
}

#[tokio::test]
async fn slack_that_asks_for_patience_gets_it_and_then_the_message() {
    let (fake, _url, mut channel) = slack_channel().await;
    fake.trouble(429, Some(30));
    channel.take(&incident("a")).await;
    let failure = channel.after(10).await.unwrap_err();
    assert!(failure.kind.retry_after() == Some(Duration::from_secs(30)));
    assert_eq!(channel.told_after(25).await, 0);
    assert_eq!(fake.asked(), 1, "it is left alone meanwhile");
    assert_eq!(channel.told_after(6).await, 1);
    assert_eq!(fake.taken().len(), 1);
}

#[tokio::test]
async fn a_message_that_is_refused_is_given_up_and_one_that_failed_is_not() {
    let (fake, _url, mut channel) = slack_channel().await;
    fake.trouble(400, None);
    channel.take(&incident("a")).await;
    assert_eq!(channel.told_after(10).await, 1, "given up");
    assert_eq!((fake.asked(), fake.taken().len()), (1, 0));
    let shown = channel.sink.trouble().unwrap().text.clone();
    assert!(shown.contains("refused a notice") && shown.contains("400"), "{shown}");
    for status in [500, 404, 302] {
        fake.trouble(status, None);
        channel.take(&incident(&format!("k{status}"))).await;
        assert!(channel.after(10).await.is_err(), "{status}");
        assert!(channel.sink.trouble().is_some(), "{status}");
        assert_eq!(channel.told_after(60).await, 1, "{status}");
        assert_eq!(channel.sink.trouble(), None, "{status}");
    }
    assert_eq!(fake.taken().len(), 3);
}

#[tokio::test]
async fn what_nobody_answers_names_no_secret() {
    let url = SecretFile::new(&format!("http://127.0.0.1:9/services/{SECRET}"));
    let mut channel = Channel::open("slack", &format!("url = \"{}\"", url.setting()));
    channel.take(&incident("a")).await;
    let failure = channel.after(10).await.unwrap_err();
    assert!(failure.kind == SendErrorKind::Unreachable && !failure.to_string().contains(SECRET), "{failure}");
    let inline =
        settings("slack", &format!("url = \"https://hooks.slack.com/services/{SECRET}\"")).unwrap_err();
    assert!(
        inline.to_string().starts_with("sinks.people.url ") && !inline.to_string().contains(SECRET),
        "{inline}"
    );
}

#[tokio::test]
async fn what_is_held_back_is_one_message_with_the_number() {
    let fake = Fake::start(slack).await;
    let url = SecretFile::new(&format!("{}/services/{SECRET}", fake.url));
    let own = format!("url = \"{}\"\nburst = 2\nmax_per_minute = 1", url.setting());
    let mut channel = Channel::open("slack", &own);
    for key in 0..30 {
        channel.take(&incident(&format!("k{key}"))).await;
    }
    assert_eq!(channel.told_after(10).await, 2);
    assert_eq!(channel.told_after(61).await, 1);
    let text = fake.taken()[2].body["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("[CRITICAL] 28 notices were held back: 56 events\n"), "{text}");
    assert!(text.contains("and 18 more"), "{text}");
}

#[tokio::test]
async fn pagerduty_opens_acknowledges_and_closes_one_incident() {
    let fake = Fake::start(pagerduty).await;
    let key = SecretFile::new(SECRET);
    let own = format!("routing_key = \"{}\"\nurl = \"{}\"", key.setting(), fake.url);
    let mut channel = Channel::open("pagerduty", &own);
    let [travel, ban] = incident("k1:9f2c");
    channel.take(&[travel.clone(), ban]).await;
    assert_eq!(channel.told_after(10).await, 1);
    let word = event(EventType::FeedbackGiven, Severity::Low, "k1:9f2c");
    let word = word.with(&FeedbackGiven::new(travel, Verdict::Attack, "", &Actor::local()));
    channel.take(&[word]).await;
    assert_eq!(channel.told_after(0).await, 1);
    channel.take(&[expired("k1:9f2c")]).await;
    assert_eq!(channel.told_after(0).await, 1);
    let taken = fake.taken();
    let seen: Vec<_> = taken.iter().map(|t| (&t.body["event_action"], &t.body["dedup_key"])).collect();
    let dedup = &json!("keyward:impossible_travel:key:k1:9f2c");
    assert_eq!(
        seen,
        [(&json!("trigger"), dedup), (&json!("acknowledge"), dedup), (&json!("resolve"), dedup)]
    );
    assert_eq!(taken[0].body["payload"]["severity"], "critical");
    assert_eq!(taken[0].body["payload"]["custom_details"]["undo"], "keyward unban key:k1:9f2c");
}

#[tokio::test]
async fn a_wrong_routing_key_loses_no_page() {
    let fake = Fake::start(pagerduty).await;
    let key = SecretFile::new("R0UT1NG-of-another-service");
    let own = format!("routing_key = \"{}\"\nurl = \"{}\"", key.setting(), fake.url);
    let mut channel = Channel::open("pagerduty", &own);
    channel.take(&incident("a")).await;
    for _ in 0..3 {
        let failure = channel.after(600).await.unwrap_err();
        assert!(failure.kind == SendErrorKind::Denied, "{failure:?}");
        assert!(channel.sink.trouble().is_some_and(|problem| problem.text.contains("Invalid routing key")));
    }
    // Mended, after a restart.
    let saved = channel.sink.state();
    let key = SecretFile::new(SECRET);
    let own = format!("routing_key = \"{}\"\nurl = \"{}\"", key.setting(), fake.url);
    let mut channel = Channel::open("pagerduty", &own);
    channel.sink.restore(&saved);
    assert_eq!(channel.told_after(10).await, 1);
    assert_eq!(fake.taken().len(), 1);
}

#[tokio::test]
async fn pagerduty_is_left_alone_for_a_minute_and_never_asked_again_what_it_refused() {
    let fake = Fake::start(pagerduty).await;
    let key = SecretFile::new(SECRET);
    let own = format!("routing_key = \"{}\"\nurl = \"{}\"", key.setting(), fake.url);
    let mut channel = Channel::open("pagerduty", &own);
    fake.trouble(429, None);
    channel.take(&incident("a")).await;
    assert!(channel.after(10).await.is_err());
    assert_eq!(channel.told_after(55).await, 0);
    assert_eq!(channel.told_after(6).await, 1);
    fake.trouble(400, None);
    channel.take(&incident("b")).await;
    assert_eq!(channel.told_after(10).await, 1, "given up");
    assert_eq!(channel.told_after(600).await, 0);
    assert_eq!((fake.asked(), fake.taken().len()), (3, 1));
}

#[tokio::test]
async fn a_webhook_gets_the_notice_signed_under_one_id_however_often_it_is_sent() {
    let fake = Fake::start(anything).await;
    let secret = SecretFile::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let own = format!("url = \"{}/in\"\nsecret = \"{}\"", fake.url, secret.setting());
    let mut channel = Channel::open("notify_webhook", &own);
    channel.take(&incident("a")).await;
    channel.time.pass(10);
    let saved = channel.sink.state();
    assert_eq!(channel.told_after(0).await, 1);
    channel.sink.restore(&saved);
    assert_eq!(channel.told_after(0).await, 1, "the answer was lost, say");
    channel.take(&[expired("a")]).await;
    assert_eq!(channel.told_after(0).await, 1);
    let taken = fake.taken();
    let id = |n: usize| taken[n].headers["webhook-id"].clone();
    assert!(id(0) == id(1) && id(1) != id(2));
    assert!(taken[0].headers.contains_key("webhook-signature") && taken[0].path == "/in");
    let data = &taken[0].body["data"];
    assert_eq!(
        (&taken[0].body["type"], &data["events"], &data["hold"]["ban"]),
        (&json!("notice.firing"), &json!(2), &json!(true))
    );
    assert_eq!(
        (&taken[2].body["type"], &taken[2].body["data"]["end"]),
        (&json!("notice.resolved"), &json!("expired"))
    );
}

#[tokio::test]
async fn a_trial_is_told_at_once_and_leaves_nothing_open() {
    let fake = Fake::start(pagerduty).await;
    let key = SecretFile::new(SECRET);
    let own = format!("routing_key = \"{}\"\nurl = \"{}\"", key.setting(), fake.url);
    let mut channel = Channel::open("pagerduty", &own);
    let sent = channel.sink.test(&incident("a")[0]).await.unwrap();
    assert!(sent.answer.contains("Event processed"), "{}", sent.answer);
    let actions: Vec<_> = fake.taken().iter().map(|taken| taken.body["event_action"].clone()).collect();
    assert_eq!(actions, ["trigger", "resolve"]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let wrong = |kind, own: &str| settings(kind, own).unwrap_err().iter().next().unwrap().setting.clone();
    let slack = |own: &str| wrong("slack", &format!("url = \"env:X\"\n{own}"));
    assert_eq!(slack("burst = 0"), "sinks.people.burst");
    assert_eq!(slack("repeat_interval_seconds = 10"), "sinks.people.repeat_interval_seconds");
    assert_eq!(slack("group_wait_seconds = \"soon\""), "sinks.people.group_wait_seconds");
    assert_eq!(slack("format = \"cef\""), "sinks.people.format");
    assert!(
        settings("slack", "url = \"env:X\"\nchannel = \"a\"").unwrap_err().to_string().contains("channel")
    );
    let mail = "host = \"mail.example.com\"\nfrom = \"a@example.com\"\nto = [\"b@example.com\"]\n";
    assert_eq!(wrong("email", &format!("{mail}allow_networks = []\ntls = \"none\"")), "sinks.people.tls");
    assert_eq!(wrong("email", &mail.replace("b@example.com", "nobody")), "sinks.people.to");
    assert_eq!(wrong("email", &format!("{mail}username = \"u\"")), "sinks.people.password");
    assert_eq!(wrong("email", &mail.replace("mail.example.com", "169.254.169.254")), "sinks.people.host");
}
