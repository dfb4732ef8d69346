//! Sinks: who sends, how far it has come, what was not taken.

use keyward::{
    domain::{
        event::{Event, EventType},
        finding::Severity,
    },
    store::{
        DeadLetter, DeadLetterAct, LogPosition, MAX_DEAD_LETTERS, SinkHealth, SinkLead, SinkStep, Stepped,
        Store, StoreError,
    },
};

use crate::store::support::{START, key};

const SINK: &str = "siem";

async fn lead(store: &dyn Store, owner: &str, at: i64) -> Option<SinkLead> {
    store.lead_sink(SINK, owner, START + at, START + at + 5_000).await.unwrap()
}

async fn appended(store: &dyn Store, count: usize) -> Vec<Event> {
    let event = |n: usize| {
        Event::new(START + n as i64, EventType::Throttled, Severity::High, Some(key(&format!("k{}", n % 7))))
    };
    store.append(&(0..count).map(event).collect::<Vec<_>>()).await.unwrap()
}

fn letter(event: &Event, reason: &str) -> DeadLetter {
    let (sink, event, reason) = (SINK.to_owned(), event.clone(), reason.to_owned());
    DeadLetter { sink, event, reason, attempts: 3, parked_at: START, again: false }
}

async fn renew(store: &dyn Store, epoch: u64, until: i64) -> Option<bool> {
    store.renew_sink(SINK, epoch, until, &SinkHealth::default()).await.unwrap()
}

fn step(epoch: u64, position: &LogPosition, parked: Vec<DeadLetter>) -> SinkStep {
    SinkStep {
        sink: SINK.to_owned(),
        epoch,
        position: position.clone(),
        state: vec![7, 0],
        parked,
        done: vec![],
    }
}

pub(crate) async fn one_leads_a_sink_until_its_time_is_up_or_it_leaves(store: &dyn Store) {
    assert_eq!(store.sink(SINK).await.unwrap(), None);
    let first = lead(store, "a", 0).await.unwrap();
    assert_eq!((first.epoch, first.position, first.state, first.again), (1, None, vec![], false));
    assert_eq!(lead(store, "b", 4_999).await, None);
    assert_eq!(renew(store, 1, START + 9_000).await, Some(false));
    assert_eq!(renew(store, 7, START + 90_000).await, None);
    assert_eq!(lead(store, "b", 8_999).await, None, "it was renewed");
    assert_eq!(lead(store, "b", 9_000).await.unwrap().epoch, 2);
    assert_eq!(renew(store, 1, START + 90_000).await, None, "somebody else leads");
    store.leave_sink(SINK, "a").await.unwrap();
    assert_eq!(lead(store, "a", 9_001).await, None, "only who leads can leave");
    let record = store.sink(SINK).await.unwrap().unwrap();
    assert_eq!((record.owner.as_str(), record.until, record.dead_letters), ("b", START + 14_000, 0));
    store.leave_sink(SINK, "b").await.unwrap();
    assert_eq!(lead(store, "a", 9_002).await.unwrap().epoch, 3);
}

pub(crate) async fn how_a_sink_is_doing_is_known_to_all_and_said_by_the_leader_alone(store: &dyn Store) {
    let epoch = lead(store, "a", 0).await.unwrap().epoch;
    assert_eq!(store.sink(SINK).await.unwrap().unwrap().health, None, "nobody has said");
    let well = SinkHealth { last_sent: Some(START), ..SinkHealth::default() };
    let ill = SinkHealth {
        waiting_since: Some(START - 7_000),
        error: Some("answered 503: \u{fc}ber\nfull".to_owned()),
        failing_since: Some(START - 60_000),
        last_sent: None,
    };
    for said in [&well, &ill, &well, &ill] {
        assert_eq!(store.renew_sink(SINK, epoch, START + 5_000, said).await.unwrap(), Some(false));
        assert_eq!(store.sink(SINK).await.unwrap().unwrap().health.as_ref(), Some(said));
    }
    assert_eq!(lead(store, "b", 5_000).await.unwrap().epoch, epoch + 1);
    assert_eq!(store.renew_sink(SINK, epoch, START + 9_000, &well).await.unwrap(), None);
    let held = store.sink(SINK).await.unwrap().unwrap();
    assert_eq!((held.sender(START + 9_999), held.sender(START + 10_000)), (Some("b"), None));
    assert_eq!(held.health, Some(ill), "what was said last stays said");
}

pub(crate) async fn a_step_is_taken_by_the_leader_alone_and_all_at_once(store: &dyn Store) {
    let events = appended(store, 3).await;
    let page = store.read_log(&LogPosition::default(), 10).await.unwrap();
    let nobody = step(1, &page.next, vec![]);
    assert_eq!(store.step_sink(&nobody).await.unwrap(), Stepped::NotLeading);
    let old = lead(store, "a", 0).await.unwrap();
    let new = lead(store, "b", 5_000).await.unwrap();
    let late = step(old.epoch, &page.next, vec![letter(&events[0], "no")]);
    assert_eq!(store.step_sink(&late).await.unwrap(), Stepped::NotLeading);
    assert_eq!(store.dead_letters(SINK).await.unwrap(), []);
    assert_eq!(store.step_sink(&SinkStep { epoch: new.epoch, ..late }).await.unwrap(), Stepped::Done);
    let next = lead(store, "c", 10_000).await.unwrap();
    assert_eq!((next.position, next.state), (Some(page.next), vec![7, 0]));
    assert_eq!(store.dead_letters(SINK).await.unwrap(), [letter(&events[0], "no")]);
}

