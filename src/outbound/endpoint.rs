//! Where another service listens: a host and a port, and the addresses behind them that may be connected to.

use std::net::{IpAddr, SocketAddr};

use super::{error::OutboundError, guard::AddressGuard};
use crate::settings::SettingError;

/// The host and the port of another service.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port that the service listens on, from 1.
    pub port: u16,
    guard: AddressGuard,
}

impl Endpoint {
    /// Reads `host`, `host:port`, `IPv6`, `[IPv6]` or `[IPv6]:port` from a setting.
    ///
    /// # Errors
    /// The setting, if `text` is none of these.
    pub fn parse(
        setting: &'static str,
        text: &str,
        default_port: u16,
        guard: AddressGuard,
    ) -> Result<Self, SettingError> {
        let wrong = || {
            let hint = "must be host or host:port, such as host.example:PORT or [2001:db8::1]:PORT";
            SettingError::new(setting, hint.replace("PORT", &default_port.to_string()))
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None if text.parse::<IpAddr>().is_ok() => (text, None),
            None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default_port), |port| port.parse()).map_err(|_| wrong())?;
        Self::new(host, port, guard).ok_or_else(wrong)
    }

    /// A name or an address, without brackets, and a port; `None` if the host is neither.
    pub fn new(host: &str, port: u16, guard: AddressGuard) -> Option<Self> {
        let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let is_meant = port != 0 && !host.is_empty() && (is_name(host) || host.parse::<IpAddr>().is_ok());
        is_meant.then(|| Self { host: host.to_owned(), port, guard })
    }

    /// Checks what can be known without resolving the host.
    ///
    /// # Errors
    /// The setting, if the host is an address that may not be connected to.
    pub fn check(&self, setting: &'static str) -> Result<(), SettingError> {
        let Ok(address) = self.host.parse() else { return Ok(()) };
        self.guard.check(address).map_err(|why| SettingError::new(setting, "is not allowed").because(why))
    }

    /// The addresses behind the host that may be connected to now, at least one.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, OutboundError> {
        let host = || self.host.clone();
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found = found.map_err(|source| OutboundError::NotFound { host: host(), source })?;
        let allowed = self.guard.filter(found)?;
        if allowed.is_empty() { Err(OutboundError::NoAddress { host: host() }) } else { Ok(allowed) }
    }
}
