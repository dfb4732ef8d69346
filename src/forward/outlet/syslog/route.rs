//! Where the receiver is: a host and a port, and the addresses behind them that may be sent to.

use std::net::{IpAddr, SocketAddr};

use crate::forward::{Failure, Guard};

/// The way to a receiver.
#[derive(Debug, Clone)]
pub struct Route {
    /// A name or an address, without brackets.
    pub host: String,
    port: u16,
    guard: Guard,
}

impl Route {
    /// Reads `host`, `host:port`, `IPv6`, `[IPv6]` or `[IPv6]:port`.
    ///
    /// # Errors
    /// The setting and the mend.
    pub fn parse(text: &str, default: u16, guard: Guard) -> Result<Self, (&'static str, String)> {
        let wrong = || {
            (
                "address",
                "must be host or host:port, such as logs.example:6514 or [2001:db8::1]:6514".to_owned(),
            )
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
        let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if port == 0 || host.is_empty() || !(is_name(host) || host.parse::<IpAddr>().is_ok()) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port, guard })
    }

    /// What can be known without asking for addresses.
    ///
    /// # Errors
    /// The setting and the mend.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if let Ok(address) = self.host.parse() {
            self.guard.check(address).map_err(|why| ("address", format!("is not allowed: {why}")))?;
        }
        if self.guard.plaintext && self.guard.networks.is_empty() {
            let mend = "must be \"tls\": udp and tcp are for networks that allow_networks names";
            return Err(("transport", mend.to_owned()));
        }
        Ok(())
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