pub(crate) async fn dead_letters_are_listed_sent_again_and_given_up(store: &dyn Store) {
    let events = appended(store, 4).await;
    let epoch = lead(store, "a", 0).await.unwrap().epoch;
    let position = LogPosition::default();
    let parked = events.iter().map(|event| letter(event, "400 says \"no\"\n")).collect();
    assert_eq!(store.step_sink(&step(epoch, &position, parked)).await.unwrap(), Stepped::Done);
    let ids: Vec<String> = events.iter().map(|event| event.id.clone()).collect();
    let listed = |again: bool| async move {
        let letters = store.dead_letters(SINK).await.unwrap();
        let mut ids: Vec<String> = letters
            .into_iter()
            .filter(|letter| letter.again == again)
            .map(|letter| letter.event.id)
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(listed(false).await.len(), 4);
    let (again, discard) = (DeadLetterAct::Redeliver, DeadLetterAct::Discard);
    let marked =
        store.act_on_dead_letters(SINK, again, &[ids[0].clone(), "no-such".to_owned()]).await.unwrap();
    assert_eq!((marked, listed(true).await), (1, vec![ids[0].clone()]));
    assert_eq!(renew(store, epoch, START + 5_001).await, Some(true));
    assert!(lead(store, "a", 1).await.unwrap().again);
    // Sent at last; another is refused once more, which takes its mark away.
    assert_eq!(store.act_on_dead_letters(SINK, again, &[ids[1].clone()]).await.unwrap(), 1);
    let sent =
        SinkStep { done: vec![ids[0].clone()], ..step(epoch, &position, vec![letter(&events[1], "still")]) };
    assert_eq!(store.step_sink(&sent).await.unwrap(), Stepped::Done);
    assert_eq!((listed(true).await.len(), listed(false).await.len()), (0, 3));
    assert!(!lead(store, "a", 2).await.unwrap().again);
    assert_eq!(store.act_on_dead_letters(SINK, again, &[]).await.unwrap(), 3, "none named: all");
    assert_eq!(store.act_on_dead_letters(SINK, discard, &[ids[2].clone()]).await.unwrap(), 1);
    assert_eq!(store.sink(SINK).await.unwrap().unwrap().dead_letters, 2);
    assert_eq!(store.act_on_dead_letters(SINK, discard, &[]).await.unwrap(), 2);
    assert!(!lead(store, "a", 3).await.unwrap().again);
    assert_eq!(store.act_on_dead_letters("another", again, &[]).await.unwrap(), 0);
}

pub(crate) async fn too_many_dead_letters_stop_the_sink(store: &dyn Store) {
    let epoch = lead(store, "a", 0).await.unwrap().epoch;
    let numbered = |n: usize| {
        let event = Event::new(START, EventType::Throttled, Severity::Low, None);
        letter(&Event { id: format!("e0-{START}-{}", n + 1), ..event }, "no")
    };
    let position = LogPosition(vec![(0, 3)]);
    for from in (0..MAX_DEAD_LETTERS).step_by(2_000) {
        let parked = (from..from + 2_000).map(numbered).collect();
        assert_eq!(store.step_sink(&step(epoch, &position, parked)).await.unwrap(), Stepped::Done);
    }
    let one_more = step(epoch, &LogPosition(vec![(0, 9)]), vec![numbered(MAX_DEAD_LETTERS)]);
    assert_eq!(store.step_sink(&one_more).await.unwrap(), Stepped::Full);
    assert_eq!(store.sink(SINK).await.unwrap().unwrap().position, Some(position));
    let swap = SinkStep { done: vec![format!("e0-{START}-1")], ..one_more };
    assert_eq!(store.step_sink(&swap).await.unwrap(), Stepped::Done);
}

pub(crate) async fn a_follower_may_stop_behind_any_event(store: &dyn Store) {
    appended(store, 40).await;
    let whole = store.read_log(&LogPosition::default(), 1_000).await.unwrap();
    assert_eq!((whole.events.len(), whole.gap), (40, false));
    for stop in [0, 1, 17, 39] {
        let mut position = LogPosition::default();
        for event in &whole.events[..=stop] {
            position = store.advance(&position, &event.id).unwrap();
        }
        let rest = store.read_log(&position, 1_000).await.unwrap();
        assert_eq!(rest.events, whole.events[stop + 1..]);
        assert!(!rest.gap);
        assert_eq!(rest.next, whole.next);
    }
    let garbage = store.advance(&LogPosition::default(), "nonsense");
    assert!(matches!(garbage, Err(StoreError::BadCursor)));
}
