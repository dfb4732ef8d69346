//! Events on their way out: from the durable log to sinks (SIEMs, webhooks, files, people), at least once.
//!
//! Each sink has a cursor of its own in the store. One instance at a time sends for a sink, under a lease. It reads on
//! behind the cursor, sends a batch, and only then moves the cursor. Nothing on the way of a request knows of any of
//! this: events reach the log whether there are sinks or not.
//!
//! - `settings` is one sink as the configuration has it, `common` what every sink has, `secret` where its secrets are.
//! - `contract` is what a kind of sink must do, `error` what it may say.
//! - `sink/` holds one file per kind of sink and the list of kinds, `notify/` those that notify people, `format/` the
//!   formats.
//! - `delivery/` is the loop that all sinks share; `forwarder` starts it, `status` shows how it goes; `trial` tries a
//!   sink out beside it.
//!
//! Connections are made in `outbound`, which keeps them to allowed addresses.

mod common;
mod context;
mod contract;
mod delivery;
mod error;
mod filter;
pub mod format;
mod forwarder;
mod http;
pub mod notify;
mod retry;
mod secret;
mod settings;
mod signer;
mod sink;
mod status;
#[cfg(test)]
mod tests;
mod trial;

pub use common::{CommonSettings, StartAt};
pub use context::SinkContext;
pub use contract::{KindSettings, SendReport, Sink};
pub use delivery::{LEASE, Sender};
pub use error::{Problem, SendError, SendErrorKind};
pub use filter::Filter;
pub use forwarder::{Forwarder, Statuses};
pub use secret::{Secret, UrlSource};
pub use settings::SinkSettings;
pub use sink::{KINDS, Kind};
pub use status::{SinkStatus, Status};
pub use trial::{TrialError, Trials, test_event, try_sink};
