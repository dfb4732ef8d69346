//! Weights of evidence: how surprising what is new about a request is, given how often this key shows anything new.
//!
//! A single new thing is weak evidence, several at once are strong (Elastic's "new terms" and GuardDuty's rarity
//! grade each on its own; here they are added up). The weight of a new value is the negative natural logarithm of the
//! chance that this key shows one: `ln((n + 1) / (d + 1/2))`. The profile knows n days, and on d of them, after its
//! first, a new value came. This is the Krichevsky-Trofimov estimate of a rare event. A young key, or one that shows
//! something new every other day, therefore weighs little; a settled one weighs a lot.
//!
//! A young key shares its project's habits. What is new to it and common in the project is what the next of its users
//! brings along; what is rare there, a thief may have brought just as well. So a value that makes up the share s of the
//! project's requests weighs less by `ln(s / c)`, and never more. The share that anybody at all would have is c:
//! [`VALUE_BY_CHANCE`] or [`PLACE_BY_CHANCE`].

use crate::domain::{
    DAY, HOUR, Millis,
    place::PlaceCore,
    profile::{Cell, Familiar, Profile, Table},
    record::Record,
};

use smallvec::SmallVec;

use super::{Features, Quiet, knowledge};

/// Requests that make a day count in full: a day of fewer shows less of what is usual.
const REQUESTS_PER_DAY: u64 = 10;
/// Weight of work at an hour of the day at which the key never worked: less than any of the rest, as owners work late.
const ODD_HOUR: f64 = 1.0;
/// Days of history before an hour can be odd: a working week.
const ODD_HOUR_DAYS: u32 = 5;
/// Hours before the present one that do not count for an odd hour: what goes on must not vouch for itself.
const ODD_HOUR_GAP: i64 = 12;
/// Days (UTC) of its life in which nothing about a key is unusual: the day it was first seen and the one after.
const WARM_UP_DAYS: i64 = 2;
/// How old a key must be as well: a key of late on the first day has seen less than two.
const WARM_UP: Millis = DAY + DAY / 4;
/// Days, by their requests, that a profile must know as well: fifteen requests.
const WARM_UP_KNOWN_DAYS: f64 = 1.5;
/// How long a key is judged by its project, too.
const YOUNG: Millis = 7 * DAY;

/// Hours of the day in which a key has worked that works around the clock: people sleep.
const HOURS_OF_A_MACHINE: u32 = 21;
/// Days with new far moves, from where on they are a key's way of working.
const FAR_MOVE_DAYS: usize = 3;
/// Days that a project must be known before a key's first day is judged by it.
const PROJECT_DAYS: f64 = 3.0;

/// The share that a client family, an endpoint or a model has among anybody's requests: one in ten.
const VALUE_BY_CHANCE: f64 = 0.1;
/// The share that a place has among anybody's requests: one in fifty.
const PLACE_BY_CHANCE: f64 = 0.02;

/// Why a detector of what is new stays quiet about a key that is warming up.
pub(super) const WARMING_UP: Quiet =
    Quiet::because("the key is too young for anything about it to be unusual");

/// What is new about a request, and how much each of it weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weights {
    /// Weight of the place, if network, country and region are all new.
    pub place: f64,
    /// Weight of the network, if it is new in a region that is known, and beside a new client or model.
    pub network: f64,
    /// Weight of the client family, if it is new.
    pub client: f64,
    /// Weight of the endpoint template, if it is new.
    pub endpoint: f64,
    /// Weight of the model, if it is new.
    pub model: f64,
    /// Weight of the hour of the day, if it is odd and something else is new.
    pub hour: f64,
}

