//! Who is judged: an API key, a source address, or a project.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    address::{self, AddressError},
    key::{KEY_ID_FORM, valid_key_id},
    stable_hash,
};

/// The longest project id or name of a plan accepted, in bytes. Ids of keys may be longer ([`MAX_KEY_ID_BYTES`]).
///
/// [`MAX_KEY_ID_BYTES`]: super::key::MAX_KEY_ID_BYTES
pub const MAX_ID_BYTES: usize = 128;

/// The widest networks, IPv4 and IPv6, that somebody may well mean: about what the largest holders have. IANA gave IPv4
/// out by the /8. Of IPv6 it gives a /12 to a whole region of the world, which hands on no more than a small part of it
/// to anybody.
const WIDEST: (u8, u8) = (8, 16);

/// What kind of subject an id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubjectKind {
    /// An API key, by its public id.
    Key,
    /// A source address: one IPv4 address, one IPv6 /64, or a wider prefix that an operator named.
    Ip,
    /// A project, by its id.
    Project,
}

/// A subject, written `key:<key_id>`, `ip:<address or prefix>` or `project:<id>`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// Why a text is no subject.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum SubjectError {
    /// No known `kind:` in front.
    #[error("a subject starts with key:, ip: or project:, for example key:k1:9f2c41d07be5a8c3")]
    UnknownKind,
    /// The id of a key is empty, over-long, or has characters that it may not have.
    #[error("the id after key: {KEY_ID_FORM}")]
    BadKey,
    /// The id of a project, likewise.
    #[error("the id after project: must be 1 to 128 bytes of printable text without spaces")]
    BadProject,
    /// The address or prefix does not parse.
    #[error("the part after ip: {0}")]
    BadAddress(AddressError),
    /// A prefix of IPv6 that is longer than what is judged.
    #[error(
        "the part after ip: must be one IPv6 address or a prefix up to /64, as IPv6 is judged by the /64"
    )]
    TooNarrow,
}

impl Subject {
    /// The subject of an API key. `key_id` must already be a valid id (see [`valid_key_id`]).
    pub fn key(key_id: &str) -> Self {
        Self(format!("key:{key_id}").into())
    }

    /// The subject of a source address; IPv6 is judged by its /64, what stands for an IPv4 address as that address.
    pub fn ip(address: IpAddr) -> Self {
        match address::unfold(address) {
            IpAddr::V4(v4) => Self(format!("ip:{v4}").into()),
            IpAddr::V6(v6) => {
                let network = std::net::Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX));
                Self(format!("ip:{network}/64").into())
            }
        }
    }

    /// The subject of a project. `id` must already be a valid id (see [`valid_id`]).
    pub fn project(id: &str) -> Self {
        Self(format!("project:{id}").into())
    }

    /// Reads a subject as people and URLs write it, and brings addresses into their one form. A key id that looks like
    /// a secret is read, too: who takes it from a caller asks [`looks_secret`].
    ///
    /// [`looks_secret`]: super::key::looks_secret
    ///
    /// # Errors
    /// [`SubjectError`] says which part is wrong and what it should look like.
    pub fn parse(text: &str) -> Result<Self, SubjectError> {
        let (kind, id) = text.split_once(':').ok_or(SubjectError::UnknownKind)?;
        match kind {
            "key" => valid_key_id(id).then(|| Self::key(id)).ok_or(SubjectError::BadKey),
            "project" => valid_id(id).then(|| Self::project(id)).ok_or(SubjectError::BadProject),
            "ip" => parse_network(id),
            _ => Err(SubjectError::UnknownKind),
        }
    }

    /// Reads a subject from a store, to the letter: what belongs to it is found by its text. Ids of keys may be any
    /// printable text, as earlier versions took them.
    ///
    /// # Errors
    /// As [`Subject::parse`].
    pub fn stored(text: &str) -> Result<Self, SubjectError> {
        let is_earlier_key = text.strip_prefix("key:").is_some_and(valid_id);
        if !is_earlier_key {
            Self::parse(text)?;
        }
        Ok(Self(text.into()))
    }

    /// By the first letter of its prefix.
    pub fn kind(&self) -> SubjectKind {
        match self.0.as_bytes().first() {
            Some(b'k') => SubjectKind::Key,
            Some(b'i') => SubjectKind::Ip,
            _ => SubjectKind::Project,
        }
    }

    /// The part after the kind.
    pub fn id(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, id)| id)
    }

    /// The whole text, `kind:id`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For an address subject, the network it covers.
    pub fn network(&self) -> Option<IpNet> {
        if self.kind() != SubjectKind::Ip {
            return None;
        }
        address::parse_network(self.id()).ok()
    }

    /// Whether it is a network so wide that it is more likely a slip than meant: wider than an IPv4 /8 or an IPv6 /16.
    pub fn is_vast(&self) -> bool {
        match self.network() {
            Some(IpNet::V4(network)) => network.prefix_len() < WIDEST.0,
            Some(IpNet::V6(network)) => network.prefix_len() < WIDEST.1,
            None => false,
        }
    }

    /// Which of `partitions` holds everything that belongs to this subject.
    pub fn partition(&self, partitions: u16) -> u16 {
        (stable_hash(self.0.as_bytes()) % u64::from(partitions.max(1))) as u16
    }
}

