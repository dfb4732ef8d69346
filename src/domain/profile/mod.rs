//! What is normal for a subject, learned.
//!
//! A profile is raw history in bounded tables; every statistic is derived from it when needed. A delta is a
//! profile too, and [`Profile::merge`] takes deltas in any order and grouping (a commutative monoid), so each
//! instance gathers its own and flushes them off the hot path. Adding is exact for counts; masses are sums of
//! doubles, equal up to rounding. Above a table's cap the lightest rows leave. Forgetting is forward decay.

mod alarms;
mod client;
mod familiar;
mod histogram;
mod history;
mod moments;
mod parts;

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

pub use alarms::{About, Alarms};
pub use client::{NO_CLIENT, client_family};
pub use familiar::{DaySet, Familiar, Mass, Table};
pub use histogram::Histogram;
pub use history::{DayStat, Days, History, HourStat};
pub use moments::{Context, Contexts, Lag, Moments};
pub use parts::{MOST_DEVIATIONS, Part, PartName, PartSeen, PartSighting, Parts, StoppedPart};

use super::{
    Millis,
    place::{Coordinates, PlaceCore},
    record::Outcome,
};

/// A cell of the grid on which places are remembered: 2 by 2 degrees (about 220 km).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Cell(pub i16, pub i16);

impl Cell {
    /// The cell around coordinates.
    pub fn of(coordinates: &Coordinates) -> Self {
        Self((coordinates.latitude / 2.0).floor() as i16, (coordinates.longitude / 2.0).floor() as i16)
    }

    /// The middle of the cell.
    pub fn center(self) -> Coordinates {
        Coordinates {
            latitude: f64::from(self.0) * 2.0 + 1.0,
            longitude: f64::from(self.1) * 2.0 + 1.0,
            radius_km: 0,
        }
    }
}

/// Masses of requests by what their status means (`Outcome`).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Requests with any other status, which succeeded.
    pub success: Mass,
    /// Requests answered 401 or 403.
    pub auth_failure: Mass,
    /// Requests answered 404 or 405.
    pub not_found: Mass,
    /// Other 4xx, 429 and 5xx: not evidence about the key.
    pub other: Mass,
}

/// What a profile learns from one request.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// When the request was judged.
    pub now: Millis,
    /// The place it came from.
    pub place: Option<&'a PlaceCore>,
    /// The cell the key was last seen in, when that was another one and recently: a transition.
    pub came_from: Option<Cell>,
    /// Client family, for example `openai-python`.
    pub client: Option<&'a str>,
    /// Endpoint template, for example `/v1/files/{id}`.
    pub endpoint: &'a str,
    /// The model it asked for.
    pub model: Option<&'a str>,
    /// Tokens, prompt and completion together.
    pub tokens: u64,
    /// The same without those that came from a cache; 0 teaches no size.
    pub fresh_tokens: u64,
    /// Its cost, in nano-dollars.
    pub cost_nanos: u64,
    /// What its status says.
    pub outcome: Outcome,
    /// Requests in the 1-minute and in the 5-minute window, this one included.
    pub peaks: (u64, u64),
}

/// What is normal for a subject.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Profile {
    /// First request learned; `None` for an empty profile.
    pub first_seen: Option<Millis>,
    /// The last request that was learned.
    pub last_seen: Option<Millis>,
    /// Requests that were learned, ever.
    pub requests: u64,
    /// The days of the last 32 on which requests were learned.
    pub days: DaySet,
    /// Hourly and daily counts.
    pub history: History,
    /// Request sizes, by the logarithm of their tokens.
    pub sizes: Histogram,
    /// How requests ended, with forgetting.
    pub outcomes: Outcomes,
    /// Network prefixes of addresses: /24 of IPv4, /48 of IPv6.
    pub prefixes: Table<u64>,
    /// Numbers of autonomous systems.
    pub asns: Table<u32>,
    /// Countries, by their two letters.
    pub countries: Table<[u8; 2]>,
    /// Grid cells of coordinates.
    pub cells: Table<Cell>,
    /// Moves between cells within an hour, in either direction: the smaller cell comes first.
    pub moves: Table<(Cell, Cell)>,
    /// Client families: product, and of browsers the system.
    pub clients: Table<String>,
    /// Endpoint templates: paths with ids taken out.
    pub endpoints: Table<String>,
    /// Names of models, as requests gave them.
    pub models: Table<String>,
    /// Parts that came later.
    #[serde(skip)]
    pub later: Later,
}

