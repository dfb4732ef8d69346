//! What an analyst's word does, and what the log keeps of it.

use super::*;
use crate::domain::{actor::Actor, event::FeedbackGiven, profile::Profile, standing::Standing};

#[tokio::test]
async fn a_benign_verdict_lifts_the_ban_and_undoes_its_strike() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    day.ask(json!({"source_ip": BUCHAREST})).await;
    let event = day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    day.engine
        .feedback()
        .give(&event.id, Verdict::Benign, "their VPN", &Actor::local(), day.now)
        .await
        .unwrap()
        .unwrap();
    let standing = day.engine.standings().of(&Subject::key("a")).await.unwrap().standing;
    assert_eq!((standing.is_banned_at(day.now), standing.strikes), (false, 0.0));
    day.engine
        .feedback()
        .give(&event.id, Verdict::Benign, "again", &Actor::local(), day.now)
        .await
        .unwrap()
        .unwrap();
    day.engine
        .feedback()
        .give(&event.id, Verdict::Attack, "on second thoughts", &Actor::local(), day.now)
        .await
        .unwrap()
        .unwrap();
    let logged = day.events(EventType::FeedbackGiven).await;
    assert_eq!(
        logged.iter().map(|e| e.evidence["note"].clone()).collect::<Vec<_>>(),
        ["on second thoughts", "their VPN"]
    );
    assert!(day.ask(json!({"source_ip": BUCHAREST})).await.allowed);
}

#[tokio::test]
async fn a_benign_verdict_teaches_the_place_and_the_way_there() {
    let mut day = Day::with(|policy| {
        policy.preset = Preset::Strict;
        policy.ladder.grace_seconds = 0;
    })
    .await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    assert!(!day.ask(json!({"source_ip": BUCHAREST})).await.allowed);
    let event = day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    day.engine
        .feedback()
        .give(&event.id, Verdict::Benign, "two offices", &Actor::local(), day.now)
        .await
        .unwrap()
        .unwrap();
    for _ in 0..3 {
        day.now += MINUTE;
        assert!(day.ask(json!({})).await.anomalies.is_empty());
        assert!(day.ask(json!({"source_ip": BUCHAREST})).await.anomalies.is_empty());
    }
}

async fn given(day: &Day) -> FeedbackGiven {
    let logged = day.events(EventType::FeedbackGiven).await.remove(0);
    logged.read().unwrap()
}

#[tokio::test]
async fn the_log_keeps_all_that_it_takes_to_carry_a_verdict_out_elsewhere() {
    let mut live = Day::strict().await;
    live.ask(json!({})).await;
    live.now += MINUTE;
    let other = json!({"source_ip": BUCHAREST, "request_id": "r-2", "user_agent": "curl/8", "model": "o3"});
    live.ask(other.clone()).await;
    let banned = live.events(EventType::TemporaryBan).await.remove(0);
    live.engine
        .feedback()
        .give(&banned.id, Verdict::Benign, "their VPN", &Actor::local(), live.now + 5)
        .await
        .unwrap()
        .unwrap();
    let feedback = given(&live).await;
    assert_eq!((&feedback.event, feedback.note.as_str()), (&banned.id, "their VPN"));
    assert_eq!(feedback.judged, banned);

    let mut elsewhere = Day::strict().await;
    elsewhere.ask(json!({})).await;
    elsewhere.now += MINUTE;
    assert!(!elsewhere.ask(other.clone()).await.allowed);
    elsewhere.engine.feedback().carry_out(&feedback, elsewhere.now).await.unwrap();
    let standing = elsewhere.engine.standings().of(&Subject::key("a")).await.unwrap().standing;
    assert_eq!((standing.is_banned_at(elsewhere.now), standing.strikes), (false, 0.0));
    assert!(elsewhere.events(EventType::FeedbackGiven).await.is_empty());
    elsewhere.now += 2 * DAY;
    elsewhere.ask(json!({})).await;
    elsewhere.now += MINUTE;
    assert!(elsewhere.ask(other).await.anomalies.is_empty(), "the way there is known");
}

