//! Trying a sink out: one event through a sink that is opened for it alone, beside the one that sends. What is sent for
//! real, its cursor and its state are left as they are.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::{context::SinkContext, contract::Sink, error::SendError, settings::SinkSettings};
use crate::{
    clock,
    domain::{
        Millis,
        actor::Actor,
        event::{Event, EventType, SinkTest},
        finding::Severity,
    },
    settings::SettingError,
};

/// How long a sink may take to end in good order once it was tried.
const CLOSE: Duration = Duration::from_secs(2);

/// Why a test event was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// The sink cannot be opened: a secret or a file is missing.
    #[error("{0}")]
    Setting(Box<SettingError>),
    /// The receiver did not take it, or was not reached.
    #[error("{0}")]
    Send(#[from] SendError),
    /// The receiver will never take it.
    #[error("the test event was refused: {0}")]
    Refused(String),
    /// Nothing came back in the time that a delivery may take.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// The trial ended by a mistake in this program.
    #[error("the trial ended badly; it is in the service's log")]
    Ended,
}

/// The event that tries a sink: what it is in a sentence, who tries it, and when.
pub fn test_event(summary: &str, by: &Actor, now: Millis) -> Event {
    let details = SinkTest { summary: summary.to_owned(), by: by.clone() };
    let event = Event::new(now, EventType::SinkTest, Severity::Low, None);
    Event { id: format!("test-{now}"), detector: Some("forward".to_owned()), ..event.with(&details) }
}

/// Sends one event through a sink that is opened for it, and returns what the receiver answered.
///
/// # Errors
/// Why it was not delivered.
pub async fn try_sink(
    settings: &SinkSettings,
    context: &SinkContext,
    event: &Event,
) -> Result<String, TrialError> {
    let mut sink = settings.open(context).map_err(|error| TrialError::Setting(Box::new(error)))?;
    let tried = send(&mut *sink, settings.common().timeout(), event).await;
    let _ = clock::timeout(CLOSE, sink.close()).await;
    tried
}

async fn send(sink: &mut dyn Sink, limit: Duration, event: &Event) -> Result<String, TrialError> {
    let sent = clock::timeout(limit, sink.test(event)).await.map_err(|_| TrialError::Late(limit))?;
    let report = sent?;
    match report.refused.into_iter().next() {
        Some((_, why)) => Err(TrialError::Refused(why)),
        None => Ok(report.answer),
    }
}

/// The sinks that can be tried: those that are sent to now.
#[derive(Clone, Default)]
pub struct Trials {
    sinks: Arc<ArcSwap<Vec<SinkSettings>>>,
    /// `None`: there are no sinks to open.
    context: Option<SinkContext>,
}

impl Trials {
    /// Sinks that can be tried, and what they get of the rest of the service.
    pub fn new(sinks: &[SinkSettings], context: &SinkContext) -> Self {
        Self { sinks: Arc::new(ArcSwap::from_pointee(sinks.to_vec())), context: Some(context.clone()) }
    }

    /// From now on these can be tried, and no others.
    pub(super) fn replace(&self, sinks: &[SinkSettings]) {
        self.sinks.store(Arc::new(sinks.to_vec()));
    }

    /// Tries the sink of that name, also when nobody waits for it any more: what was opened at the receiver is closed
    /// again. `None`: there is no such sink.
    pub async fn send(&self, name: &str, event: Event) -> Option<Result<String, TrialError>> {
        let context = self.context.clone()?;
        let settings = self.sinks.load().iter().find(|sink| sink.common().name == name).cloned()?;
        let trial = tokio::spawn(async move { try_sink(&settings, &context, &event).await });
        Some(trial.await.unwrap_or_else(|error| {
            tracing::error!(sink = name, %error, "a trial of a sink has ended badly");
            Err(TrialError::Ended)
        }))
    }
}