/// Parts of a profile that came later: packed behind the rest, so that profiles written before are read.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Later {
    /// What was admitted and taught nothing, because it was flagged: spent all the same.
    pub flagged: Days,
    /// Alarms of the last 7 days, so that each is reported once.
    pub alarms: Alarms,
    /// Request sizes by context.
    pub contexts: Contexts,
    /// Autonomous systems by country.
    pub networks: Table<Network>,
    /// Parts of its traffic, packed behind the rest of these.
    #[serde(skip)]
    pub parts: Parts,
    /// Requests that were as large as the one before for the same use, packed with these.
    #[serde(skip)]
    pub repeats: Mass,
    /// How sizes go together, packed with these.
    #[serde(skip)]
    pub lag: Lag,
}

/// An autonomous system in one country: carriers and VPN providers are in many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Network(pub u32, pub [u8; 2]);

impl Network {
    /// The network of a place, when it is known.
    pub fn of(place: &PlaceCore) -> Option<Self> {
        (place.asn != 0).then(|| Self(place.asn, place.country.unwrap_or_default()))
    }
}

impl Profile {
    /// Whether nothing was learned.
    pub fn is_empty(&self) -> bool {
        self.requests == 0
            && self.history == History::default()
            && self.later.flagged.is_empty()
            && self.later.alarms.is_empty()
            && self.later.parts.is_empty()
    }

    /// How many places, clients, endpoints, models, parts and alarms are known, of each kind two dozen at most: one
    /// more of few changes a judgement soon, one more of many does not.
    pub fn things_known(&self) -> usize {
        const FEW: usize = 24;
        let places = [self.prefixes.len(), self.asns.len(), self.countries.len(), self.cells.len()];
        let others = [self.moves.len(), self.clients.len(), self.endpoints.len(), self.models.len()];
        let later = [self.later.networks.len(), self.later.parts.len(), self.later.alarms.len()];
        places.iter().chain(&others).chain(&later).map(|len| FEW.min(*len)).sum()
    }

    /// Counts a request that was admitted and teaches nothing.
    pub fn count_flagged(&mut self, now: Millis, tokens: u64, cost_nanos: u64) {
        self.later.flagged.add(now, tokens, cost_nanos);
    }

    /// Learns one request that was admitted and not flagged.
    pub fn learn(&mut self, sample: &Sample<'_>) {
        let now = sample.now;
        self.first_seen = Some(self.first_seen.map_or(now, |t| t.min(now)));
        self.last_seen = Some(self.last_seen.map_or(now, |t| t.max(now)));
        self.requests += 1;
        self.days.insert(now);
        self.history.add(now, sample.tokens, sample.cost_nanos, sample.peaks);
        self.learn_end(sample);
        // A path that was refused or is not there is no habit: a scan must not vouch for itself.
        let refused = matches!(sample.outcome, Outcome::AuthFailure | Outcome::NotFound);
        self.learn_features(&Sample { endpoint: if refused { "" } else { sample.endpoint }, ..*sample });
    }

    /// Learns what became of a request that was learned when it was seen on its way: how it ended, and what it used.
    pub fn complete(&mut self, sample: &Sample<'_>) {
        self.history.add_usage(sample.now, sample.tokens, sample.cost_nanos);
        self.learn_end(sample);
        if let Some(model) = sample.model {
            self.models.touch_str(model, sample.now);
        }
    }

    fn learn_end(&mut self, sample: &Sample<'_>) {
        let now = sample.now;
        if sample.fresh_tokens > 0 {
            self.sizes.add(sample.fresh_tokens, now);
            let context = Context::of(sample.client.unwrap_or(NO_CLIENT), sample.endpoint, sample.model);
            self.later.contexts.add(context, sample.fresh_tokens, now);
        }
        match sample.outcome {
            Outcome::Success => self.outcomes.success.add(now),
            Outcome::AuthFailure => self.outcomes.auth_failure.add(now),
            Outcome::NotFound => self.outcomes.not_found.add(now),
            Outcome::Throttled | Outcome::ClientError | Outcome::ServerError => self.outcomes.other.add(now),
            Outcome::Unknown => {}
        }
    }

