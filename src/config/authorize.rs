//! `[authorize]`, `server.trusted_proxies`, `server.authorize_listen` and `server.grpc_listen`: where proxies ask, whom
//! we believe, what they say where, and where an application takes its keys from.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::AuthorizeConfig;
use crate::{
    domain::address,
    settings::{SettingError, SettingErrors},
};

/// What makes a key be looked for in the query.
const QUERY: &str = "query:";
/// What makes a listener one on a socket of this machine.
const UNIX: &str = "unix:";

macro_rules! as_text {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )+};
}

as_text!(TrustedNetwork, DoorListen, HeaderName, RequestIdHeader, KeyPlace);

/// One entry of `server.trusted_proxies`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustedNetwork(pub IpNet);

impl FromStr for TrustedNetwork {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        address::parse_network(text).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for TrustedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a listener that has a part alone is: that of `/v1/authorize`, without a token, and that of gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DoorListen {
    /// Nowhere; written as an empty text.
    Off,
    /// On an address and port.
    Address(SocketAddr),
    /// On a socket in the file system; written `unix:<path>`.
    Socket(PathBuf),
}

impl FromStr for DoorListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            _ if text.is_empty() => Ok(Self::Off),
            Some(path) if !path.is_empty() => Ok(Self::Socket(path.into())),
            _ => text.parse().map(Self::Address).map_err(|_| Self::FORM.to_owned()),
        }
    }
}

impl DoorListen {
    /// What the setting must be, as an error says it.
    pub(super) const FORM: &str =
        "must be an IP address and port, such as 127.0.0.1:8081, or unix:<path>; empty for none";
}

impl fmt::Display for DoorListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Address(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

/// The name of a header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderName(pub String);

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A token of RFC 9110, section 5.6.2.
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_name = (1..=128).contains(&text.len()) && text.bytes().all(sign);
        let wrong = || "must be the name of a header, such as x-request-id".to_owned();
        is_name.then(|| Self(text.to_ascii_lowercase())).ok_or_else(wrong)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The header with the id of a request, if one has it; an empty text: none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestIdHeader(pub Option<HeaderName>);

impl FromStr for RequestIdHeader {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = (!text.is_empty()).then(|| text.parse()).transpose();
        named.map(Self)
    }
}

impl fmt::Display for RequestIdHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| name.fmt(f))
    }
}

/// Where an application takes keys from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyPlace {
    /// `Authorization: Bearer <key>`; written `authorization`.
    Bearer,
    /// A header that has the key alone.
    Header(HeaderName),
    /// A parameter of the query; written `query:<name>`.
    Query(String),
}

impl FromStr for KeyPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(QUERY) {
            Some(name) if (1..=128).contains(&name.len()) => Ok(Self::Query(name.to_owned())),
            None if text.eq_ignore_ascii_case("authorization") => Ok(Self::Bearer),
            None => text.parse().map(Self::Header).map_err(|_| Self::FORM.to_owned()),
            Some(_) => Err(Self::FORM.to_owned()),
        }
    }
}

impl KeyPlace {
    /// What an entry must be, as an error says it.
    pub(super) const FORM: &str =
        "must be the name of a header, such as x-api-key, or query:<name> for a parameter of the query";
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("authorization"),
            Self::Header(name) => name.fmt(f),
            Self::Query(name) => write!(f, "{QUERY}{name}"),
        }
    }
}

/// How a trusted proxy names the original request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Original {
    /// By the first of the others that is there.
    #[serde(rename = "")]
    First,
    /// `X-Forwarded-Method`, `-Uri` and `-Host`.
    #[serde(rename = "x-forwarded")]
    Forwarded,
    /// `X-Original-Method` and `-URI`.
    #[serde(rename = "x-original")]
    Original,
    /// By its own method, and the path below `/v1/authorize`.
    #[serde(rename = "path")]
    Path,
}

/// Where a trusted proxy puts the address of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AddressHeader {
    /// Into the first of the others that is there.
    #[serde(rename = "")]
    First,
    /// Behind those of the proxies before it, by commas.
    #[serde(rename = "x-forwarded-for")]
    ForwardedFor,
    /// As RFC 7239 has it: `for=`.
    #[serde(rename = "forwarded")]
    Forwarded,
    /// One address, which the proxy in front has set.
    #[serde(rename = "x-real-ip")]
    RealIp,
}

/// What becomes of a request without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutKey {
    /// It is refused: 401.
    Refuse,
    /// It passes, unless its address is banned.
    Allow,
}

/// What the types allow and cannot be meant.
pub(super) fn meaning(authorize: &AuthorizeConfig, errors: &mut SettingErrors) {
    let mut ensure = |holds, setting, hint| errors.check(SettingError::ensure(holds, setting, hint));
    ensure(!authorize.keys.is_empty(), "authorize.keys", "must name a place at least, such as authorization");
    ensure(authorize.model.len() <= 128, "authorize.model", "must be 1 to 128 bytes, or empty");
    ensure(
        !(authorize.observe && authorize.reserve),
        "authorize.reserve",
        "does not go with authorize.observe: a reservation is counted by its record, an observation at once. \
         Choose one",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_setting_is_read_and_written_alike() {
        for text in ["", "127.0.0.1:8081", "[::1]:8081", "unix:/run/keyward.sock"] {
            assert_eq!(text.parse::<DoorListen>().unwrap().to_string(), text);
        }
        for text in ["authorization", "x-api-key", "query:key"] {
            assert_eq!(text.parse::<KeyPlace>().unwrap().to_string(), text);
        }
        assert_eq!("X-Api-Key".parse::<KeyPlace>().unwrap().to_string(), "x-api-key");
        assert_eq!("Authorization".parse(), Ok(KeyPlace::Bearer));
        assert_eq!("::ffff:10.0.0.0/104".parse::<TrustedNetwork>().unwrap().to_string(), "10.0.0.0/8");
    }

    #[test]
    fn what_is_none_of_these_forms_is_refused_with_the_form() {
        for text in ["8081", "localhost:8081", "unix:"] {
            assert_eq!(text.parse::<DoorListen>(), Err(DoorListen::FORM.to_owned()), "{text}");
        }
        for text in ["", "x api key", "query:", "ключ"] {
            assert_eq!(text.parse::<KeyPlace>(), Err(KeyPlace::FORM.to_owned()), "{text}");
        }
        assert!("10.0.0.0/33".parse::<TrustedNetwork>().unwrap_err().contains("0 to 32"));
    }
}
