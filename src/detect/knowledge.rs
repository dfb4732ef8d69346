//! What of a request a profile knows already.

use crate::domain::{
    HOUR, Millis,
    observation::PeerSeen,
    place::{Coordinates, PlaceCore},
    profile::{Cell, Profile, client_family, endpoint_template},
    record::Record,
};

/// Two places this close (km, radii taken off) are the same region.
const SAME_REGION_KM: f64 = 200.0;
/// A place counts as known this long after it was first seen: a thief's second request must not vouch for him.
const SETTLING: Millis = HOUR;

/// A request's features in the profile's terms.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Client family.
    pub client: Option<String>,
    /// Endpoint template.
    pub endpoint: String,
}

impl Features {
    /// The features of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            client: record.user_agent.as_deref().map(client_family).filter(|c| !c.is_empty()),
            endpoint: endpoint_template(&record.endpoint),
        }
    }
}

/// Whether anything is known of a place beside its prefix.
pub fn can_be_placed(place: &PlaceCore) -> bool {
    place.asn != 0 || place.country.is_some() || place.coordinates.is_some()
}

/// Whether the profile knows a place: its prefix, its network in that country, or its region.
pub fn knows_place(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    let settled = |first_seen: Millis| is_settled(profile, first_seen, now);
    let prefix = profile.prefixes.get(&place.prefix.0).is_some_and(|row| settled(row.first_seen));
    let country =
        place.country.and_then(|c| profile.countries.get(&c)).is_some_and(|row| settled(row.first_seen));
    let network = place.asn != 0 && profile.asns.get(&place.asn).is_some_and(|row| settled(row.first_seen));
    prefix || (network && country) || place.coordinates.is_some_and(|c| knows_region(profile, &c, now))
}

fn knows_region(profile: &Profile, at: &Coordinates, now: Millis) -> bool {
    let cell = Cell::of(at);
    let near = |other: &Cell| *other == cell || other.center().least_distance_km(at) <= SAME_REGION_KM;
    profile.cells.iter().any(|(other, row)| is_settled(profile, row.first_seen, now) && near(other))
}

/// Whether what was first seen then counts as known by now. What the key began with does at once: it is all there is
/// to compare with, and a new key would else be a stranger in its own home for an hour.
fn is_settled(profile: &Profile, first_seen: Millis, now: Millis) -> bool {
    now - first_seen >= SETTLING || profile.first_seen == Some(first_seen)
}

/// How often the move between two places was made, in either direction.
pub fn known_moves(profile: &Profile, from: &PlaceCore, to: &PlaceCore) -> u64 {
    let (Some(a), Some(b)) = (from.coordinates, to.coordinates) else { return 0 };
    let (a, b) = (Cell::of(&a), Cell::of(&b));
    profile.moves.get(&(a.min(b), a.max(b))).map_or(0, |row| row.count)
}

/// The place of a recent peer.
pub fn peer_place(seen: &PeerSeen) -> PlaceCore {
    PlaceCore::unpack(&seen.peer.data)
}

/// Whether the recent places show that this one has been in use for longer than the settling time: what is to be said
/// of it has been said.
pub fn is_old_news(peers: &[PeerSeen], place: &PlaceCore, now: Millis) -> bool {
    peers.iter().filter(|seen| now - seen.first_seen >= SETTLING).map(peer_place).any(|peer| {
        let same_network = peer.asn != 0 && peer.asn == place.asn && peer.country == place.country;
        let near = peer
            .coordinates
            .zip(place.coordinates)
            .is_some_and(|(a, b)| a.least_distance_km(&b) <= SAME_REGION_KM);
        peer.prefix == place.prefix || same_network || near
    })
}