    /// Learns place, client, endpoint and model alone, without counting a request.
    pub fn learn_features(&mut self, sample: &Sample<'_>) {
        let now = sample.now;
        if let Some(place) = sample.place {
            self.learn_place(place, sample.came_from, now);
        }
        if let Some(client) = sample.client {
            self.clients.touch_str(client, now);
        }
        if !sample.endpoint.is_empty() {
            self.endpoints.touch_str(sample.endpoint, now);
        }
        if let Some(model) = sample.model {
            self.models.touch_str(model, now);
        }
    }

    fn learn_place(&mut self, place: &PlaceCore, came_from: Option<Cell>, now: Millis) {
        self.prefixes.touch(place.prefix.0, now);
        if let Some(network) = Network::of(place) {
            self.asns.touch(place.asn, now);
            self.later.networks.touch(network, now);
        }
        if let Some(country) = place.country {
            self.countries.touch(country, now);
        }
        if let Some(cell) = place.coordinates.as_ref().map(Cell::of) {
            self.cells.touch(cell, now);
            if let Some(from) = came_from.filter(|from| *from != cell) {
                self.moves.touch((from.min(cell), from.max(cell)), now);
            }
        }
    }

    /// Adds what another profile of the same subject has learned.
    pub fn merge(&mut self, other: &Self) {
        self.first_seen = [self.first_seen, other.first_seen].into_iter().flatten().min();
        self.last_seen = self.last_seen.max(other.last_seen);
        self.requests += other.requests;
        self.days.merge(&other.days);
        self.history.merge(&other.history);
        self.sizes.merge(&other.sizes);
        self.outcomes.success.merge(&other.outcomes.success);
        self.outcomes.auth_failure.merge(&other.outcomes.auth_failure);
        self.outcomes.not_found.merge(&other.outcomes.not_found);
        self.outcomes.other.merge(&other.outcomes.other);
        self.prefixes.merge(&other.prefixes);
        self.asns.merge(&other.asns);
        self.countries.merge(&other.countries);
        self.cells.merge(&other.cells);
        self.moves.merge(&other.moves);
        self.clients.merge(&other.clients);
        self.endpoints.merge(&other.endpoints);
        self.models.merge(&other.models);
        self.later.flagged.merge(&other.later.flagged);
        self.later.alarms.merge(&other.later.alarms);
        self.later.contexts.merge(&other.later.contexts);
        self.later.networks.merge(&other.later.networks);
        self.later.parts.merge(&other.later.parts);
        self.later.repeats.merge(&other.later.repeats);
        self.later.lag.merge(&other.later.lag);
    }
}

/// The template of an endpoint: no query, ids replaced by `{id}`, at most 96 bytes.
/// An id is a segment with a digit that is all digits, or at least 8 characters long of which a quarter are digits.
/// Nothing is allocated for a path without ids.
pub fn endpoint_template(endpoint: &str) -> Cow<'_, str> {
    let path = endpoint.split(['?', '#']).next().unwrap_or("");
    if !path.split('/').any(looks_like_id) {
        return truncate(path, 96).into();
    }
    let mut out = String::with_capacity(path.len().min(96));
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            out.push('/');
        }
        out.push_str(if looks_like_id(segment) { "{id}" } else { segment });
    }
    truncate(&out, 96).to_owned().into()
}

/// The template of an endpoint, shared with it where it is its own.
pub fn shared_template(endpoint: &Arc<str>) -> Arc<str> {
    match endpoint_template(endpoint) {
        template if template.len() == endpoint.len() && *template == **endpoint => endpoint.clone(),
        template => template.into(),
    }
}

fn looks_like_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    digits > 0 && (digits == segment.len() || (segment.len() >= 8 && digits * 4 >= segment.len()))
}

