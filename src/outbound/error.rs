//! Why another service was not reached.

use std::{error::Error, io, net::SocketAddr, time::Duration};

use super::guard::AddressNotAllowed;

/// Why another service was not reached. The message leaves out the source, which says the rest.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The guard does not allow the address.
    #[error(transparent)]
    NotAllowed(#[from] AddressNotAllowed),
    /// Either side does not trust the other's certificate.
    #[error("no TLS with the receiver")]
    NotTrusted(#[source] io::Error),
    /// The connection broke after it was made.
    #[error(transparent)]
    Broken(io::Error),
    /// Nobody answers at the address.
    #[error("{address}")]
    NotConnected {
        /// The address that was tried.
        address: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The address did not answer in time.
    #[error("{address}: no answer within {} s", limit.as_secs())]
    TimedOut {
        /// The address that was tried.
        address: SocketAddr,
        /// How long it had to answer.
        limit: Duration,
    },
    /// The name cannot be resolved.
    #[error("{host} is not found")]
    NotFound {
        /// The name that was looked up.
        host: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The name has no address.
    #[error("{host} has no address")]
    NoAddress {
        /// The name that was looked up.
        host: String,
    },
    /// No authority that is trusted has signed the certificate.
    #[error("{host}: name the authority of its certificate in ca_file")]
    UnknownIssuer {
        /// The host and its port.
        host: String,
        /// The error of the HTTP library, without the URL.
        source: reqwest::Error,
    },
    /// An HTTP request was not answered.
    #[error("{host}")]
    Http {
        /// The host and its port.
        host: String,
        /// The error of the HTTP library, without the URL.
        source: reqwest::Error,
    },
}

/// Whether a service of HTTP/2 says that it did nothing with the request: it refused the stream, or the connection
/// ended for no error.
fn is_not_taken(error: &h2::Error) -> bool {
    let is_end = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (is_end || (error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM)))
}

impl OutboundError {
    /// Whether no connection was made, so that nothing was sent.
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Http { source, .. } | Self::UnknownIssuer { source, .. } => source.is_connect(),
            Self::NotTrusted(_) | Self::Broken(_) => false,
            _ => true,
        }
    }

    /// Whether the service has not taken the request: no connection was made, or one of HTTP/2 ended before.
    pub fn is_unsent(&self) -> bool {
        let Self::Http { source, .. } = self else { return self.is_connect() };
        let mut cause: Option<&(dyn Error + 'static)> = Some(source);
        while let Some(error) = cause {
            if error.downcast_ref::<h2::Error>().is_some_and(is_not_taken) {
                return true;
            }
            cause = error.source();
        }
        self.is_connect()
    }

    /// An error on a connection that was made, with or without TLS.
    pub fn of_connection(error: io::Error) -> Self {
        match tls_error(&error) {
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_)) => {
                Self::NotTrusted(error)
            }
            _ => Self::Broken(error),
        }
    }

    /// An error of an HTTP request to `host`. The URL, which may hold a secret, is dropped.
    pub(super) fn of_http(host: &str, error: reqwest::Error) -> Self {
        let (host, source) = (host.to_owned(), error.without_url());
        if has_unknown_issuer(&source) {
            Self::UnknownIssuer { host, source }
        } else {
            Self::Http { host, source }
        }
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn has_unknown_issuer(error: &(dyn Error + 'static)) -> bool {
    let issuer = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let mut cause = Some(error);
    while let Some(error) = cause {
        // An `io::Error` leaves what is in it out of the chain.
        let inner = error.downcast_ref::<io::Error>().and_then(tls_error);
        if inner.or_else(|| error.downcast_ref()).is_some_and(|error| *error == issuer) {
            return true;
        }
        cause = error.source();
    }
    false
}
