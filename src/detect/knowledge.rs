//! How much a profile knows, and what of a request it knows already.

use crate::domain::{
    DAY, HOUR, Millis,
    observation::PeerSeen,
    place::{Coordinates, PlaceCore},
    policy::LearningPolicy,
    profile::{Cell, Profile, client_family, endpoint_template},
    record::Record,
};

/// Two places this close (km, radii taken off) are the same region.
const SAME_REGION_KM: f64 = 200.0;

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

    /// How many of client, endpoint and model the profile has never seen.
    pub fn novelties(&self, record: &Record, profile: &Profile) -> u32 {
        let new_client = self
            .client
            .as_deref()
            .is_some_and(|c| !profile.clients.is_empty() && profile.clients.get(c).is_none());
        let new_endpoint = profile.endpoints.get(self.endpoint.as_str()).is_none();
        let new_model = record
            .model
            .as_deref()
            .is_some_and(|m| !profile.models.is_empty() && profile.models.get(m).is_none());
        u32::from(new_client) + u32::from(new_endpoint) + u32::from(new_model)
    }
}

/// How far a profile can be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knowledge {
    /// Too little to call anything unusual.
    Learning,
    /// Enough days or requests to judge by.
    Established,
}

impl Knowledge {
    /// What `profile` knows at `now`. Besides days or requests it needs its places settled: one that saw its newest
    /// country or network less than a day of activity ago is still finding out where the key lives.
    pub fn of(profile: &Profile, policy: &LearningPolicy, now: Millis) -> Self {
        let Some(first_seen) = profile.first_seen else { return Self::Learning };
        let age = now - first_seen;
        let days = i64::from(policy.established_days) * DAY;
        let min_days = i64::from(policy.established_min_days) * DAY;
        let enough = profile.requests >= policy.established_requests && age >= min_days;
        if (age >= days && profile.requests > 0) || enough { Self::Established } else { Self::Learning }
    }
}

/// Whether the profile knows a place: its prefix, its network in that country, or its region.
pub fn knows_place(profile: &Profile, place: &PlaceCore, now: Millis) -> bool {
    let seen_before = |first_seen: Millis| now - first_seen >= HOUR;
    let prefix = profile.prefixes.get(&place.prefix.0).is_some_and(|row| seen_before(row.first_seen));
    let network = place.asn != 0
        && profile.asns.get(&place.asn).is_some_and(|row| seen_before(row.first_seen))
        && place
            .country
            .is_none_or(|c| profile.countries.get(&c).is_some_and(|row| seen_before(row.first_seen)));
    prefix || network || place.coordinates.is_some_and(|c| knows_region(profile, &c, now))
}

fn knows_region(profile: &Profile, at: &Coordinates, now: Millis) -> bool {
    let cell = Cell::of(at);
    let near = |other: &Cell| *other == cell || other.center().least_distance_km(at) <= SAME_REGION_KM;
    profile.cells.iter().any(|(other, row)| near(other) && now - row.first_seen >= HOUR)
}

/// The known move between two places, in either direction: how often it was made.
pub fn known_moves(profile: &Profile, from: &PlaceCore, to: &PlaceCore) -> u64 {
    let (Some(a), Some(b)) = (from.coordinates, to.coordinates) else { return 0 };
    let (a, b) = (Cell::of(&a), Cell::of(&b));
    profile.moves.get(&(a.min(b), a.max(b))).map_or(0, |row| row.count)
}

/// The place of a recent peer.
pub fn peer_place(seen: &PeerSeen) -> PlaceCore {
    PlaceCore::unpack(&seen.peer.data)
}
