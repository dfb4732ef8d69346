//! Starts a sender for each sink, and starts it again should it end by a mistake in this program.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    context::SinkContext, contract::Sink, delivery::Sender, error::Problem, settings::SinkSettings,
    status::Status,
};
use crate::{clock, settings::SettingErrors};

/// How long to wait before a sender that ended badly is started again.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// The sinks that are sent to.
pub struct Forwarder {
    statuses: Vec<Arc<Status>>,
    senders: Vec<JoinHandle<()>>,
}

impl Forwarder {
    /// Opens every sink and begins to send. Nothing is sent unless every sink can be opened.
    ///
    /// # Errors
    /// Every sink that cannot be opened: a secret that is missing, a file that cannot be written.
    pub fn start(
        sinks: &[SinkSettings],
        context: &SinkContext,
        stop: &CancellationToken,
    ) -> Result<Self, SettingErrors> {
        let (mut opened, mut errors) = (Vec::with_capacity(sinks.len()), SettingErrors::default());
        for settings in sinks {
            opened.extend(errors.take(settings.open(context)).map(|sink| (settings, sink)));
        }
        let opened = errors.finish(Ok::<_, SettingErrors>(opened))?;
        let (mut statuses, mut senders) = (Vec::new(), Vec::new());
        for (settings, sink) in opened {
            let status = Arc::new(Status::new(&settings.common().name, settings.common().kind));
            statuses.push(status.clone());
            let sending = keep_sending(settings.clone(), sink, context.clone(), status, stop.clone());
            senders.push(tokio::spawn(sending));
        }
        Ok(Self { statuses, senders })
    }

    /// How every sink is doing, as this instance knows it.
    pub fn statuses(&self) -> Vec<Arc<Status>> {
        self.statuses.clone()
    }

    /// Waits until every sender has left its sink. `stop` must have been cancelled.
    pub async fn finish(self) {
        for sender in self.senders {
            if let Err(error) = sender.await {
                tracing::error!(%error, "a sender has ended badly");
            }
        }
    }
}

/// Sends for a sink until `stop`, however often its sender ends badly.
async fn keep_sending(
    settings: SinkSettings,
    sink: Box<dyn Sink>,
    context: SinkContext,
    status: Arc<Status>,
    stop: CancellationToken,
) {
    let mut sink = Some(sink);
    while !stop.is_cancelled() {
        let opened = sink.take().map_or_else(|| settings.open(&context), Ok);
        match opened {
            Ok(sink) => {
                let common = settings.common().clone();
                let sender = Sender::new(common, sink, context.clone(), status.clone(), stop.clone());
                let Err(error) = tokio::spawn(sender.run()).await else { return };
                tracing::error!(sink = settings.common().name, %error, "a sender has ended badly; it begins again");
                show_down(&status, &Problem::new("its sender ended badly"));
            }
            Err(error) => show_down(&status, &Problem::new(error.to_string())),
        }
        let _ = clock::timeout(RESTART_AFTER, stop.cancelled()).await;
    }
}

/// Shows that nobody sends here for now.
fn show_down(status: &Status, problem: &Problem) {
    status.leads(false);
    status.failed(problem);
}
