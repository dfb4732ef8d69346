//! Where a request came from: network prefix, autonomous system, country, coordinates with accuracy radius.
//!
//! A place may lack coordinates. That is a value, and never "distance 0".

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{address, stable_hash};

/// Mean Earth radius in km (IUGG 1980), for the haversine distance.
const EARTH_RADIUS_KM: f64 = 6371.0088;
/// Bytes of a packed place.
pub const PACKED_BYTES: usize = 24;
/// The byte of a packed place that no place uses.
pub const SPARE_BYTE: usize = 22;

/// A point with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// Accuracy radius in km: the true position lies within it with 67 % confidence (MaxMind's definition).
    pub radius_km: u16,
}

impl Coordinates {
    /// Great-circle distance to `other` in km (haversine).
    pub fn distance_km(&self, other: &Self) -> f64 {
        let (lat1, lat2) = (self.latitude.to_radians(), other.latitude.to_radians());
        let half_lat = ((lat2 - lat1) / 2.0).sin();
        let half_lon = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let h = half_lat * half_lat + lat1.cos() * lat2.cos() * half_lon * half_lon;
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }

    /// The least distance that both uncertainties allow, in km: never negative.
    pub fn least_distance_km(&self, other: &Self) -> f64 {
        (self.distance_km(other) - f64::from(self.radius_km) - f64::from(other.radius_km)).max(0.0)
    }
}

/// A network prefix: /24 for IPv4, /48 for IPv6, packed with its family in the top byte and nothing in the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix(pub u64);

impl Prefix {
    /// The prefix of an address.
    pub fn of(address: IpAddr) -> Self {
        match address::unfold(address) {
            IpAddr::V4(v4) => Self(4 << 56 | u64::from(u32::from(v4) >> 8)),
            IpAddr::V6(v6) => Self(6 << 56 | (u128::from(v6) >> 80) as u64),
        }
    }

    /// The first address of the prefix, good enough to look its place up again.
    pub fn address(self) -> IpAddr {
        let bits = self.0 & 0x00ff_ffff_ffff_ffff;
        if self.0 >> 56 == 4 {
            IpAddr::V4(((bits << 8) as u32).into())
        } else {
            IpAddr::V6((u128::from(bits) << 80).into())
        }
    }
}

/// The part of a place that is kept with a subject: fixed size, packed into [`PACKED_BYTES`] bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PlaceCore {
    /// Network prefix of the address.
    pub prefix: Prefix,
    /// Autonomous system number; 0 when unknown.
    pub asn: u32,
    /// ISO 3166-1 alpha-2 country, when known.
    pub country: Option<[u8; 2]>,
    /// Coordinates in degrees, when the database has them.
    pub coordinates: Option<Coordinates>,
}

impl PlaceCore {
    /// The place as a database has it, or else what an address alone says.
    pub fn of(place: Option<&Place>, address: IpAddr) -> Self {
        place.map_or_else(|| Self::unknown(address), |place| place.core)
    }

    /// A place of which nothing is known but the address's prefix.
    pub fn unknown(address: IpAddr) -> Self {
        Self { prefix: Prefix::of(address), asn: 0, country: None, coordinates: None }
    }

    /// Identity of the place among a subject's recent places: its network prefix. 63 bits.
    pub fn id(&self) -> u64 {
        stable_hash(&self.prefix.0.to_be_bytes()) >> 1
    }

    /// The place without coordinates that are vaguer than `max_radius_km`: the middle of a country is no place.
    pub fn precise(self, max_radius_km: u16) -> Self {
        Self { coordinates: self.coordinates.filter(|c| c.radius_km <= max_radius_km), ..self }
    }

    /// The country as text, when known.
    pub fn country_code(&self) -> Option<&str> {
        self.country.as_ref().and_then(|code| std::str::from_utf8(code).ok())
    }

    /// Packs into a fixed size: latitude and longitude in 1e-5 degrees (about 1 m). Byte [`SPARE_BYTE`] stays 0, for
    /// others to use.
    pub fn pack(&self) -> [u8; PACKED_BYTES] {
        let mut out = [0; PACKED_BYTES];
        let (lat, lon, radius) = self.coordinates.map_or((i32::MIN, i32::MIN, 0), |c| {
            ((c.latitude * 1e5).round() as i32, (c.longitude * 1e5).round() as i32, c.radius_km)
        });
        out[0..4].copy_from_slice(&lat.to_le_bytes());
        out[4..8].copy_from_slice(&lon.to_le_bytes());
        out[8..10].copy_from_slice(&radius.to_le_bytes());
        out[10..14].copy_from_slice(&self.asn.to_le_bytes());
        out[14..16].copy_from_slice(&self.country.unwrap_or_default());
        out[16..24].copy_from_slice(&self.prefix.0.to_le_bytes());
        out
    }

