//! Connections to other services: to allowed addresses only, with bounded times and answers.
//!
//! A URL in the settings, or a name in the DNS, can lead to an address that nobody meant: the machine itself, a
//! private network, the metadata of a cloud. So every address is checked by the [`AddressGuard`] when it is connected
//! to. HTTP goes through the [`HttpClient`], or the [`StreamClient`] where an answer is read as it comes,
//! everything else through an [`Endpoint`].
//!
//! What an answer means for whoever asked is not said here: `forward` says it for a batch of events.

mod client;
mod endpoint;
mod error;
mod guard;
mod redact;
mod response;
mod settings;
mod streaming;
mod tcp;
mod tls;

pub use client::{HttpClient, check_url};
pub use endpoint::Endpoint;
pub use error::OutboundError;
pub use guard::{AddressGuard, AddressNotAllowed};
pub use redact::MIN_SECRET;
pub use response::HttpResponse;
pub use settings::OutboundSettings;
pub use streaming::{StreamClient, StreamResponse};
pub use tcp::{ByteStream, connect};
pub use tls::{TlsClient, TlsContext, server_name};
