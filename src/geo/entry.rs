//! What one database says of one address, whatever its layout.
//!
//! Two layouts are read, and mixtures of them: MaxMind's nested one (also DB-IP's own files), and the flat one of
//! the ip-location-db packages, where everything is at the top.

use super::node::Node;
use crate::domain::{country, place::Coordinates};

/// Accuracy radius in km of coordinates that name a city but no radius. City centres in free databases are
/// typically right within 50 km (MaxMind's own accuracy table counts "within 50 km" as resolved).
pub const DEFAULT_RADIUS_KM: u16 = 50;

/// What one database says of one address.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Entry<'de> {
    pub(super) coordinates: Option<Coordinates>,
    pub(super) city: Option<&'de str>,
    pub(super) country: Option<[u8; 2]>,
    pub(super) asn: Option<u32>,
    pub(super) organization: Option<&'de str>,
}

const CITY: &[&[&str]] = &[&["city", "names", "en"], &["city"], &["city_name"]];
const COUNTRY: &[&[&str]] = &[
    &["country", "iso_code"],
    &["country_code"],
    &["country"],
    &["registered_country", "iso_code"],
    &["registered_country_code"],
];
const LATITUDE: &[&[&str]] = &[&["location", "latitude"], &["latitude"]];
const LONGITUDE: &[&[&str]] = &[&["location", "longitude"], &["longitude"]];
const RADIUS: &[&[&str]] = &[&["location", "accuracy_radius"], &["accuracy_radius"]];
const ASN: &[&[&str]] = &[&["autonomous_system_number"], &["asn"], &["traits", "autonomous_system_number"]];
const ORGANIZATION: &[&[&str]] = &[
    &["autonomous_system_organization"],
    &["as_name"],
    &["as_organization"],
    &["traits", "autonomous_system_organization"],
];

impl<'de> Entry<'de> {
    /// Reads a record of the database.
    pub(super) fn read(record: &Node<'de>) -> Self {
        let text = |paths: &[&[&str]]| paths.iter().find_map(|path| record.at(path).text());
        let city = text(CITY);
        Self {
            coordinates: coordinates(record, city.is_some()),
            city,
            country: COUNTRY.iter().find_map(|path| record.at(path).text().and_then(country::letters)),
            asn: ASN.iter().find_map(|path| system_number(record.at(path))),
            organization: text(ORGANIZATION),
        }
    }

    /// Whether it says nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Coordinates that can be true. Without a radius they count only next to a city: otherwise they are the middle of
/// a country, which says less than the country's name and would pass for a precise place.
fn coordinates(record: &Node<'_>, has_city: bool) -> Option<Coordinates> {
    let number = |paths: &[&[&str]]| paths.iter().find_map(|path| record.at(path).number());
    let (latitude, longitude) = (number(LATITUDE)?, number(LONGITUDE)?);
    let radius_km = match number(RADIUS).filter(|radius| *radius >= 0.0) {
        Some(radius) => radius.ceil().min(f64::from(u16::MAX)) as u16,
        None if has_city => DEFAULT_RADIUS_KM,
        None => return None,
    };
    // 0/0 lies in the Gulf of Guinea; in databases it means "unknown".
    let known = latitude != 0.0 || longitude != 0.0;
    let possible = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
    (known && possible).then_some(Coordinates { latitude, longitude, radius_km })
}

/// An AS number, as a number or as text with or without `AS` before it; 0 is reserved (RFC 7607) and means none.
fn system_number(node: &Node<'_>) -> Option<u32> {
    let number = match node.text() {
        Some(text) => text.trim_start_matches(['A', 'S', 'a', 's']).parse().ok()?,
        None => node.number().filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n))? as u32,
    };
    (number != 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(latitude: Node<'static>, longitude: Node<'static>) -> Entry<'static> {
        Entry::read(&Node::Map(vec![
            ("city", Node::Text("Lima")),
            ("latitude", latitude),
            ("longitude", longitude),
        ]))
    }

    #[test]
    fn impossible_coordinates_are_absent() {
        for (lat, lon) in [(f64::NAN, 1.0), (90.5, 1.0), (1.0, -180.5), (1.0, f64::INFINITY), (0.0, 0.0)] {
            assert_eq!(flat(Node::Number(lat), Node::Number(lon)).coordinates, None, "{lat} {lon}");
        }
        assert_eq!(flat(Node::Text("north"), Node::Number(1.0)).coordinates, None);
        assert_eq!(flat(Node::Nothing, Node::Number(1.0)).coordinates, None);
    }

    #[test]
    fn coordinates_may_be_written_as_text() {
        let place = flat(Node::Text(" -12.0464"), Node::Text("-77.0428")).coordinates.unwrap();
        assert_eq!(
            place,
            Coordinates { latitude: -12.0464, longitude: -77.0428, radius_km: DEFAULT_RADIUS_KM }
        );
    }

    #[test]
    fn the_middle_of_a_country_without_radius_is_no_place() {
        let record = |radius: Node<'static>| {
            Node::Map(vec![
                ("country_code", Node::Text("us")),
                ("latitude", Node::Number(37.751)),
                ("longitude", Node::Number(-97.822)),
                ("accuracy_radius", radius),
            ])
        };
        let vague = Entry::read(&record(Node::Nothing));
        assert_eq!((vague.coordinates, vague.country), (None, Some(*b"US")));
        assert_eq!(Entry::read(&record(Node::Number(1000.0))).coordinates.unwrap().radius_km, 1000);
    }

    #[test]
    fn system_numbers_come_in_many_spellings() {
        for node in [Node::Number(64512.0), Node::Text("64512"), Node::Text("AS64512"), Node::Text("as64512")]
        {
            assert_eq!(system_number(&node), Some(64512), "{node:?}");
        }
        for node in
            [Node::Number(-1.0), Node::Number(1.5), Node::Number(0.0), Node::Text("none"), Node::Nothing]
        {
            assert_eq!(system_number(&node), None, "{node:?}");
        }
    }
}
