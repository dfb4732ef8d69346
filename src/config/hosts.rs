//! The hosts that the service answers to: `server.hosts`, and what holds where that list is empty.
//!
//! A web page whose own name leads to this machine (DNS rebinding) is, for its browser, a page of this service. Only
//! the name itself tells it apart. So a service that trusts whoever reaches it answers to names alone that no stranger
//! can own: those of the loopback interface.

use std::{
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::Server;

/// Longest host name (RFC 1035, section 2.3.4), in bytes.
const MAX_NAME: usize = 253;

/// A host as a URL or a `Host` header names it, without its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name in lower case, without the dot that may end it.
    Name(String),
    /// An address; one that maps IPv4 into IPv6 is kept as IPv4.
    Address(IpAddr),
}

impl Host {
    /// Reads a host in the form of RFC 3986: an IPv6 address stands in brackets. `None` where it is no host, such as an
    /// empty one, one with a user, or one with a zone.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_name = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain);
        is_name.then(|| Self::Name(name.to_ascii_lowercase()))
    }

    /// Whether no stranger can make it lead elsewhere: 127.0.0.0/8, `::1`, `localhost` and what is below it (RFC 6761).
    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Address(address) => address.is_loopback(),
        }
    }

    /// Whether it is `0.0.0.0` or `[::]`, which name every interface and no service. Browsers lead them to this
    /// machine.
    fn is_unspecified(&self) -> bool {
        matches!(self, Self::Address(address) if address.is_unspecified())
    }
}

/// One entry of `server.hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Every host; written `*`.
    Any,
    /// This host and no other.
    Only(Host),
    /// `*.name`: every name that ends with a dot and this name, but not the name itself.
    Below(String),
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare: Option<Ipv6Addr> = text.parse().ok();
        let text = bare.map_or_else(|| text.to_owned(), |address| format!("[{address}]"));
        let (wild, rest) = text.strip_prefix("*.").map_or((false, text.as_str()), |rest| (true, rest));
        match Host::parse(rest) {
            None if text == "*" => Ok(Self::Any),
            Some(Host::Name(name)) if wild => Ok(Self::Below(name)),
            Some(host) if !wild && !host.is_unspecified() => Ok(Self::Only(host)),
            _ => Err(Self::FORM.to_owned()),
        }
    }
}

impl HostPattern {
    /// What an entry must be, as an error says it.
    pub(super) const FORM: &str = "must be a host name, *.name for all names below one, an IP address or \"*\", \
                                   without a scheme and without a port (0.0.0.0 and [::] are none)";

    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Only(only), host) => only == host,
            (Self::Below(parent), Host::Name(name)) => {
                name.strip_suffix(parent.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Self::Below(_), Host::Address(_)) => false,
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        match pattern {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Below(name) => format!("*.{name}"),
            HostPattern::Only(Host::Name(name)) => name,
            HostPattern::Only(Host::Address(address)) => address.to_string(),
        }
    }
}

/// The hosts that the service answers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedHosts {
    /// Names and addresses of the loopback interface.
    Loopback,
    /// Every host but `0.0.0.0` and `[::]`.
    Any,
    /// Those that an entry of the list matches.
    Listed(Vec<HostPattern>),
}

impl AllowedHosts {
    /// The configured list; without one, loopback names where all of the API is on loopback, else any host.
    pub fn new(server: &Server) -> Self {
        let admin_is_local = server.admin_address().is_none_or(|address| address.ip().is_loopback());
        match (server.hosts.is_empty(), admin_is_local && server.listen.ip().is_loopback()) {
            (false, _) => Self::Listed(server.hosts.clone()),
            (true, true) => Self::Loopback,
            (true, false) => Self::Any,
        }
    }

