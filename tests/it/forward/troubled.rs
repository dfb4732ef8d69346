//! A webhook that misbehaves.

use std::{sync::Arc, time::Duration};

use keyward::store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
};

use super::{
    Forwarding, SECRET, events,
    receiver::{Mood, Receiver},
    webhook, whole,
};

async fn through(receiver: &Receiver, count: usize, more: &str) -> usize {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
    for page in events(count).chunks(10_000) {
        store.append(page).await.unwrap();
    }
    let more = format!("secret = \"file:{}\"\nmax_backoff_seconds = 1\n{more}", secret.path().display());
    let forwarding = Forwarding::start(store.clone(), &[webhook(&receiver.url, &more)]);
    receiver.until(count).await;
    forwarding.finish().await;
    assert_eq!(store.dead_letters("siem").await.unwrap(), []);
    whole(&receiver.events(), count)
}

#[tokio::test]
async fn a_sink_in_every_mood_loses_nothing_and_gets_twice_only_what_it_did_not_say_it_had() {
    let moods = [
        Mood::Well,
        Mood::Broken,
        Mood::HalfAnswer,
        Mood::TooMany,
        Mood::Garbage,
        Mood::HangsUp,
        Mood::Slow(Duration::from_millis(50)),
    ];
    let receiver =
        Receiver::start(move |n| if n < 60 { moods[(n * 5 + n / 7) % 7] } else { Mood::Well }).await;
    let twice = through(&receiver, 2_000, "batch = 20").await;
    let halves = 60 / 7 + 2;
    assert!(twice > 0 && twice <= halves * 20, "{twice} came twice");
}

#[tokio::test]
async fn a_sink_that_was_down_for_100_000_events_gets_them_all_in_order() {
    let receiver = Receiver::start(|n| if n < 4 { Mood::HangsUp } else { Mood::Well }).await;
    assert_eq!(through(&receiver, 100_000, "batch = 1000").await, 0);
}
