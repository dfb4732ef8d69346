//! What forwarding gets of the rest of the service.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    domain::{Millis, event::Event},
    store::ForwardStore,
};

/// What forwarding gets of the rest of the service.
#[derive(Clone)]
pub struct SinkContext {
    /// Holds the log and the cursors.
    pub store: Arc<dyn ForwardStore>,
    /// Reads the clock: milliseconds since 1970.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Appends an event to the log, soon and without waiting.
    pub log_event: Arc<dyn Fn(Event) + Send + Sync>,
    /// The name of this instance, another one after each start.
    pub instance: String,
    /// Changes when events came into the log. Without it senders poll the log.
    pub log_changes: Option<watch::Receiver<u64>>,
}