    /// Whether the service answers to this host.
    pub fn contains(&self, host: &Host) -> bool {
        !host.is_unspecified()
            && match self {
                Self::Loopback => host.is_loopback(),
                Self::Any => true,
                Self::Listed(patterns) => patterns.iter().any(|pattern| pattern.matches(host)),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap_or_else(|| panic!("{text} is a host"))
    }

    fn listed(entries: &[&str]) -> AllowedHosts {
        AllowedHosts::Listed(entries.iter().map(|entry| entry.parse().unwrap()).collect())
    }

    #[test]
    fn loopback_names_are_those_that_no_stranger_can_own() {
        for text in [
            "localhost",
            "LocalHost",
            "localhost.",
            "keyward.localhost",
            "127.0.0.1",
            "127.8.9.10",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(AllowedHosts::Loopback.contains(&host(text)), "{text}");
        }
        for text in [
            "evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "0.0.0.0",
            "[::]",
            "[::ffff:0.0.0.0]",
            "128.0.0.1",
            "127.1",
            "0",
            "2130706433",
            "192.168.0.1",
            "[fe80::1]",
        ] {
            assert!(!AllowedHosts::Loopback.contains(&host(text)), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_not_read() {
        for text in [
            "",
            ".",
            "a b",
            "user@localhost",
            "::1",
            "[::1",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "a/b",
            "ü",
            "*",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
        assert_eq!(Host::parse(&"a".repeat(254)), None);
    }

    #[test]
    fn a_list_names_hosts_one_by_one_or_all_below_a_name() {
        let hosts = listed(&["Keyward.Example", "*.internal", "10.0.0.9", "2001:db8::1", "[2001:db8::2]"]);
        for text in [
            "keyward.example",
            "KEYWARD.example.",
            "a.internal",
            "a.b.internal",
            "10.0.0.9",
            "[2001:db8::1]",
            "[2001:db8::2]",
        ] {
            assert!(hosts.contains(&host(text)), "{text}");
        }
        for text in
            ["localhost", "127.0.0.1", "x.keyward.example", "internal", "evilinternal", "10.0.0.8", "[::1]"]
        {
            assert!(!hosts.contains(&host(text)), "{text}");
        }
    }

    #[test]
    fn any_host_is_any_but_the_one_that_names_every_interface() {
        for hosts in [AllowedHosts::Any, listed(&["*"])] {
            assert!(hosts.contains(&host("evil.example")) && hosts.contains(&host("10.0.0.1")));
            assert!(!hosts.contains(&host("0.0.0.0")) && !hosts.contains(&host("[::]")));
        }
    }

    #[test]
    fn entries_are_written_as_they_are_read() {
        for text in ["*", "*.internal", "keyward.example", "10.0.0.9", "2001:db8::1"] {
            let pattern: HostPattern = text.parse().unwrap();
            assert_eq!(String::from(pattern), text);
        }
        for text in
            ["", "http://a", "a:8080", "*.", "*.10.0.0.1", "a.*", "0.0.0.0", "::", "[::]", "10.0.0.0/8"]
        {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn without_a_list_it_depends_on_where_the_service_listens() {
        let config = crate::config::Config::load(&crate::config::Sources::default()).unwrap();
        let on = |listen: &str| Server { listen: listen.parse().unwrap(), ..config.server.clone() };
        assert_eq!(AllowedHosts::new(&on("127.0.0.1:8080")), AllowedHosts::Loopback);
        assert_eq!(AllowedHosts::new(&on("[::1]:8080")), AllowedHosts::Loopback);
        for elsewhere in ["0.0.0.0:8080", "[::]:8080", "10.0.0.1:8080"] {
            assert_eq!(AllowedHosts::new(&on(elsewhere)), AllowedHosts::Any);
        }
        let both = |listen: &str, admin: &str| Server { admin_listen: admin.to_owned(), ..on(listen) };
        assert_eq!(AllowedHosts::new(&both("127.0.0.1:8080", "[::1]:9")), AllowedHosts::Loopback);
        for (listen, admin) in [("127.0.0.1:8080", "10.0.0.1:9"), ("10.0.0.1:8080", "127.0.0.1:9")] {
            assert_eq!(AllowedHosts::new(&both(listen, admin)), AllowedHosts::Any, "{listen} {admin}");
        }
        let named = Server { hosts: vec![HostPattern::Any], ..on("127.0.0.1:8080") };
        assert_eq!(AllowedHosts::new(&named), listed(&["*"]));
    }
}
