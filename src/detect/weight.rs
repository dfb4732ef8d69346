//! Evidence, weighed: how surprising what is new about a request is, given how often this key shows anything new.
//!
//! A single new thing is weak evidence, several at once are strong (Elastic's "new terms" and GuardDuty's rarity grade
//! each on its own; here they are added up). Each feature's weight is the negative logarithm of the chance that this key
//! shows a new value: `ln((n + 1) / (d + 1/2))`, where n is the number of days that the profile knows and d on how many
//! of them, after its first, it showed one (the Krichevsky-Trofimov estimate of a rare event). A young key, or one that
//! shows something new every other day, therefore weighs little; a settled one weighs a lot. Natural logarithms.

use crate::domain::{
    DAY, HOUR, Millis,
    place::PlaceCore,
    profile::{Profile, Table},
    record::Record,
};

use smallvec::SmallVec;

use super::{Features, Quiet, knowledge};

/// Requests that make a day count in full.
const REQUESTS_PER_DAY: u64 = 10;
/// Weight of work at an hour of the day at which the key never worked.
const ODD_HOUR: f64 = 1.0;
/// Days of history before an hour can be odd.
const ODD_HOUR_DAYS: u32 = 5;

/// Said of a key that is warming up.
pub const WARMING_UP: Quiet = Quiet::because("the key is too young for anything about it to be unusual");

/// What is new about a request, and how much each of it weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weights {
    /// Network, country and region are all new.
    pub place: f64,
    /// The network is new, in a region that is known.
    pub network: f64,
    /// The client family is new.
    pub client: f64,
    /// The endpoint template is new.
    pub endpoint: f64,
    /// The model is new.
    pub model: f64,
    /// The hour of the day is odd, beside something that is new.
    pub hour: f64,
}

impl Weights {
    /// Weighs a request against a profile. What is usual in the key's project (`prior`, known for a day) is not new.
    pub fn of(
        record: &Record,
        place: Option<&PlaceCore>,
        features: &Features,
        (profile, prior): (&Profile, Option<&Profile>),
        now: Millis,
    ) -> Self {
        let days = known_days(profile);
        if days == 0.0 {
            return Self::default();
        }
        let usual = |table: fn(&Profile) -> &Table<String>, value: &str| {
            let known =
                |prior: &Profile| table(prior).get(value).is_some_and(|row| now - row.first_seen >= DAY);
            table(profile).get(value).is_some() || prior.is_some_and(known)
        };
        let client = features.client.as_deref().filter(|c| !usual(|p| &p.clients, c));
        let endpoint = !usual(|p| &p.endpoints, &features.endpoint);
        let model = record.model.as_deref().filter(|m| !usual(|p| &p.models, m));
        let is_new_place = |p: &PlaceCore| {
            knowledge::can_be_placed(p)
                && !knowledge::knows_place(profile, p, now)
                && !prior.is_some_and(|prior| knowledge::is_settled_place(prior, p, now))
        };
        let new_place = place.is_some_and(is_new_place);
        // How often a table shows something new is asked only when this request does: most show nothing.
        let weigh = |is_new: bool, discoveries: &dyn Fn() -> usize| {
            if is_new { weight(days, discoveries()) } else { 0.0 }
        };
        let new_places =
            || discoveries(profile, &profile.cells).max(discoveries(profile, &profile.countries));
        let is_new_network = |p: &PlaceCore| {
            knowledge::is_new_network(profile, p, now)
                && prior.is_none_or(|prior| prior.asns.get(&p.asn).is_none())
        };
        let new_network = !new_place && place.is_some_and(is_new_network);
        let mut weights = Self {
            place: weigh(new_place, &new_places),
            network: weigh(new_network, &|| discoveries(profile, &profile.asns)),
            client: weigh(client.is_some() && !profile.clients.is_empty(), &|| {
                discoveries(profile, &profile.clients)
            }),
            endpoint: weigh(endpoint, &|| discoveries(profile, &profile.endpoints)),
            model: weigh(model.is_some() && !profile.models.is_empty(), &|| {
                discoveries(profile, &profile.models)
            }),
            hour: 0.0,
        };
        // People change networks all the time: one is a sign only beside a client or a model that is new too.
        if weights.client == 0.0 && weights.model == 0.0 {
            weights.network = 0.0;
        }
        if weights.novelties() > 0 && is_odd_hour(profile, now) {
            weights.hour = ODD_HOUR;
        }
        weights
    }

    /// How many of place (or network), client, endpoint and model are new.
    pub fn novelties(&self) -> u32 {
        [self.place, self.network, self.client, self.endpoint, self.model]
            .iter()
            .map(|w| u32::from(*w > 0.0))
            .sum()
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.place + self.network + self.client + self.endpoint + self.model + self.hour
    }

    /// The names of what is new.
    pub fn names(&self) -> Vec<&'static str> {
        let parts = [
            ("place", self.place),
            ("network", self.network),
            ("client", self.client),
            ("endpoint", self.endpoint),
            ("model", self.model),
            ("hour", self.hour),
        ];
        parts.into_iter().filter(|(_, w)| *w > 0.0).map(|(name, _)| name).collect()
    }
}

/// Days that the profile knows; a day with few requests counts in part.
pub fn known_days(profile: &Profile) -> f64 {
    let by_requests = profile.requests as f64 / REQUESTS_PER_DAY as f64;
    f64::from(profile.days.count()).min(by_requests)
}

/// Whether the key is too young to call anything about it unusual: it has been seen for less than a day and a half, or
/// on too few requests. Its third day is judged, its first never.
pub fn is_warming_up(profile: &Profile, now: Millis) -> bool {
    known_days(profile) < 1.5 || profile.first_seen.is_none_or(|first| now - first < DAY + DAY / 2)
}

fn weight(days: f64, discoveries: usize) -> f64 {
    ((days + 1.0) / (discoveries as f64 + 0.5)).ln().max(0.0)
}

/// Days after the profile's first on which something new came: how often it shows something new.
fn discoveries<K: Ord + Clone>(profile: &Profile, table: &Table<K>) -> usize {
    let settled = profile.first_seen.map_or(Millis::MAX, |t| t + DAY);
    let mut days: SmallVec<[i64; 16]> = table
        .iter()
        .map(|(_, row)| row.first_seen)
        .filter(|t| *t > settled)
        .map(|t| t.div_euclid(DAY))
        .collect();
    days.sort_unstable();
    days.dedup();
    days.len()
}

/// Whether the key has not been seen for a whole week yet: somebody who uses it on Mondays may not have come by.
pub fn is_young(profile: &Profile, now: Millis) -> bool {
    profile.first_seen.is_none_or(|first| now - first < 7 * DAY)
}

/// Whether the key never worked at this hour of the day or the ones beside it, on days before today.
fn is_odd_hour(profile: &Profile, now: Millis) -> bool {
    if profile.days.count() < ODD_HOUR_DAYS {
        return false;
    }
    let hour = now.div_euclid(HOUR);
    let near = |other: i64| {
        let apart = (other - hour).rem_euclid(24);
        apart <= 1 || apart == 23
    };
    !profile.history.hours().any(|(h, _)| i64::from(h) < hour - 12 && near(i64::from(h)))
}
