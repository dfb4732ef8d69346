//! Notices to people and to the tools that wake them: one file per channel, and one line in the list of sinks.
//!
//! A channel is a sink like any other, with the same cursor, lease and settings. Between the log and the channel stand
//! groups. `rule` says to which group an event belongs, `group` is one group, `groups` is all of a channel and says
//! what is due. `notifier` is the sink that sends what is due, within `token_bucket`. `message` words a `notice`; each
//! `channel` puts the words into its own form.

mod alertmanager;
mod channel;
mod email;
mod group;
mod grouping;
mod groups;
mod message;
pub(super) mod notice;
mod notifier;
mod pagerduty;
pub(super) mod rule;
mod settings;
mod slack;
#[cfg(test)]
mod tests;
mod token_bucket;
mod webhook;

pub use alertmanager::Alertmanager;
pub use channel::{Channel, ChannelSettings, ChannelTraits};
pub use email::Email;
pub use grouping::Grouping;
pub use notice::{EventSample, HeldBackGroup, Notice, NoticeKind};
pub use pagerduty::PagerDuty;
pub use rule::{EndReason, Restriction};
pub use settings::read;
pub use slack::Slack;
pub use webhook::NotifyWebhook;
