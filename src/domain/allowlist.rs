//! What detectors must leave alone, by an operator's word: keys, networks, autonomous systems, countries, and pairs
//! of places. Limits and bans by operators still hold for them.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use super::{
    Millis,
    country::{self, CountryError},
    place::PlaceCore,
    subject::{Subject, SubjectError, SubjectKind},
};

/// One side of a pair of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A country by ISO 3166-1 alpha-2.
    Country([u8; 2]),
    /// An autonomous system, by its number.
    Asn(u32),
}

impl Side {
    fn covers(self, place: &PlaceCore) -> bool {
        match self {
            Self::Country(code) => place.country == Some(code),
            Self::Asn(asn) => place.asn == asn,
        }
    }
}

/// What one entry covers.
#[derive(Debug, Clone, PartialEq)]
pub enum AllowEntry {
    /// A key, by its public id: `key:<key_id>`.
    Key(Subject),
    /// An address or a prefix: `ip:<address or prefix>`.
    Network(IpNet),
    /// Where requests come from: `asn:<number>` or `country:<code>`.
    Place(Side),
    /// `pair:<side>~<side>`, each a country code or `AS<number>`: moves between them, in both directions.
    Pair(Side, Side),
}

/// Why a text is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// It has none of the forms of an entry.
    #[error(
        "an allowlist entry is key:<key_id>, ip:<address or prefix>, asn:<number>, country:<code> or pair:<SG>~<RO> \
         (each side a country code or AS<number>)"
    )]
    Form,
    /// What it says of a key or an address is not one.
    #[error("{0}")]
    Subject(#[from] SubjectError),
    /// What it says of a country is not one.
    #[error("a country {0}")]
    Country(#[from] CountryError),
}

impl AllowEntry {
    /// Reads an entry that somebody writes: of what is stored, one may name a country that there is not.
    ///
    /// # Errors
    /// When it is no entry, or names such a country.
    pub fn written(text: &str) -> Result<Self, AllowError> {
        let entry: Self = text.parse()?;
        let sides = match entry {
            Self::Place(side) => [Some(side), None],
            Self::Pair(one, other) => [Some(one), Some(other)],
            Self::Key(_) | Self::Network(_) => [None, None],
        };
        for side in sides.into_iter().flatten() {
            if let Side::Country(code) = side {
                country::read(&String::from_utf8_lossy(&code))?;
            }
        }
        Ok(entry)
    }
}

impl FromStr for AllowEntry {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let (kind, rest) = text.split_once(':').ok_or(AllowError::Form)?;
        match kind {
            "key" | "ip" => {
                let subject = Subject::parse(text)?;
                match (subject.kind(), subject.network()) {
                    (SubjectKind::Ip, Some(network)) => Ok(Self::Network(network)),
                    (SubjectKind::Key, _) => Ok(Self::Key(subject)),
                    _ => Err(AllowError::Form),
                }
            }
            "asn" => number(rest).map(|n| Self::Place(Side::Asn(n))),
            "country" => country(rest).map(|c| Self::Place(Side::Country(c))),
            "pair" => {
                let (a, b) = rest.split_once('~').ok_or(AllowError::Form)?;
                Ok(Self::Pair(side(a)?, side(b)?))
            }
            _ => Err(AllowError::Form),
        }
    }
}

fn number(text: &str) -> Result<u32, AllowError> {
    text.trim_start_matches("AS").parse().map_err(|_| AllowError::Form)
}

fn country(text: &str) -> Result<[u8; 2], AllowError> {
    country::letters(text).ok_or(AllowError::Form)
}

fn side(text: &str) -> Result<Side, AllowError> {
    if text.starts_with("AS") && text.len() > 2 {
        number(text).map(Side::Asn)
    } else {
        country(text).map(Side::Country)
    }
}

/// Every entry in force.
#[derive(Debug, Clone, Default)]
pub struct Allowlist {
    entries: Vec<(AllowEntry, Option<Millis>)>,
}

