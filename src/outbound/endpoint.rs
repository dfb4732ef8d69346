//! Where the receiver is: a host and a port, and the addresses behind them that may be sent to.

use std::net::{IpAddr, SocketAddr};

use crate::forward::{Failure, Guard};

/// The way to a receiver.
#[derive(Debug, Clone)]
pub struct Route {
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    guard: Guard,
}

impl Route {
    /// Reads `host`, `host:port`, `IPv6`, `[IPv6]` or `[IPv6]:port` from a setting.
    ///
    /// # Errors
    /// The setting and the hint.
    pub fn parse(
        setting: &'static str,
        text: &str,
        default: u16,
        guard: Guard,
    ) -> Result<Self, (&'static str, String)> {
        let wrong = || {
            let hint = "must be host or host:port, such as host.example:PORT or [2001:db8::1]:PORT";
            (setting, hint.replace("PORT", &default.to_string()))
        };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(wrong)?) })
            }
            None if text.parse::<IpAddr>().is_ok() => (text, None),
            None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default), |port| port.parse()).map_err(|_| wrong())?;
        Self::to(host, port, guard).ok_or_else(wrong)
    }

    /// To a name or an address, without brackets; `None` if it is neither.
    pub fn to(host: &str, port: u16, guard: Guard) -> Option<Self> {
        let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        let is_meant = port != 0 && !host.is_empty() && (is_name(host) || host.parse::<IpAddr>().is_ok());
        is_meant.then(|| Self { host: host.to_owned(), port, guard })
    }

    /// What can be known without asking for addresses.
    ///
    /// # Errors
    /// Why it may not be connected to.
    pub fn check(&self) -> Result<(), String> {
        match self.host.parse() {
            Ok(address) => self.guard.check(address).map_err(|why| format!("is not allowed: {why}")),
            Err(_) => Ok(()),
        }
    }

    /// The addresses that may be sent to now, at least one.
    ///
    /// # Errors
    /// When there is none.
    pub async fn addresses(&self) -> Result<Vec<SocketAddr>, Failure> {
        let host = &self.host;
        let found = tokio::net::lookup_host((host.as_str(), self.port)).await;
        let found = found.map_err(|error| Failure::Unreachable(format!("{host} is not found: {error}")))?;
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found {
            match self.guard.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(why) => Err(Failure::Denied(why)),
            None => Err(Failure::Unreachable(format!("{host} has no address"))),
        }
    }
}