/// Whether `id` may name a project or a plan: 1 to 128 bytes of printable text without spaces.
pub fn valid_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.chars().any(|c| c.is_control() || c.is_whitespace())
}

fn parse_network(text: &str) -> Result<Subject, SubjectError> {
    let network = address::parse_network(text).map_err(SubjectError::BadAddress)?;
    match network {
        IpNet::V4(v4) if v4.prefix_len() == 32 => Ok(Subject::ip(v4.addr().into())),
        IpNet::V6(v6) if v6.prefix_len() == 128 => Ok(Subject::ip(v6.addr().into())),
        // IPv6 is judged by /64: what is narrower would be widened, which nobody asked for.
        IpNet::V6(v6) if v6.prefix_len() > 64 => Err(SubjectError::TooNarrow),
        _ => Ok(Subject(format!("ip:{network}").into())),
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Subject {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).or_else(|_| Self::stored(&text)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_judged_by_v4_address_and_v6_64() {
        assert_eq!(Subject::parse("ip:2001:db8::1:2:3:4").unwrap().as_str(), "ip:2001:db8::/64");
        assert_eq!(Subject::parse("ip:::ffff:203.0.113.7").unwrap().as_str(), "ip:203.0.113.7");
        assert_eq!(Subject::parse("ip:203.0.113.9/24").unwrap().as_str(), "ip:203.0.113.0/24");
        assert_eq!(Subject::parse("ip:203.0.113.9/32").unwrap().as_str(), "ip:203.0.113.9");
    }

    #[test]
    fn half_the_internet_is_vast_and_what_one_holder_has_is_not() {
        for vast in
            ["ip:0.0.0.0/0", "ip:128.0.0.0/1", "ip:10.0.0.0/7", "ip:::/0", "ip:2000::/3", "ip:2a00::/12"]
        {
            assert!(Subject::parse(vast).unwrap().is_vast(), "{vast}");
        }
        for single in
            ["ip:10.0.0.0/8", "ip:2001:db8::/32", "ip:2630::/16", "ip:203.0.113.7", "key:a", "project:ip"]
        {
            assert!(!Subject::parse(single).unwrap().is_vast(), "{single}");
        }
    }

    #[test]
    fn bad_subjects_say_what_is_wrong() {
        assert_eq!(Subject::parse("nonsense"), Err(SubjectError::UnknownKind));
        assert_eq!(Subject::parse("user:x"), Err(SubjectError::UnknownKind));
        for text in ["key:", "key:a b", "key:ключ", &format!("key:{}", "x".repeat(257))] {
            assert_eq!(Subject::parse(text), Err(SubjectError::BadKey), "{text}");
        }
        assert_eq!(Subject::parse(&format!("project:{}", "x".repeat(129))), Err(SubjectError::BadProject));
        let address = |error| Err(SubjectError::BadAddress(error));
        assert_eq!(Subject::parse("ip:300.1.1.1"), address(AddressError::NoNetwork));
        assert_eq!(Subject::parse("ip:fe80::1%eth0"), address(AddressError::Zone));
        assert_eq!(Subject::parse("ip:2001:db8::/96"), Err(SubjectError::TooNarrow));
    }

    #[test]
    fn networks_have_one_spelling() {
        for (given, kept) in [
            ("ip:::ffff:203.0.113.0/120", "ip:203.0.113.0/24"),
            ("ip:64:ff9b::203.0.113.7", "ip:203.0.113.7"),
            ("ip:2002:cb00:7107::/48", "ip:203.0.113.7"),
            ("ip:::203.0.113.7/128", "ip:203.0.113.7"),
            ("ip:2001:0DB8::/32", "ip:2001:db8::/32"),
            ("ip:::/0", "ip:::/0"),
        ] {
            assert_eq!(Subject::parse(given).unwrap().as_str(), kept, "{given}");
        }
        // All of IPv4, however it is spelled, is still vast.
        assert!(
            ["64:ff9b::/96", "2002::/16"]
                .iter()
                .all(|n| Subject::parse(&format!("ip:{n}")).unwrap().is_vast())
        );
    }

    #[test]
    fn what_was_written_down_before_is_still_read() {
        let read = |text: &str| serde_json::from_value::<Subject>(text.into()).unwrap();
        assert_eq!((read("key:ключ").as_str(), read("key:ключ").kind()), ("key:ключ", SubjectKind::Key));
        assert_eq!(read("ip:::ffff:203.0.113.7").as_str(), "ip:203.0.113.7");
        for text in ["key:ключ", "ip:2002:cb00:7107::/64"] {
            assert_eq!(Subject::stored(text).unwrap().as_str(), text, "to the letter");
        }
        assert_eq!(Subject::stored("key:a b"), Err(SubjectError::BadKey));
        assert_eq!(Subject::stored("user:a"), Err(SubjectError::UnknownKind));
    }

    #[test]
    fn an_id_may_hold_colons() {
        assert_eq!(Subject::parse("key:k1:9f2c41d07be5a8c3").unwrap().id(), "k1:9f2c41d07be5a8c3");
    }
}