impl Allowlist {
    /// Adds an entry that holds until `expires`, or for good.
    pub fn insert(&mut self, entry: AllowEntry, expires: Option<Millis>) {
        self.entries.push((entry, expires));
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn in_force(&self, now: Millis) -> impl Iterator<Item = &AllowEntry> {
        self.entries
            .iter()
            .filter(move |(_, expires)| expires.is_none_or(|at| at > now))
            .map(|(entry, _)| entry)
    }

    /// Whether detectors must leave a request alone.
    pub fn covers(&self, key: &Subject, address: IpAddr, place: Option<&PlaceCore>, now: Millis) -> bool {
        self.in_force(now).any(|entry| match entry {
            AllowEntry::Key(subject) => subject == key,
            AllowEntry::Network(network) => network.contains(&address),
            AllowEntry::Place(side) => place.is_some_and(|p| side.covers(p)),
            AllowEntry::Pair(..) => false,
        })
    }

    /// Whether detectors must leave a key alone, wherever it is used.
    pub fn covers_key(&self, key: &Subject, now: Millis) -> bool {
        self.in_force(now).any(|entry| matches!(entry, AllowEntry::Key(subject) if subject == key))
    }

    /// Whether a move between two places is allowed, in either direction.
    pub fn covers_pair(&self, a: &PlaceCore, b: &PlaceCore, now: Millis) -> bool {
        self.in_force(now).any(|entry| match entry {
            AllowEntry::Pair(x, y) => (x.covers(a) && y.covers(b)) || (x.covers(b) && y.covers(a)),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(country: &[u8; 2], asn: u32) -> PlaceCore {
        PlaceCore { country: Some(*country), asn, ..PlaceCore::unknown([203, 0, 113, 1].into()) }
    }

    #[test]
    fn each_kind_of_entry_covers_what_it_names() {
        let key = Subject::key("k1:1");
        let covers = |text: &str| {
            let mut list = Allowlist::default();
            list.insert(text.parse().unwrap(), None);
            list.covers(&key, [203, 0, 113, 7].into(), Some(&place(b"SG", 64500)), 0)
        };
        for yes in
            ["key:k1:1", "ip:203.0.113.0/24", "ip:203.0.113.7", "asn:64500", "asn:AS64500", "country:sg"]
        {
            assert!(covers(yes), "{yes}");
        }
        for no in ["key:k1:2", "ip:203.0.114.0/24", "asn:1", "country:RO", "pair:SG~RO"] {
            assert!(!covers(no), "{no}");
        }
    }

    #[test]
    fn a_pair_covers_both_directions_until_it_expires() {
        let mut list = Allowlist::default();
        list.insert("pair:SG~AS3".parse().unwrap(), Some(100));
        let (a, b) = (place(b"SG", 1), place(b"RO", 3));
        assert!(list.covers_pair(&a, &b, 99) && list.covers_pair(&b, &a, 99));
        assert!(!list.covers_pair(&a, &b, 100) && !list.covers_pair(&a, &a, 99));
    }

    #[test]
    fn bad_entries_are_refused() {
        for text in ["", "SG", "country:SGP", "asn:x", "pair:SG", "pair:S1~RO", "ip:1.2", "project:x"] {
            assert!(text.parse::<AllowEntry>().is_err(), "{text}");
        }
        let error = "ip:010.0.0.1".parse::<AllowEntry>().unwrap_err().to_string();
        assert!(error.contains("without leading zeros"), "{error}");
    }

    #[test]
    fn what_people_write_names_countries_that_there_are_and_what_is_stored_still_loads() {
        for text in ["country:sg", "pair:SG~ro", "pair:SG~AS3", "asn:3", "key:ZZ", "ip:203.0.113.7"] {
            assert!(AllowEntry::written(text).is_ok(), "{text}");
        }
        for text in ["country:ZZ", "country:uk", "pair:SG~XX", "pair:ZZ~SG", "pair:AS3~ZZ"] {
            let error = AllowEntry::written(text).unwrap_err();
            assert!(matches!(error, AllowError::Country(_)), "{text}: {error}");
            assert!(text.parse::<AllowEntry>().is_ok(), "{text}");
        }
        let error = AllowEntry::written("country:uk").unwrap_err().to_string();
        assert_eq!(error, "a country must be a code of ISO 3166-1 alpha-2 such as SG, and UK is GB there");
    }

    #[test]
    fn an_entry_covers_every_spelling_of_its_network() {
        for text in ["ip:203.0.113.0/24", "ip:::ffff:203.0.113.0/120", "ip:64:ff9b::203.0.113.0/120"] {
            let entry = text.parse::<AllowEntry>().unwrap();
            assert_eq!(entry, AllowEntry::Network("203.0.113.0/24".parse().unwrap()), "{text}");
        }
    }
}