#[tokio::test]
async fn a_word_about_a_word_does_not_hold_every_word_before_it() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.engine.bans().ban(&Subject::key("a"), None, "leaked", &Actor::local(), day.now).await.unwrap();
    let mut id = day.events(EventType::PermanentBan).await.remove(0).id;
    for _ in 0..3 {
        day.engine
            .feedback()
            .give(&id, Verdict::Attack, "see there", &Actor::local(), day.now)
            .await
            .unwrap()
            .unwrap();
        id = day.events(EventType::FeedbackGiven).await.remove(0).id;
    }
    assert_eq!(given(&day).await.judged.evidence.get("judged"), None);
}

#[tokio::test]
async fn what_nothing_was_found_about_is_taught_and_nothing_else_changes() {
    let mut live = Day::strict().await;
    live.ask(json!({})).await;
    live.now += MINUTE;
    live.ask(json!({"source_ip": BUCHAREST})).await;
    let found = live.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    live.engine.feedback().give(&found.id, Verdict::Benign, "", &Actor::local(), live.now).await.unwrap();
    let feedback = given(&live).await;

    let quiet = Day::strict().await;
    quiet.engine.feedback().carry_out(&feedback, quiet.now).await.unwrap();
    assert_eq!(quiet.engine.standings().of(&Subject::key("a")).await.unwrap().standing, Standing::default());
    let taught = quiet.engine.store().profile(&Subject::key("a")).await.unwrap().unwrap();
    assert_eq!((taught.requests, taught.countries.len(), taught.moves.len()), (0, 1, 1));
}

#[tokio::test]
async fn a_lesson_takes_nothing_from_a_profile_that_lives_in_memory_alone() {
    let book = super::super::profiles::ProfileBook::new(10, false);
    let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
    let subject = Subject::key("a");
    let learned = Profile { requests: 7, ..Profile::default() };
    book.put(&subject, super::super::profile_entry::ProfileHandle::of(learned));
    let mut lesson = Profile::default();
    lesson.clients.touch_str("curl", NOW);
    book.add(&store, &subject, &lesson).await.unwrap();
    let known = book.get(&subject).unwrap().with(Profile::clone);
    assert_eq!((known.requests, known.clients.len()), (7, 1));
}

#[tokio::test]
async fn a_verdict_on_a_finding_lifts_no_ban_that_an_operator_gave() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    day.ask(json!({"source_ip": BUCHAREST})).await;
    let found = day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    day.now += HOUR;
    day.engine
        .bans()
        .ban(&Subject::key("a"), None, "contract ended", &Actor::local(), day.now)
        .await
        .unwrap();
    day.engine.feedback().give(&found.id, Verdict::Benign, "vpn", &Actor::local(), day.now).await.unwrap();
    assert!(day.engine.standings().of(&Subject::key("a")).await.unwrap().standing.is_banned_at(day.now));
    let banned = day.events(EventType::PermanentBan).await.remove(0);
    day.engine
        .feedback()
        .give(&banned.id, Verdict::Benign, "it did not", &Actor::local(), day.now)
        .await
        .unwrap();
    assert!(!day.engine.standings().of(&Subject::key("a")).await.unwrap().standing.is_banned_at(day.now));
}

#[tokio::test]
async fn each_change_of_mind_is_in_the_log() {
    let mut day = Day::strict().await;
    day.ask(json!({})).await;
    day.now += MINUTE;
    day.ask(json!({"source_ip": BUCHAREST})).await;
    let found = day.events(EventType::Anomaly(AnomalyKind::ImpossibleTravel)).await.remove(0);
    for verdict in [Verdict::Attack, Verdict::Attack, Verdict::Benign, Verdict::Attack, Verdict::Attack] {
        day.now += SECOND;
        day.engine.feedback().give(&found.id, verdict, "", &Actor::local(), day.now).await.unwrap();
    }
    let words = day.events(EventType::FeedbackGiven).await;
    let words: Vec<&str> = words.iter().rev().filter_map(|e| e.evidence["verdict"].as_str()).collect();
    assert_eq!(words, ["attack", "benign", "attack"]);
}
