//! Events on their way out: from the durable log to sinks (SIEMs, webhooks, files, people), at least once.
//!
//! Each sink has a cursor of its own in the store. One instance at a time sends for a sink, under a lease; it reads on
//! behind the cursor, sends a batch, and only then moves the cursor. Nothing on the way of a request knows of any of
//! this: events reach the log whether sinks are there or not.
//!
//! `settings` says what a sink is, `outlet` holds one file per kind of sink, `notify` those that tell people, `sender` is
//! the loop that all share, `lead` its lease, `guard`, `client` and `reach` keep what is sent to addresses that are allowed.

mod attempt;
mod backoff;
mod client;
mod filter;
pub mod format;
mod guard;
mod lead;
mod news;
pub mod notify;
mod outlet;
mod reach;
mod redelivery;
mod secret;
mod sender;
mod settings;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use client::{Answer, HttpClient};
pub use filter::Filter;
pub use guard::Guard;
pub use lead::LEASE;
pub use outlet::{Failure, KINDS, Outlet, OutletSettings, Sent};
pub use secret::{Place, Secret};
pub use sender::Sender;
pub use settings::{Common, SettingError, SinkSettings, Start};
pub use status::{SinkStatus, Status};

use crate::{
    domain::{Millis, event::Event},
    store::ForwardStore,
};

/// After a sender ended badly.
const RESTART: std::time::Duration = std::time::Duration::from_secs(5);

/// What forwarding needs of the rest of the service.
#[derive(Clone)]
pub struct Surroundings {
    /// Where the log and the cursors are.
    pub store: Arc<dyn ForwardStore>,
    /// The time.
    pub now: Arc<dyn Fn() -> Millis + Send + Sync>,
    /// Puts an event into the log.
    pub tell: Arc<dyn Fn(Event) + Send + Sync>,
    /// The name of this instance while it runs.
    pub instance: String,
    /// Changes when events came into the log; without it the log is looked at again and again.
    pub news: Option<watch::Receiver<u64>>,
}

/// Sinks that are sent to.
pub struct Forwarder {
    statuses: Vec<Arc<Status>>,
    senders: Vec<JoinHandle<()>>,
}

impl Forwarder {
    /// Opens every sink and begins to send.
    ///
    /// # Errors
    /// The first sink that cannot be opened: a secret that is missing, a file that cannot be written.
    pub fn start(
        sinks: &[SinkSettings],
        surroundings: &Surroundings,
        stop: &CancellationToken,
    ) -> Result<Self, SettingError> {
        let mut opened = Vec::with_capacity(sinks.len());
        for sink in sinks {
            opened.push((sink, sink.open(surroundings)?));
        }
        let (mut statuses, mut senders) = (Vec::new(), Vec::new());
        for (sink, outlet) in opened {
            let status = Arc::new(Status::new(&sink.common().name, sink.common().kind));
            statuses.push(status.clone());
            senders.push(tokio::spawn(keep_sending(
                sink.clone(),
                outlet,
                surroundings.clone(),
                status,
                stop.clone(),
            )));
        }
        Ok(Self { statuses, senders })
    }

    /// How every sink is doing, as this instance knows it.
    pub fn statuses(&self) -> Vec<Arc<Status>> {
        self.statuses.clone()
    }

    /// Waits until every sender has left its sink; `stop` was cancelled before.
    pub async fn finish(self) {
        for sender in self.senders {
            if let Err(error) = sender.await {
                tracing::error!(%error, "a sender has ended badly");
            }
        }
    }
}

/// Sends; and begins again where a sender ended by a mistake in this program, which must not end the sink.
async fn keep_sending(
    sink: SinkSettings,
    outlet: Box<dyn Outlet>,
    around: Surroundings,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    let mut outlet = Some(outlet);
    while !stop.is_cancelled() {
        let opened = outlet.take().map_or_else(|| sink.open(&around), Ok);
        match opened {
            Ok(outlet) => {
                let common = sink.common().clone();
                let sender = Sender::new(common, outlet, around.clone(), status.clone(), stop.clone());
                let Err(error) = tokio::spawn(sender.run()).await else { return };
                tracing::error!(sink = sink.common().name, %error, "a sender has ended badly; it begins again");
                show_down(&status, "its sender ended badly");
            }
            Err(error) => show_down(&status, &error.to_string()),
        }
        let _ = tokio::time::timeout(RESTART, stop.cancelled()).await;
    }
}

/// Nobody sends here for now.
fn show_down(status: &Status, why: &str) {
    status.leads(false);
    status.failed(why);
}