impl Weights {
    /// Weighs a request against a profile, and what is new against its project's (`prior`).
    pub fn of(
        record: &Record,
        place: Option<&PlaceCore>,
        features: &Features,
        (profile, prior): (&Profile, Option<&Profile>),
        now: Millis,
    ) -> Self {
        let scale = Scale { profile, prior, days: known_days(profile), now };
        if scale.days == 0.0 {
            return Self::default();
        }
        let new_place = place.map_or(0.0, |place| scale.place(place));
        let network = place.filter(|_| new_place == 0.0).map_or(0.0, |place| scale.network(place));
        let mut weights = Self {
            place: new_place,
            network,
            client: scale.named(|profile| &profile.clients, Some(&features.client)),
            endpoint: scale.value(|profile| &profile.endpoints, &features.endpoint),
            model: scale.named(|profile| &profile.models, record.model.as_deref()),
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

    /// Whether the place, the network or the client is one that the key never had.
    pub fn shows_another_actor(&self) -> bool {
        self.place > 0.0 || self.network > 0.0 || self.client > 0.0
    }

    /// The sum of all weights.
    pub fn total(&self) -> f64 {
        self.place + self.network + self.client + self.endpoint + self.model + self.hour
    }

    /// The names of what is new, as evidence has them.
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

/// What new values are weighed by: the profile, and its project's while the key is young.
struct Scale<'a> {
    profile: &'a Profile,
    prior: Option<&'a Profile>,
    days: f64,
    now: Millis,
}

impl Scale<'_> {
    /// The weight of a value of one table; 0 where the key has shown it.
    fn value(&self, table: fn(&Profile) -> &Table<String>, value: &str) -> f64 {
        let own = table(self.profile);
        if own.get(value).is_some() {
            return 0.0;
        }
        let row = self.prior.and_then(|prior| Some((table(prior).get(value)?, prior.requests)));
        let share = row.map_or(0.0, |(row, of)| {
            if self.now - row.first_seen < DAY { 0.0 } else { row.count as f64 / of.max(1) as f64 }
        });
        self.of_new(days_of_discovery(self.profile, own), share, VALUE_BY_CHANCE)
    }

    /// The same for a value that a request may lack, or that no request of the key ever had.
    fn named(&self, table: fn(&Profile) -> &Table<String>, name: Option<&str>) -> f64 {
        name.filter(|_| !table(self.profile).is_empty()).map_or(0.0, |name| self.value(table, name))
    }

    /// The weight of a place; 0 where the key knows it, or nothing is known of it.
    fn place(&self, place: &PlaceCore) -> f64 {
        if !knowledge::can_be_placed(place) || knowledge::knows_place(self.profile, place, self.now) {
            return 0.0;
        }
        let cells = days_of_discovery(self.profile, &self.profile.cells);
        let countries = days_of_discovery(self.profile, &self.profile.countries);
        let share = self.prior.map_or(0.0, |prior| knowledge::share_from(prior, place, self.now));
        self.of_new(cells.max(countries), share, PLACE_BY_CHANCE)
    }

    /// The weight of a network; 0 where the key knows it, or its project does.
    fn network(&self, place: &PlaceCore) -> f64 {
        let in_project = self.prior.is_some_and(|prior| prior.asns.get(&place.asn).is_some());
        if in_project || !knowledge::is_new_network(self.profile, place, self.now) {
            return 0.0;
        }
        weight(self.days, days_of_discovery(self.profile, &self.profile.asns))
    }

    /// The weight of something new, less what its share in the project takes off.
    fn of_new(&self, discoveries: usize, share: f64, by_chance: f64) -> f64 {
        (weight(self.days, discoveries) - discount(share, by_chance)).max(0.0)
    }
}

/// How unlike its project a request of a key is that is too young to be judged by itself: the weights of its place,
/// client and model as the project shows new ones. `None` without a project that is known for long enough.
pub(super) fn unlike_the_project(
    prior: &Profile,
    place: &PlaceCore,
    (client, model): (&str, Option<&str>),
    now: Millis,
) -> Option<f64> {
    let scale = Scale { profile: prior, prior: None, days: known_days(prior), now };
    if scale.days < PROJECT_DAYS {
        return None;
    }
    // What the project shows since this day may be the very thief's.
    let is_settled = |row: &Familiar| now - row.first_seen >= DAY;
    let of = |table: fn(&Profile) -> &Table<String>, value: &str| {
        if table(prior).get(value).is_some_and(is_settled) {
            return 0.0;
        }
        weight(scale.days, times_of_news(table(prior), is_settled))
    };
    let known_place = knowledge::share_from(prior, place, now) > 0.0 || !knowledge::can_be_placed(place);
    let new_place =
        if known_place { 0.0 } else { weight(scale.days, times_of_news(&prior.cells, is_settled)) };
    let new_model = model.map_or(0.0, |model| of(|profile| &profile.models, model));
    Some(new_place + of(|profile| &profile.clients, client) + new_model)
}

/// Days that the profile knows; a day with few requests counts in part.
pub fn known_days(profile: &Profile) -> f64 {
    let by_requests = profile.requests as f64 / REQUESTS_PER_DAY as f64;
    f64::from(profile.days.count()).min(by_requests)
}

/// Whether the key is too young for anything about it to be unusual. It is, on the first two days (UTC) of its life,
/// until it is 30 hours old, and until it has made fifteen requests. Its third day is judged.
pub fn is_warming_up(profile: &Profile, now: Millis) -> bool {
    let days = |first: Millis| now.div_euclid(DAY) - first.div_euclid(DAY);
    let is_early = |first: Millis| days(first) < WARM_UP_DAYS || now - first < WARM_UP;
    known_days(profile) < WARM_UP_KNOWN_DAYS || profile.first_seen.is_none_or(is_early)
}

/// What a share in the project's requests takes off the weight of something new.
fn discount(share: f64, by_chance: f64) -> f64 {
    (share / by_chance).ln().max(0.0)
}

/// The Krichevsky-Trofimov estimate as a weight: of `discoveries` days of `days` that showed a new value.
fn weight(days: f64, discoveries: usize) -> f64 {
    ((days + 1.0) / (discoveries as f64 + 0.5)).ln().max(0.0)
}

/// The weight of a far move that the key never made before, by how often it makes such moves. One day of them says
/// little, as that may be the very thief: fewer than [`FAR_MOVE_DAYS`] take nothing off.
pub(super) fn of_far_moves(profile: &Profile, least_km: f64) -> f64 {
    let is_far = |(a, b): &(Cell, Cell)| a.center().distance_km(&b.center()) >= least_km;
    let days = days_of_discovery_where(profile, &profile.moves, is_far);
    if days < FAR_MOVE_DAYS { f64::INFINITY } else { weight(known_days(profile), days) }
}

/// How often a project showed something new beside what it began with, its first day included: a new key of a project
/// whose keys are in many places is expected in one more.
fn times_of_news<K: Ord + Clone>(table: &Table<K>, is_settled: impl Fn(&Familiar) -> bool) -> usize {
    table.iter().filter(|(_, row)| is_settled(row)).count().saturating_sub(1)
}

/// Days after the profile's first on which something new came: how often it shows something new.
fn days_of_discovery<K: Ord + Clone>(profile: &Profile, table: &Table<K>) -> usize {
    days_of_discovery_where(profile, table, |_| true)
}

fn days_of_discovery_where<K: Ord + Clone>(
    profile: &Profile,
    table: &Table<K>,
    counts: impl Fn(&K) -> bool,
) -> usize {
    let settled = profile.first_seen.map_or(Millis::MAX, |t| t + DAY);
    let mut days: SmallVec<[i64; 16]> = table
        .iter()
        .filter(|(key, _)| counts(key))
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
    profile.first_seen.is_none_or(|first| now - first < YOUNG)
}

/// Whether a key works around the clock, as machines do: in nearly every hour of the day within the last two weeks.
pub(super) fn works_around_the_clock(profile: &Profile, now: Millis) -> bool {
    let first = (now - 14 * DAY).div_euclid(HOUR);
    let hours = profile.history.worked_hours().rev().take_while(|hour| i64::from(*hour) >= first);
    let of_the_day = hours.fold(0_u32, |seen, hour| seen | 1 << (hour % 24));
    of_the_day.count_ones() >= HOURS_OF_A_MACHINE
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
    !profile.history.worked_hours().any(|h| i64::from(h) < hour - ODD_HOUR_GAP && near(i64::from(h)))
}
