//! What a kind of sink is to everything else: settings that open a sink, and a sink that sends batches.
//!
//! A sink is given the events to send, in order, and says what became of them. When to try again, what to do with an
//! event that is refused, and where to go on after a restart is decided in `delivery`, once for all sinks.

use std::{fmt::Debug, path::Path};

use futures::future::BoxFuture;

use super::{
    common::CommonSettings,
    context::SinkContext,
    error::{Problem, SendError},
};
use crate::{
    domain::{Millis, event::Event},
    settings::{SettingError, SettingErrors},
};

/// The settings of one kind of sink.
pub trait KindSettings: Debug + Send + Sync {
    /// Adds what is wrong with them, by themselves and together with the settings that every sink has.
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors);

    /// Opens a sink: reads secrets and files. Connects to nothing.
    ///
    /// # Errors
    /// The setting that cannot be used.
    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError>;

    /// Whether a sink could be opened, without leaving anything behind.
    ///
    /// # Errors
    /// As [`KindSettings::open`].
    fn probe(&self, common: &CommonSettings, context: &SinkContext) -> Result<(), SettingError> {
        self.open(common, context).map(drop)
    }

    /// The file that no other sink may write.
    fn file(&self) -> Option<&Path> {
        None
    }

    /// Events in a batch unless `batch` is set.
    fn batch(&self) -> usize {
        100
    }

    /// Whether it notifies people. Then it wants high and critical events unless `min_severity` is set, and always
    /// those that end what was notified.
    fn notifies(&self) -> bool {
        false
    }
}

/// Sends batches of events to one receiver.
pub trait Sink: Send + Sync {
    /// Sends these events, in their order. `Ok`: the receiver has them, but for those that it refused for good.
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>>;

    /// Takes up the state that an earlier sender left; empty for a new sink.
    fn restore(&mut self, _state: &[u8]) {}

    /// What the next sender must know. It is stored with the cursor.
    fn state(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Does what is due by now although no event came; called every second. Says whether [`Sink::state`] changed.
    fn tick(&mut self, _now: Millis) -> BoxFuture<'_, Result<bool, SendError>> {
        Box::pin(async { Ok(false) })
    }

    /// What went wrong at an earlier tick and is not over, although the last tick had nothing to do: the sink waits to
    /// try again, or has given something up.
    fn trouble(&self) -> Option<&Problem> {
        None
    }

    /// Ends in good order what is open; called when this instance stops sending.
    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Sends one event right now, to see what comes back.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<SendReport, SendError>> {
        self.send(std::slice::from_ref(event))
    }
}

/// What became of a batch that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SendReport {
    /// The indexes in the batch of events that will never be taken, and why.
    pub refused: Vec<(usize, String)>,
    /// What the receiver answered, for people.
    pub answer: String,
}

impl SendReport {
    /// Every event was taken.
    pub fn all_taken(answer: impl Into<String>) -> Self {
        Self { refused: Vec::new(), answer: answer.into() }
    }
}