    /// Reads what [`PlaceCore::pack`] wrote.
    pub fn unpack(bytes: &[u8; PACKED_BYTES]) -> Self {
        let int = |at: usize| i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let (lat, lon) = (int(0), int(4));
        let coordinates = (lat != i32::MIN).then(|| Coordinates {
            latitude: f64::from(lat) / 1e5,
            longitude: f64::from(lon) / 1e5,
            radius_km: u16::from_le_bytes([bytes[8], bytes[9]]),
        });
        let mut prefix = [0; 8];
        prefix.copy_from_slice(&bytes[16..24]);
        Self {
            prefix: Prefix(u64::from_le_bytes(prefix) & !(0xff << 48)),
            asn: int(10) as u32,
            country: (bytes[14] != 0).then_some([bytes[14], bytes[15]]),
            coordinates,
        }
    }
}

/// A place with its names, as the geo database knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// What is kept with a subject.
    pub core: PlaceCore,
    /// City in English, when known.
    pub city: Option<Arc<str>>,
    /// Name of the autonomous system's organisation, when known.
    pub organization: Option<Arc<str>>,
}

impl Place {
    /// What people are shown of a place, in findings and events. Absent parts are left out.
    pub fn summary(&self) -> PlaceSummary {
        PlaceSummary {
            city: self.city.as_deref().map(str::to_owned),
            country: self.core.country_code().map(str::to_owned),
            asn: (self.core.asn != 0).then_some(self.core.asn),
            latitude: self.core.coordinates.map(|c| c.latitude),
            longitude: self.core.coordinates.map(|c| c.longitude),
            radius_km: self.core.coordinates.map(|c| c.radius_km),
        }
    }
}

/// A place as events and evidence show it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PlaceSummary {
    /// The city's name in English.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// ISO 3166-1 alpha-2 country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The number of the autonomous system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// Degrees north of the equator, -90 to 90.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latitude: Option<f64>,
    /// Degrees east of Greenwich, -180 to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longitude: Option<f64>,
    /// Accuracy radius in km.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_km: Option<u16>,
}

impl PlaceSummary {
    /// Everything but the coordinates: `Frankfurt, DE (AS3320)`.
    pub fn full_name(&self) -> String {
        let parts: Vec<&str> =
            [&self.city, &self.country].into_iter().flatten().map(String::as_str).collect();
        match self.asn {
            Some(asn) if !parts.is_empty() => format!("{} (AS{asn})", parts.join(", ")),
            _ if parts.is_empty() => self.name(),
            _ => parts.join(", "),
        }
    }

    /// The shortest name that says where it is: the city, else the country, else the network.
    pub fn name(&self) -> String {
        self.city
            .clone()
            .or_else(|| self.country.clone())
            .or_else(|| self.asn.map(|asn| format!("AS{asn}")))
            .unwrap_or_else(|| "an unnamed place".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(latitude: f64, longitude: f64, radius_km: u16) -> Coordinates {
        Coordinates { latitude, longitude, radius_km }
    }

    #[test]
    fn distances_match_the_great_circle() {
        let (singapore, bucharest) = (at(1.2897, 103.8501, 0), at(44.4323, 26.1063, 0));
        assert!((singapore.distance_km(&bucharest) - 8910.0).abs() < 400.0);
        assert!((at(0.0, 0.0, 0).distance_km(&at(0.0, 180.0, 0)) - 20015.1).abs() < 1.0);
        assert_eq!(singapore.distance_km(&singapore), 0.0);
    }

    #[test]
    fn both_radii_come_off_the_distance() {
        assert!(at(0.0, 0.0, 100).least_distance_km(&at(0.0, 1.0, 100)) < f64::EPSILON);
        assert!((at(0.0, 0.0, 10).least_distance_km(&at(0.0, 1.0, 1)) - 100.2).abs() < 0.1);
    }

    #[test]
    fn packing_loses_nothing_that_matters() {
        let address: IpAddr = "203.0.113.7".parse().unwrap();
        let full = PlaceCore {
            prefix: Prefix::of(address),
            asn: 4_200_000_000,
            country: Some(*b"SG"),
            coordinates: Some(at(1.2897, -103.85012, 20)),
        };
        assert_eq!(PlaceCore::unpack(&full.pack()), full);
        let unknown = PlaceCore::unknown("2001:db8:7::1".parse().unwrap());
        assert_eq!(PlaceCore::unpack(&unknown.pack()), unknown);
    }

    #[test]
    fn a_prefix_leads_back_to_an_address_inside_it() {
        for text in ["203.0.113.7", "2001:db8:7::1", "255.255.255.255"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(Prefix::of(Prefix::of(address).address()), Prefix::of(address), "{text}");
        }
    }
}
