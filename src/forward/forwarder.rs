//! Starts a sender for each sink, and starts it again should it end by a mistake in this program. Other sinks may take
//! the place of those that are sent to, while the others go on.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    context::SinkContext, contract::Sink, delivery::Sender, error::Problem, settings::SinkSettings,
    status::Status, trial::Trials,
};
use crate::{clock, settings::SettingErrors};

/// How long to wait before a sender that ended badly is started again.
const RESTART_AFTER: Duration = Duration::from_secs(5);

/// How every sink is doing, as this instance knows it: those that are sent to now.
#[derive(Debug, Clone, Default)]
pub struct Statuses(Arc<ArcSwap<Vec<Arc<Status>>>>);

impl Statuses {
    /// One of each sink, in the order of the settings.
    pub fn list(&self) -> Arc<Vec<Arc<Status>>> {
        self.0.load_full()
    }
}

impl From<Vec<Arc<Status>>> for Statuses {
    fn from(statuses: Vec<Arc<Status>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(statuses)))
    }
}

/// The sinks that are sent to.
pub struct Forwarder {
    context: SinkContext,
    stop: CancellationToken,
    statuses: Statuses,
    trials: Trials,
    sending: Mutex<Vec<Sending>>,
}

/// A sink that is sent to.
struct Sending {
    settings: SinkSettings,
    status: Arc<Status>,
    stop: CancellationToken,
    sender: JoinHandle<()>,
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
        let sending =
            opened.into_iter().map(|(settings, sink)| Sending::start(settings, Some(sink), context, stop));
        let sending: Vec<Sending> = sending.collect();
        let statuses = sending.iter().map(|sending| sending.status.clone()).collect::<Vec<_>>().into();
        let trials = Trials::new(sinks, context);
        let (context, stop) = (context.clone(), stop.clone());
        Ok(Self { context, stop, statuses, trials, sending: Mutex::new(sending) })
    }

    /// How every sink is doing, as this instance knows it.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// The sinks that are sent to, to be tried out.
    pub fn trials(&self) -> Trials {
        self.trials.clone()
    }

    /// Whether each of these sinks is sent to, or could be. Leaves nothing behind.
    ///
    /// # Errors
    /// Every sink that could not be opened.
    pub async fn check(&self, sinks: &[SinkSettings]) -> Result<(), SettingErrors> {
        let sending = self.sending.lock().await;
        let mut errors = SettingErrors::default();
        let new =
            sinks.iter().filter(|settings| !sending.iter().any(|sending| sending.settings.is_same(settings)));
        for settings in new {
            errors.check(settings.probe(&self.context));
        }
        errors.finish(Ok::<_, SettingErrors>(()))
    }

    /// Sends to these sinks and no others from now on. Those that are as they were go on. A sink that cannot be opened
    /// is tried again, and its status says why.
    pub async fn replace(&self, sinks: &[SinkSettings]) {
        let mut sending = self.sending.lock().await;
        let is_wanted = |sending: &Sending| sinks.iter().any(|settings| sending.settings.is_same(settings));
        let (mut kept, gone): (Vec<_>, Vec<_>) = sending.drain(..).partition(is_wanted);
        gone.iter().for_each(|sending| sending.stop.cancel());
        for Sending { sender, .. } in gone {
            ended(sender).await;
        }
        for settings in sinks {
            let place = kept.iter().position(|sending| sending.settings.is_same(settings));
            sending.push(match place {
                Some(place) => kept.swap_remove(place),
                None => Sending::start(settings, None, &self.context, &self.stop),
            });
        }
        let statuses = sending.iter().map(|sending| sending.status.clone()).collect();
        self.statuses.0.store(Arc::new(statuses));
        self.trials.replace(sinks);
    }

    /// Waits until every sender has left its sink. `stop` must have been cancelled.
    pub async fn finish(&self) {
        for Sending { sender, .. } in self.sending.lock().await.drain(..) {
            ended(sender).await;
        }
    }
}

impl Sending {
    /// Begins to send to a sink, which is opened where it is not yet.
    fn start(
        settings: &SinkSettings,
        sink: Option<Box<dyn Sink>>,
        context: &SinkContext,
        stop: &CancellationToken,
    ) -> Self {
        let status = Arc::new(Status::new(&settings.common().name, settings.common().kind));
        let stop = stop.child_token();
        let keeping = keep_sending(settings.clone(), sink, context.clone(), status.clone(), stop.clone());
        Self { settings: settings.clone(), status, stop, sender: tokio::spawn(keeping) }
    }
}

async fn ended(sender: JoinHandle<()>) {
    if let Err(error) = sender.await {
        tracing::error!(%error, "a sender has ended badly");
    }
}

/// Sends for a sink until `stop`, however often its sender ends badly.
async fn keep_sending(
    settings: SinkSettings,
    mut sink: Option<Box<dyn Sink>>,
    context: SinkContext,
    status: Arc<Status>,
    stop: CancellationToken,
) {
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
