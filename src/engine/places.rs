//! Places with their names: profiles and stores keep cores and prefixes only, and the geo database knows the rest.

use crate::{
    domain::{
        Millis,
        place::{Place, PlaceCore, PlaceSummary, Prefix},
        profile::{DaySet, Profile},
    },
    geo::Geo,
};

/// A place that a profile knows.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownPlace {
    /// Where it is: city, country and network, as far as they are known.
    pub place: PlaceSummary,
    /// Requests learned from there, ever.
    pub requests: u64,
    /// Days on which it was seen.
    pub days: DaySet,
    /// When a request last came from there, ms since the Unix epoch.
    pub last_seen: Millis,
}

/// A place with its names.
pub(super) fn describe(geo: &Geo, core: &PlaceCore) -> PlaceSummary {
    let known = geo.lookup(core.prefix.address()).filter(|p| p.core.coordinates == core.coordinates);
    let city = known.and_then(|place| place.city.clone());
    Place { core: *core, city, organization: None }.summary()
}

/// The places that a profile knows, by the networks of which the geo database knows the place today; most requests
/// first.
pub(super) fn known_places(geo: &Geo, profile: &Profile) -> Vec<KnownPlace> {
    let mut places: Vec<KnownPlace> = Vec::new();
    for (prefix, row) in profile.prefixes.iter() {
        let Some(place) = geo.lookup(Prefix(*prefix).address()) else { continue };
        let place = place.summary();
        match places.iter_mut().find(|known| known.place == place) {
            Some(known) => {
                known.requests += row.count;
                known.days.merge(&row.days);
                known.last_seen = known.last_seen.max(row.last_seen);
            }
            None => places.push(KnownPlace {
                place,
                requests: row.count,
                days: row.days,
                last_seen: row.last_seen,
            }),
        }
    }
    places.sort_by_key(|known| std::cmp::Reverse(known.requests));
    places
}