fn truncate(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn learned(requests: &[(i64, u64, u8)]) -> Profile {
        let mut profile = Profile::default();
        for (minute, tokens, place) in requests {
            let core = PlaceCore {
                asn: u32::from(*place) + 1,
                country: Some([b'A' + place % 3, b'Z']),
                coordinates: Some(Coordinates {
                    latitude: f64::from(*place) * 5.0,
                    longitude: 7.0,
                    radius_km: 10,
                }),
                ..PlaceCore::unknown([203, 0, *place, 1].into())
            };
            profile.learn(&Sample {
                now: 1_760_000_000_000 + minute * 60_000,
                place: Some(&core),
                came_from: Some(Cell(1, 1)),
                client: Some("openai-python"),
                endpoint: "/v1/chat/completions",
                model: Some("gpt-4.1"),
                tokens: *tokens,
                fresh_tokens: *tokens,
                cost_nanos: tokens * 8_000,
                outcome: Outcome::Success,
                peaks: (1, 3),
            });
        }
        profile
    }

    /// Equality with masses (sums of doubles) rounded: JSON with floats cut to 9 digits.
    fn fingerprint(profile: &Profile) -> String {
        fn round(value: &mut serde_json::Value) {
            match value {
                serde_json::Value::Number(n) if n.is_f64() => {
                    *value = format!("{:.9e}", n.as_f64().unwrap_or_default()).into();
                }
                serde_json::Value::Array(items) => items.iter_mut().for_each(round),
                serde_json::Value::Object(map) => map.values_mut().for_each(round),
                _ => {}
            }
        }
        let mut value = serde_json::to_value(profile).unwrap();
        round(&mut value);
        value.to_string()
    }

    fn requests() -> impl Strategy<Value = Vec<(i64, u64, u8)>> {
        proptest::collection::vec((0..60_000_i64, 0..100_000_u64, 0..12_u8), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn deltas_merge_in_any_order(a in requests(), b in requests()) {
            let (mut ab, mut ba) = (learned(&a), learned(&b));
            ab.merge(&learned(&b));
            ba.merge(&learned(&a));
            prop_assert_eq!(fingerprint(&ab), fingerprint(&ba));
        }

        #[test]
        fn deltas_merge_in_any_grouping(a in requests(), b in requests(), c in requests()) {
            let (a, b, c) = (learned(&a), learned(&b), learned(&c));
            let mut left = a.clone();
            left.merge(&b);
            left.merge(&c);
            let mut right_tail = b.clone();
            right_tail.merge(&c);
            let mut right = a.clone();
            right.merge(&right_tail);
            prop_assert_eq!(fingerprint(&left), fingerprint(&right));
        }

        #[test]
        fn learning_apart_and_merging_equals_learning_together(a in requests(), b in requests()) {
            let mut apart = learned(&a);
            apart.merge(&learned(&b));
            let together: Vec<_> = a.into_iter().chain(b).collect();
            prop_assert_eq!(fingerprint(&apart), fingerprint(&learned(&together)));
        }
    }

    #[test]
    fn one_more_of_few_things_is_known_and_one_more_of_many_or_the_same_again_is_not() {
        const START: Millis = 1_760_000_000_000;
        let mut profile = Profile::default();
        for known in [1, 1] {
            profile.clients.touch_str("curl", START);
            assert_eq!(profile.things_known(), known);
        }
        (1..=24).for_each(|prefix| profile.prefixes.touch(prefix, START));
        assert_eq!(profile.things_known(), 25);
        profile.prefixes.touch(99, START);
        assert_eq!(profile.things_known(), 25);
        profile.asns.touch(64_512, START);
        assert_eq!(profile.things_known(), 26);
    }

    #[test]
    fn an_empty_delta_changes_nothing() {
        let mut profile = learned(&[(1, 2, 3), (70, 9, 4)]);
        let before = profile.clone();
        profile.merge(&Profile::default());
        assert_eq!(profile, before);
    }

    #[test]
    fn endpoints_are_reduced_to_what_repeats() {
        assert_eq!(endpoint_template("/v1/files/file-abc12345/content?x=1"), "/v1/files/{id}/content");
        assert_eq!(endpoint_template("/v1/chat/completions"), "/v1/chat/completions");
        assert_eq!(endpoint_template("/users/42"), "/users/{id}");
        assert_eq!(endpoint_template("/t/550e8400-e29b-41d4-a716-446655440000"), "/t/{id}");
    }
}
