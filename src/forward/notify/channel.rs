//! What a channel is to everything else: how it differs from other channels, and how it sends.

use std::fmt::Debug;

use futures::future::BoxFuture;
use serde::de::DeserializeOwned;

use super::notice::Notice;
use crate::{
    domain::Millis,
    forward::{common::CommonSettings, error::SendError},
    settings::{SettingError, SettingErrors},
};

/// How a kind of channel differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelTraits {
    /// Whether the channel keeps an alert open until it hears that the alert is over. Then it hears so also when
    /// the reason is only that nothing more came, and never as part of a summary.
    pub closes: bool,
    /// Whether the channel wants to know that somebody has seen an alert.
    pub acknowledges: bool,
    /// Most notices in one message.
    pub max_notices: usize,
    /// How often the channel must hear of an alert that goes on, in milliseconds; `None`: once.
    pub renew_every: Option<Millis>,
}

impl ChannelTraits {
    /// A channel for people to read: each message stands for itself.
    pub const READ_BY_PEOPLE: Self =
        Self { closes: false, acknowledges: false, max_notices: 1, renew_every: None };
}

/// Sends notices to one receiver.
pub trait Channel: Send + Sync {
    /// Sends these notices as one message; returns what was answered, for people.
    fn send<'a>(&'a mut self, notices: &'a [Notice], now: Millis)
    -> BoxFuture<'a, Result<String, SendError>>;
}

/// The settings of one kind of channel.
pub trait ChannelSettings: Debug + Send + Sync + DeserializeOwned {
    /// How the kind differs from others.
    const TRAITS: ChannelTraits;

    /// Adds what is wrong with them, by themselves and together with the settings that every sink has.
    fn check(&self, _common: &CommonSettings, _errors: &mut SettingErrors) {}

    /// Opens a channel: reads secrets and files. Connects to nothing.
    ///
    /// # Errors
    /// The setting that cannot be used.
    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError>;
}
