//! What forwarding gets of the rest of the service.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    domain::{Millis, event::Event, key::Succession},
    store::{ForwardStore, StoreError},
};

/// Puts a key in the place of another: the name of the hook that says so, the old key and the new one. `None`: the new
/// one is no public id of a key.
type ReplaceKey = Arc<
    dyn Fn(String, (String, String)) -> BoxFuture<'static, Result<Option<Succession>, StoreError>>
        + Send
        + Sync,
>;

/// What forwarding gets of the rest of the service.
#[derive(Clone)]
pub struct SinkContext {
    /// Holds the log and the cursors.
    pub store: Arc<dyn ForwardStore>,
    /// Reads the clock: milliseconds since 1970.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Appends an event to the log, soon and without waiting.
    pub log_event: Arc<dyn Fn(Event) + Send + Sync>,
    /// Puts a key in the place of another; without it, a new key is only in the log.
    pub replace_key: Option<ReplaceKey>,
    /// The name of this instance, another one after each start.
    pub instance: String,
    /// Changes when events came into the log. Without it senders poll the log.
    pub log_changes: Option<watch::Receiver<u64>>,
}

#[cfg(test)]
impl SinkContext {
    /// For sinks that are only tried: over a store, at the beginning of time.
    pub(crate) fn of_tests(store: Arc<dyn ForwardStore>) -> Self {
        Self {
            store,
            now: Arc::new(|| 0),
            log_event: Arc::new(|_| {}),
            replace_key: None,
            instance: "test".to_owned(),
            log_changes: None,
        }
    }
}
