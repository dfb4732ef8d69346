//! Analysts' words, given again at their time.

use std::time::Duration;

use super::*;
use crate::{
    domain::{
        HOUR,
        actor::Actor,
        event::{Event, EventType, Verdict},
        finding::{AnomalyKind, Severity},
        subject::Subject,
    },
    engine::LEASE,
    pricing::flat_example,
};

/// What a live service would have written about the traveller, judged two minutes after the ban.
async fn judged(verdict: Verdict) -> Event {
    let options = EngineOptions {
        deadline: Duration::from_secs(10),
        idempotency_capacity: 100,
        retry_span: crate::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 100,
        new_subjects_per_minute: 100,
        new_subjects_per_minute_per_address: 100,
        fold_seconds: 60,
        event_buffer: 100,
        flushes: true,
        usage_series: 0,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    };
    let store = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    let geo = Arc::new(Geo::open(&[], true).unwrap());
    let engine = Engine::start(store, geo, config(strict).policy, options).await.unwrap();
    let intake = Intake::replay(peppers(), flat_example());
    for line in &traveller("a")[..2] {
        let record = intake.record(parse(line.to_string().as_bytes()).unwrap(), 0).unwrap();
        let now = record.timestamp.unwrap();
        engine.record(&[record], now).await;
    }
    let newest = async |kind| {
        let query = EventQuery { kind: Some(kind), limit: 1, ..EventQuery::default() };
        engine.store().events(&query).await.unwrap().items.remove(0)
    };
    let found = newest(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await;
    engine
        .feedback()
        .give(&found.id, verdict, "two offices", &Actor::local(), NOW + 3 * MINUTE)
        .await
        .unwrap()
        .unwrap();
    newest(EventType::FeedbackGiven).await
}

fn verdicts(events: &[Event]) -> Verdicts {
    let lines: String = events.iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect();
    Verdicts::read(lines.as_bytes()).unwrap()
}

async fn with_verdicts(events: &[Event], lines: &[Value]) -> (Vec<Value>, String) {
    let mut replay = replay(strict).await;
    replay.honour(verdicts(events));
    let (decisions, summary) = run(&mut replay, &text(lines)).await;
    (decisions, replay.verdicts().render(&summary).unwrap_or_default())
}

#[tokio::test]
async fn a_benign_verdict_lifts_the_ban_at_its_time_and_teaches() {
    let (decisions, report) = with_verdicts(&[judged(Verdict::Benign).await], &traveller("a")).await;
    assert_eq!(allowed(&decisions), [true, false, true, true, true]);
    assert_eq!(decisions[2]["anomalies"], json!([]), "the place and the way there are known");
    assert_eq!(report, "1 verdicts honoured: 1 benign (1 lifted a ban), 0 attacks\n");
}

#[tokio::test]
async fn an_attack_stays_one() {
    let (decisions, report) = with_verdicts(&[judged(Verdict::Attack).await], &traveller("a")).await;
    assert_eq!(allowed(&decisions), [true, false, false, false, true]);
    assert!(report.contains("0 benign") && report.contains("1 attacks"), "{report}");
}

#[tokio::test]
async fn a_verdict_takes_nothing_from_what_the_key_is_known_by() {
    let mut lines: Vec<_> = (0..50).map(|n| line("a", (n - 100) * SECOND, SINGAPORE)).collect();
    lines.extend(traveller("a"));
    let mut replay = replay(strict).await;
    replay.honour(verdicts(&[judged(Verdict::Benign).await]));
    run(&mut replay, &text(&lines)).await;
    let view = replay.engine().subjects().view(&Subject::key("a"), NOW).await.unwrap().unwrap();
    assert_eq!(view.profile.unwrap().requests, 54, "all but the refused one");
}

#[tokio::test]
async fn verdicts_are_given_in_the_order_of_their_times_whatever_that_of_the_file() {
    let benign = judged(Verdict::Benign).await;
    let late = Event { time: NOW + 2 * HOUR, ..benign.clone() };
    let early = Event { time: NOW - HOUR, ..benign.clone() };
    let (decisions, report) = with_verdicts(&[late, benign, early], &traveller("a")).await;
    // The early one has taught the place before the key was seen there: there is nothing to lift any more.
    assert_eq!(allowed(&decisions), [true; 5]);
    assert_eq!(report, "3 verdicts honoured: 3 benign (0 lifted a ban), 0 attacks\n");
}

#[tokio::test]
async fn a_verdict_about_nothing_that_the_replay_found_does_no_harm() {
    let benign = judged(Verdict::Benign).await;
    let (decisions, report) = with_verdicts(std::slice::from_ref(&benign), &traveller("b")).await;
    assert_eq!(allowed(&decisions), [true, false, false, false, true]);
    assert!(
        report.contains("0 lifted") && report.contains("1 of them are about keys that no record is of"),
        "{report}"
    );
    let quiet: Vec<_> = traveller("a").into_iter().filter(|line| line["source_ip"] == SINGAPORE).collect();
    assert_eq!(allowed(&with_verdicts(&[benign], &quiet).await.0), [true, true]);
    assert_eq!(with_verdicts(&[], &quiet).await.1, "");
}

#[tokio::test]
async fn both_policies_hear_the_verdicts() {
    let verdicts = verdicts(&[judged(Verdict::Benign).await]);
    let longer = |p: &mut Policy| {
        strict(p);
        p.ladder.ban_seconds = 7200;
    };
    let (mut new, mut old) = (replay(longer).await, replay(strict).await);
    new.honour(verdicts.clone());
    old.honour(verdicts);
    let mut backtest = Backtest::between(&new, old, None);
    let lines = text(&traveller("a"));
    new.run_beside(lines.as_bytes(), io::sink(), |_| (), Some(&mut backtest)).await.unwrap();
    let report = backtest.comparison.to_string();
    assert!(report.starts_with("0 requests of 0 keys"), "both bans were lifted within their time\n{report}");
}

#[tokio::test]
async fn a_line_that_is_no_verdict_is_named() {
    let good = serde_json::to_string(&judged(Verdict::Benign).await).unwrap();
    let other = serde_json::to_string(&Event::new(NOW, EventType::BanLifted, Severity::Low, None));
    for (bad, words) in [
        ("nonsense".to_owned(), "not a security event"),
        (text(&traveller("a")[..1]), "not a security event"),
        (other.unwrap(), "BAN_LIFTED is no verdict"),
        (good.replace("\"judged\"", "\"other\""), "does not say what it is about: missing field `judged`"),
        (good.replace("\"benign\"", "\"maybe\""), "unknown variant `maybe`"),
    ] {
        let error = Verdicts::read(format!("\n{good}\n{bad}").as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("line 3: ") && error.contains(words), "{error}");
    }
}
