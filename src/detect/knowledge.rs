//! What a profile knows of a request: its place, its network, its region, and the moves between places.

use std::sync::Arc;

use crate::domain::{
    DAY, HOUR, Millis,
    observation::PeerSeen,
    place::{Coordinates, PlaceCore},
    profile::{Cell, Familiar, Network, Profile, client_family, shared_template},
    record::Record,
};

/// Kilometres, accuracy radii taken off, within which two places are the same region: a metropolis and its suburbs.
const SAME_REGION_KM: f64 = 200.0;
/// A place counts as known this long after it was first seen: a thief's second request must not vouch for the first.
const SETTLING: Millis = HOUR;

/// What of a request a profile keeps in tables: reduced to what repeats.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// The client family ([`client_family`]): product, and of browsers the system.
    pub client: String,
    /// The endpoint template ([`shared_template`]): the path with ids taken out.
    pub endpoint: Arc<str>,
}

impl Features {
    /// Reduces the user agent and the path of a record.
    pub fn of(record: &Record) -> Self {
        Self {
            client: client_family(record.user_agent.as_deref()),
            endpoint: shared_template(&record.endpoint),
        }
    }
}

/// Whether the profile lacks the client, the endpoint, the model or the prefix of a request: what others may know.
pub fn shows_news(
    profile: &Profile,
    features: &Features,
    record: &Record,
    place: Option<&PlaceCore>,
) -> bool {
    profile.clients.get(features.client.as_str()).is_none()
        || profile.endpoints.get(&*features.endpoint).is_none()
        || record.model.as_deref().is_some_and(|model| profile.models.get(model).is_none())
        || place.is_some_and(|place| profile.prefixes.get(&place.prefix.0).is_none())
}

/// Whether anything is known of a place beside its prefix.
pub(super) fn can_be_placed(place: &PlaceCore) -> bool {
    place.asn != 0 || place.country.is_some() || place.coordinates.is_some()
}

/// Whether the profile knows a place: its prefix, its network in that country, or its region. A place without
/// coordinates is as precise as its country, so the country is enough.
pub(super) fn knows_place(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    knows_place_for(profile, place, now, SETTLING)
}

/// Whether a place is one that the key was first used from within the last day, or never.
pub(super) fn is_fresh_place(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    can_be_placed(place) && !is_settled_place(profile, place, now)
}

/// Whether a place has been in use for a day.
pub(super) fn is_settled_place(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    knows_place_for(profile, place, now, DAY)
}

fn knows_place_for(profile: &Profile, place: &PlaceCore, now: Millis, settling: Millis) -> bool {
    let settled = |first_seen: Millis| is_settled(profile, first_seen, now, settling);
    let prefix = profile.prefixes.get(&place.prefix.0).is_some_and(|row| settled(row.first_seen));
    let known = |network: Network| profile.later.networks.get(&network).map(|row| row.first_seen);
    let network = Network::of(place).and_then(known).is_some_and(settled);
    let around = || match (place.coordinates, place.country) {
        (Some(at), _) => knows_region(profile, &at, &settled),
        (None, Some(country)) => profile.countries.get(&country).is_some_and(|row| settled(row.first_seen)),
        (None, None) => false,
    };
    prefix || network || around()
}

/// The share of a profile's requests that come from a place, 0 to 1: from its network in that country or from its
/// region, whichever holds more. Only what has been in use for a day counts.
pub(super) fn share_from(profile: &Profile, place: &PlaceCore, now: Millis) -> f64 {
    let settled = |row: &Familiar| now - row.first_seen >= DAY;
    let network = Network::of(place).and_then(|network| profile.later.networks.get(&network));
    let network = network.filter(|row| settled(row)).map_or(0, |row| row.count);
    let region = |at: Coordinates| -> u64 {
        let near = profile.cells.iter().filter(|(cell, row)| settled(row) && is_near(cell, &at));
        near.map(|(_, row)| row.count).sum()
    };
    network.max(place.coordinates.map_or(0, region)) as f64 / profile.requests.max(1) as f64
}

fn is_near(cell: &Cell, at: &Coordinates) -> bool {
    *cell == Cell::of(at) || cell.center().least_distance_km(at) <= SAME_REGION_KM
}

fn knows_region(profile: &Profile, at: &Coordinates, settled: &impl Fn(Millis) -> bool) -> bool {
    profile.cells.iter().any(|(cell, row)| settled(row.first_seen) && is_near(cell, at))
}

/// Whether what was first seen then counts as known by now. What the key began with does at once: there is nothing else
/// to compare with, and a new key would not be known from its own home for an hour.
fn is_settled(profile: &Profile, first_seen: Millis, now: Millis, settling: Millis) -> bool {
    now - first_seen >= settling || profile.first_seen == Some(first_seen)
}

/// How often the move between two places was made, in either direction.
pub(super) fn known_moves(profile: &Profile, from: &PlaceCore, to: &PlaceCore) -> u64 {
    let (Some(a), Some(b)) = (from.coordinates, to.coordinates) else { return 0 };
    let (a, b) = (Cell::of(&a), Cell::of(&b));
    profile.moves.get(&(a.min(b), a.max(b))).map_or(0, |row| row.count)
}

/// The place that a recent peer of a key stands for.
pub(super) fn peer_place(seen: &PeerSeen) -> PlaceCore {
    PlaceCore::unpack(&seen.peer.data)
}

/// Whether the recent places show that this one has been in use for an hour (`SETTLING`): a finding about it has been
/// reported by then.
pub(super) fn is_in_use(peers: &[PeerSeen], place: &PlaceCore, now: Millis) -> bool {
    peers.iter().any(|seen| now - seen.first_seen >= SETTLING && is_same_place(&peer_place(seen), place))
}

/// Requests that came from a place lately.
pub(super) fn hits_from(peers: &[PeerSeen], place: &PlaceCore) -> u64 {
    peers.iter().filter(|seen| is_same_place(&peer_place(seen), place)).map(|seen| seen.hits).sum()
}

/// Since when a place is among the recent ones.
pub(super) fn first_seen_at(peers: &[PeerSeen], place: &PlaceCore) -> Option<Millis> {
    peers.iter().filter(|seen| is_same_place(&peer_place(seen), place)).map(|seen| seen.first_seen).min()
}

/// Whether two places are one: by their prefix, their network in that country, or their region. Of two places without
/// coordinates the country decides.
fn is_same_place(a: &PlaceCore, b: &PlaceCore) -> bool {
    let same_network = a.asn != 0 && a.asn == b.asn && a.country == b.country;
    let near = || match (a.coordinates, b.coordinates) {
        (Some(a), Some(b)) => a.least_distance_km(&b) <= SAME_REGION_KM,
        (None, None) => a.country.is_some() && a.country == b.country,
        _ => false,
    };
    a.prefix == b.prefix || same_network || near()
}

/// Whether the network is one that the key never used, in a region that it knows.
pub(super) fn is_new_network(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    let known = |asn: &u32| {
        profile.asns.get(asn).is_some_and(|row| is_settled(profile, row.first_seen, now, SETTLING))
    };
    place.asn != 0 && !profile.asns.is_empty() && !known(&place.asn)
}
