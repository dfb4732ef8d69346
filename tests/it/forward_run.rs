//! A log, and the sender that empties it into a real receiver.

use std::{collections::HashMap, sync::Arc, time::Duration};

use keyward::{
    domain::event::Event,
    forward::{Sender, SinkContext, SinkSettings, Status},
    store::{
        DeadLetter, ForwardStore, LogPosition, Store,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::within;

const LONG: Duration = Duration::from_secs(120);

/// What a sink needs that tells of nothing unexpected.
pub(crate) fn sink_context(store: Arc<dyn ForwardStore>) -> SinkContext {
    SinkContext {
        store,
        now: Arc::new(keyward::clock::wall),
        log_event: Arc::new(|event| panic!("{event:?}")),
        instance: "i-1".to_owned(),
        log_changes: None,
        replace_key: None,
    }
}

/// Events that a sink named `siem` sends, by their ids, and how far it is.
pub(crate) struct Run {
    pub store: Arc<dyn Store>,
    pub events: HashMap<String, Event>,
    status: Arc<Status>,
    event: fn(usize) -> Event,
    stop: CancellationToken,
    sender: JoinHandle<()>,
}

impl Run {
    /// A sender; `event` makes the event of each number.
    pub(crate) fn start(settings: &SinkSettings, event: fn(usize) -> Event) -> Self {
        let store: Arc<dyn Store> = Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap());
        let context = sink_context(store.clone());
        let sink = settings.open(&context).unwrap();
        let stop = CancellationToken::new();
        let status = Arc::new(Status::new(&settings.common().name, settings.common().kind));
        let sender = Sender::new(settings.common().clone(), sink, context, status.clone(), stop.clone());
        Self { store, events: HashMap::new(), status, event, stop, sender: tokio::spawn(sender.run()) }
    }

    /// Puts so many more into the log.
    pub(crate) async fn append(&mut self, count: usize) {
        let first = self.events.len();
        self.append_these((first..first + count).map(self.event).collect()).await;
    }

    /// Puts these into the log; their ids.
    pub(crate) async fn append_these(&mut self, events: Vec<Event>) -> Vec<String> {
        let made = self.store.append(&events).await.unwrap();
        let ids = made.iter().map(|event| event.id.clone()).collect();
        self.events.extend(made.into_iter().map(|event| (event.id.clone(), event)));
        ids
    }

    /// Waits until the sender is done with everything, as far as it knows.
    pub(crate) async fn all_sent(&self) {
        let end = self.store.log_end().await.unwrap();
        within(LONG, "the cursor is at the end", async || self.cursor().await.as_ref() == Some(&end)).await;
    }

    pub(crate) async fn cursor(&self) -> Option<LogPosition> {
        self.store.sink("siem").await.unwrap().and_then(|sink| sink.position)
    }

    pub(crate) fn error(&self) -> String {
        self.status.show(0).error.unwrap_or_default()
    }

    /// Stops it. What was in the log, and what was put aside.
    pub(crate) async fn finish(self) -> (HashMap<String, Event>, Vec<DeadLetter>) {
        self.stop.cancel();
        self.sender.await.unwrap();
        (self.events, self.store.dead_letters("siem").await.unwrap())
    }
}
