//! Notices through the real sender and the log: a restart between a ban and its end, and how trouble is shown.

use keyward::forward::Forwarder;
use tokio_util::sync::CancellationToken;

use super::{
    fake::{Fake, anything},
    *,
};
use crate::support::eventually;

struct Running {
    forwarder: Forwarder,
    stop: CancellationToken,
}

impl Running {
    fn start(sink: &SinkSettings, store: &Arc<dyn Store>, time: &Shifted, instance: &str) -> Self {
        let stop = CancellationToken::new();
        let context = context(store.clone(), time, instance);
        Self { forwarder: Forwarder::start(std::slice::from_ref(sink), &context, &stop).unwrap(), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.forwarder.finish().await;
    }

    fn error(&self, time: &Shifted) -> Option<String> {
        self.forwarder.statuses().list()[0].show(time.now()).error
    }
}

fn slack_at(url: &SecretFile) -> SinkSettings {
    settings("slack", &format!("url = \"{}\"\nstart = \"beginning\"\ngroup_wait_seconds = 0", url.setting()))
        .unwrap()
}

#[tokio::test]
async fn the_end_of_a_ban_is_told_by_who_takes_over_and_nothing_twice() {
    let fake = Fake::start(anything).await;
    let url = SecretFile::new(&format!("{}/{SECRET}", fake.url));
    let (sink, store, time) = (slack_at(&url), memory(), Shifted::default());
    let mut quiet = event(EventType::BannedRequestBlocked, Severity::Low, "b");
    quiet.detector = None;
    store.append(&[&incident("a")[..], &[quiet]].concat()).await.unwrap();
    let one = Running::start(&sink, &store, &time, "one");
    eventually("the ban is told", async || fake.taken().len() == 1).await;
    one.stop().await;
    store.append(&[expired("a"), expired("b")]).await.unwrap();
    let two = Running::start(&sink, &store, &time, "two");
    eventually("its end is told", async || fake.taken().len() == 2).await;
    two.stop().await;
    let texts: Vec<String> =
        fake.taken().iter().map(|t| t.body["text"].as_str().unwrap().to_owned()).collect();
    assert!(texts[0].starts_with("[CRITICAL]") && texts[1].starts_with("Resolved: "), "{texts:?}");
    assert!(!texts.concat().contains("key:b"), "below the floor");
}

#[tokio::test]
async fn a_channel_that_fails_is_shown_until_it_works_though_events_are_taken() {
    let fake = Fake::start(anything).await;
    fake.trouble(503, Some(20));
    let url = SecretFile::new(&format!("{}/{SECRET}", fake.url));
    let (sink, store, time) = (slack_at(&url), memory(), Shifted::default());
    store.append(&incident("a")).await.unwrap();
    let running = Running::start(&sink, &store, &time, "one");
    eventually("the trouble is shown", async || running.error(&time).is_some()).await;
    store.append(&incident("b")).await.unwrap();
    let last = store.append(&incident("c")).await.unwrap().pop().unwrap().id;
    let behind = store.position_after(&last).await.unwrap();
    eventually("events are taken", async || {
        store.sink("people").await.unwrap().unwrap().position.as_ref() == Some(&behind)
    })
    .await;
    let shown = running.error(&time).expect("it is still shown");
    assert!(shown.contains("503") && !shown.contains(SECRET), "{shown}");
    eventually("it works", async || {
        time.pass(1);
        fake.taken().len() >= 3 && running.error(&time).is_none()
    })
    .await;
    running.stop().await;
}
