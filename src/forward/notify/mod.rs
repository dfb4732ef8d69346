//! Notices to people and to the tools that wake them: one file per channel, and one line in the list of sinks.
//!
//! A channel is a sink like any other, with the same cursor, lease and settings. Between the log and the channel stand
//! groups: `rule` says to which an event belongs, `group` is one, `groups` is all of a channel and says what is due, and
//! `notifier` is the sink that sends it. `message` words a notice; each channel puts the words into its own form.

mod alertmanager;
mod bucket;
mod email;
mod group;
mod groups;
mod hook;
mod message;
mod notice;
mod notifier;
mod pagerduty;
mod rule;
mod settings;
mod slack;
#[cfg(test)]
mod tests;

use futures::future::BoxFuture;

pub use alertmanager::Alertmanager;
pub use email::Email;
pub use hook::NotifyWebhook;
pub use notice::{Notice, Part, Sample, Told};
pub use pagerduty::PagerDuty;
pub use rule::{End, Hold};
pub(super) use rule::{is_end, rule};
pub use settings::{ChannelSettings, Grouping, read};
pub use slack::Slack;

use super::Failure;
use crate::domain::Millis;

/// How a kind of channel differs from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nature {
    /// It keeps what was told open until it is told that it is over: so it is, also when that is only that nothing more
    /// came, and never as part of a summary.
    pub closes: bool,
    /// It wants to know that somebody has seen it.
    pub acknowledges: bool,
    /// Most notices in one message.
    pub at_once: usize,
    /// It forgets what it is not told again so often, in milliseconds.
    pub renew: Option<Millis>,
}

impl Nature {
    /// For people to read.
    pub const READ: Self = Self { closes: false, acknowledges: false, at_once: 1, renew: None };
}

/// Sends notices.
pub trait Channel: Send + Sync {
    /// Sends these as one message; what was said to it, for people.
    fn tell<'a>(&'a mut self, notices: &'a [Notice], now: Millis) -> BoxFuture<'a, Result<String, Failure>>;
}
