//! Standings: changing them, taking charges back, listing them, letting them run out, forgetting.

use keyward::{
    domain::{
        event::{EventType, format_millis},
        finding::Severity,
        standing::{Standing, StandingState},
        subject::Subject,
    },
    store::{
        CounterStore, EventLog, EventQuery, EventWriter, ProfileStore, Refund, Respond, Responded,
        StandingLookup, StandingStore,
    },
};

use crate::{T0, ban, charge, event, peer, setting, store};

fn everything() -> EventQuery {
    EventQuery { limit: 100, ..EventQuery::default() }
}

#[tokio::test]
async fn a_response_writes_standing_detail_refunds_and_events_at_once() {
    let store = store().await;
    let charged = keyward::domain::observation::Charge { peer: Some(peer(9)), ..charge("k", T0, 100) };
    let seen = store.observe(&[charged.clone(), charged.clone()]).await.unwrap();
    let refund = Refund { charged_at: seen[1].now, counts: charged.counts, peer: Some(9) };
    let mut respond = setting("k", ban(Some(T0 + 60_000)));
    respond.refunds = vec![refund.clone()];
    respond.events =
        vec![event("k", T0, EventType::TemporaryBan), event("k", T0, EventType::HighSeverityAnomaly)];
    let Responded::Done(events) = store.respond(&respond).await.unwrap() else { panic!("a conflict") };
    assert_eq!(events.len(), 2);
    assert_eq!(store.event(&events[0].id).await.unwrap().as_ref(), Some(&events[0]));
    assert_eq!(store.events(&everything()).await.unwrap().items, [events[1].clone(), events[0].clone()]);
    let record = store.standing(&Subject::key("k")).await.unwrap().unwrap();
    assert_eq!((record.standing, record.detail.reason.as_str()), (ban(Some(T0 + 60_000)), "because"));
    let left = store.inspect(&Subject::key("k"), T0).await.unwrap().unwrap();
    assert!(left.counts.iter().all(|c| c.tokens == 100 && c.requests == 1));
    assert_eq!(left.peers[0].hits, 1);
    let again = Respond { standing: None, refunds: vec![refund], events: Vec::new(), ..respond };
    store.respond(&again).await.unwrap();
    let left = store.inspect(&Subject::key("k"), T0).await.unwrap().unwrap();
    assert!(left.peers.is_empty() && left.counts[3].is_zero() && left.resets_at == [T0; 4]);
}

#[tokio::test]
async fn who_comes_second_learns_of_the_standing_in_force_and_writes_nothing() {
    let store = store().await;
    store.respond(&setting("k", ban(Some(T0 + 1)))).await.unwrap();
    let mut second = setting("k", ban(None));
    second.events = vec![event("k", T0, EventType::PermanentBan)];
    let Responded::Conflict(standing) = store.respond(&second).await.unwrap() else { panic!("no conflict") };
    assert_eq!(standing, ban(Some(T0 + 1)));
    assert_eq!(store.events(&everything()).await.unwrap().items, []);
    second.standing.as_mut().unwrap().0.version = 2;
    assert!(matches!(store.respond(&second).await.unwrap(), Responded::Done(_)));
}

#[tokio::test]
async fn charges_to_nobody_are_not_taken_back() {
    let store = store().await;
    let refund = Refund { charged_at: T0, counts: charge("k", T0, 5).counts, peer: Some(1) };
    let respond = Respond { standing: None, refunds: vec![refund], ..setting("k", Standing::default()) };
    assert!(matches!(store.respond(&respond).await.unwrap(), Responded::Done(events) if events.is_empty()));
    assert_eq!(store.inspect(&Subject::key("k"), T0).await.unwrap(), None);
    assert_eq!(store.standing(&Subject::key("k")).await.unwrap(), None);
}

#[tokio::test]
async fn standings_in_force_are_those_that_still_hold_newest_first() {
    let store = store().await;
    for (key, since, until) in [("a", 1, Some(T0 + 50)), ("b", 2, Some(T0 + 10)), ("c", 3, None)] {
        store.respond(&setting(key, Standing { since, ..ban(until) })).await.unwrap();
    }
    let throttled = Standing { state: StandingState::Throttled, since: 4, ..ban(Some(T0 + 50)) };
    store.respond(&setting("d", throttled)).await.unwrap();
    store
        .respond(&setting("e", Standing { state: StandingState::Clear, until: None, ..ban(None) }))
        .await
        .unwrap();
    let listed = async |now| {
        let records = store.standings_in_force(now).await.unwrap();
        records.iter().map(|r| r.subject.id().to_owned()).collect::<Vec<_>>().concat()
    };
    assert_eq!(listed(T0).await, "dcba");
    assert_eq!(listed(T0 + 10).await, "dca");
    assert_eq!(listed(T0 + 50).await, "c");
    let lifted = Standing { version: 2, state: StandingState::Clear, ..ban(None) };
    store.respond(&setting("c", lifted)).await.unwrap();
    assert_eq!(listed(T0).await, "dba");
}

#[tokio::test]
async fn a_ban_that_ran_out_is_told_of_once_and_a_throttle_never() {
    let store = std::sync::Arc::new(store().await);
    for i in 0..40 {
        store.respond(&setting(&format!("k{i}"), ban(Some(T0 + i)))).await.unwrap();
        let throttled = Standing { state: StandingState::Throttled, ..ban(Some(T0 + i)) };
        store.respond(&setting(&format!("t{i}"), throttled)).await.unwrap();
    }
    store.respond(&setting("forever", ban(None))).await.unwrap();
    let racing = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.expire_bans(T0 + 19).await.unwrap() })
    });
    let counted: usize = futures::future::join_all(racing).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(counted, 20);
    assert_eq!(store.expire_bans(T0 + 19).await.unwrap(), 0);
    let page = store.events(&everything()).await.unwrap();
    assert_eq!(page.items.len(), 20);
    let told = page.items.iter().find(|e| e.subject == Some(Subject::key("k7"))).unwrap();
    assert_eq!((told.kind, told.severity, told.time), (EventType::BanExpired, Severity::Low, T0 + 19));
    assert_eq!(told.detector.as_deref(), Some("ladder"));
    let evidence = serde_json::json!({ "since": format_millis(T0), "until": format_millis(T0 + 7) });
    assert_eq!(told.evidence.as_json(), &evidence);
    assert_eq!(store.standings_in_force(0).await.unwrap().len(), 41);
}

#[tokio::test]
async fn forgetting_leaves_nothing_but_the_events() {
    let store = store().await;
    store.observe(&[charge("k", T0, 1), charge("k", T0 + 5_000, 1)]).await.unwrap();
    store.respond(&setting("k", ban(None))).await.unwrap();
    store.merge_profile(&Subject::key("k"), &Default::default()).await.unwrap();
    store.append(&[event("k", T0, EventType::Throttled)]).await.unwrap();
    store.forget(&Subject::key("k"), &event("k", T0, EventType::SubjectForgotten)).await.unwrap();
    assert_eq!(store.inspect(&Subject::key("k"), T0).await.unwrap(), None);
    assert_eq!(store.standing(&Subject::key("k")).await.unwrap(), None);
    assert_eq!(store.profile(&Subject::key("k")).await.unwrap(), None);
    assert_eq!(store.standings_in_force(T0).await.unwrap(), []);
    let kinds: Vec<_> = store.events(&everything()).await.unwrap().items.iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [EventType::SubjectForgotten, EventType::Throttled]);
}
