//! A profile as people read it: what is familiar, how many requests are normal for an hour of the week, how large.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    detect::{is_warming_up, known_days},
    domain::{
        HOUR, Millis,
        event::format_millis,
        place::PlaceSummary,
        profile::{History, Parts, Profile, StoppedPart, Table},
    },
    engine::KnownPlace,
};

/// Hours of a week.
const WEEK_HOURS: usize = 7 * 24;
/// Weeks of hours that a profile keeps.
const WEEKS_KEPT: i64 = 4;
/// From the hour of the epoch (a Thursday, 00:00 UTC) to the hour of its week (from Monday, 00:00 UTC).
const EPOCH_HOUR_OF_WEEK: i64 = 3 * 24;

/// What is normal for a subject.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileView {
    /// When the first request was learned; null when none was.
    #[schema(format = DateTime)]
    pub first_seen: Option<String>,
    /// When the last request was learned; null when none was.
    #[schema(format = DateTime)]
    pub last_seen: Option<String>,
    /// How many requests were learned, ever.
    pub requests: u64,
    /// Days of the last 32 on which it was seen.
    pub days_seen: u32,
    /// Whether it is too young for anything about it to be called unusual.
    pub warming_up: bool,
    /// Days that it knows; one with few requests counts in part.
    pub known_days: f64,
    /// Places by the names that the geo database has for them now, most frequent first.
    pub places: Vec<KnownPlaceView>,
    /// Countries, most frequent first.
    pub countries: Vec<FamiliarView>,
    /// Autonomous systems, most frequent first.
    pub asns: Vec<FamiliarView>,
    /// Client families, most frequent first.
    pub clients: Vec<FamiliarView>,
    /// Endpoint templates, most frequent first.
    pub endpoints: Vec<FamiliarView>,
    /// Models, most frequent first.
    pub models: Vec<FamiliarView>,
    /// Mean requests per hour of the week, UTC, over the last four weeks: 7 days from Monday, 24 hours each.
    pub hours: Vec<Vec<f64>>,
    /// How many tokens its requests have.
    pub sizes: Sizes,
    /// Parts of its traffic of which nothing passes, by their numbers.
    pub stopped_parts: Vec<StoppedPartView>,
}

/// A part of a key's traffic of which nothing passes.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct StoppedPartView {
    /// Its name, as refusals and findings have it.
    #[schema(example = "client curl from AS64961 in BR")]
    pub name: String,
    /// Until when it is stopped, unless it is lifted or accused again.
    #[schema(format = DateTime)]
    pub until: String,
}

impl StoppedPartView {
    /// All that are stopped at `now`.
    pub fn all(parts: &Parts, now: Millis) -> Vec<Self> {
        let view =
            |part: StoppedPart<'_>| Self { name: part.name.to_owned(), until: format_millis(part.until) };
        parts.stopped(now).map(view).collect()
    }
}

/// Something that the subject was seen with.
#[derive(Debug, Serialize, ToSchema)]
pub struct FamiliarView {
    /// Its name: a country, network, client, endpoint or model.
    pub value: String,
    /// Requests learned with it, ever.
    pub count: u64,
    /// Days of the last 32 on which it was seen.
    pub days: u32,
    /// When it was last seen.
    #[schema(format = DateTime)]
    pub last_seen: String,
}

/// A place that the subject was seen in.
#[derive(Debug, Serialize, ToSchema)]
pub struct KnownPlaceView {
    /// Where it is: city, country and network, as far as they are known.
    #[serde(flatten)]
    pub place: PlaceSummary,
    /// Requests learned with it, ever.
    pub count: u64,
    /// Days of the last 32 on which it was seen.
    pub days: u32,
    /// When it was last seen.
    #[schema(format = DateTime)]
    pub last_seen: String,
}

/// Quantiles of tokens per request; null when none was learned.
#[derive(Debug, Serialize, ToSchema)]
pub struct Sizes {
    /// Requests with tokens, ever.
    pub count: u64,
    /// Half of them have no more tokens than this.
    pub p50: Option<f64>,
    /// 90 % have no more.
    pub p90: Option<f64>,
    /// 95 % have no more.
    pub p95: Option<f64>,
    /// 99 % have no more.
    pub p99: Option<f64>,
}

impl ProfileView {
    /// The profile as of `now`, with the names of its places.
    pub fn new(profile: &Profile, places: &[KnownPlace], now: Millis) -> Self {
        let quantile = |q| profile.sizes.quantile(q, now).map(f64::round);
        Self {
            first_seen: profile.first_seen.map(format_millis),
            last_seen: profile.last_seen.map(format_millis),
            requests: profile.requests,
            days_seen: profile.days.count(),
            warming_up: is_warming_up(profile, now),
            known_days: (known_days(profile) * 100.0).round() / 100.0,
            places: places.iter().map(KnownPlaceView::from).collect(),
            countries: table(&profile.countries, |c| String::from_utf8_lossy(c).into_owned()),
            asns: table(&profile.asns, ToString::to_string),
            clients: table(&profile.clients, Clone::clone),
            endpoints: table(&profile.endpoints, Clone::clone),
            models: table(&profile.models, Clone::clone),
            hours: hours(&profile.history, profile.first_seen.unwrap_or(now), now),
            sizes: Sizes {
                count: profile.sizes.count(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p95: quantile(0.95),
                p99: quantile(0.99),
            },
            stopped_parts: StoppedPartView::all(&profile.later.parts, now),
        }
    }
}

impl From<&KnownPlace> for KnownPlaceView {
    fn from(known: &KnownPlace) -> Self {
        Self {
            place: known.place.clone(),
            count: known.requests,
            days: known.days.count(),
            last_seen: format_millis(known.last_seen),
        }
    }
}

fn table<K: Ord + Clone>(table: &Table<K>, show: impl Fn(&K) -> String) -> Vec<FamiliarView> {
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(_, familiar)| std::cmp::Reverse(familiar.count));
    rows.into_iter()
        .map(|(key, familiar)| FamiliarView {
            value: show(key),
            count: familiar.count,
            days: familiar.days.count(),
            last_seen: format_millis(familiar.last_seen),
        })
        .collect()
}

/// An hour in which nothing came counts as well, from the first one that was seen.
fn hours(history: &History, first_seen: Millis, now: Millis) -> Vec<Vec<f64>> {
    let end = now.div_euclid(HOUR);
    let start = first_seen.div_euclid(HOUR).max(end - WEEKS_KEPT * WEEK_HOURS as i64 + 1);
    let mut sums = [0_u64; WEEK_HOURS];
    let mut times = [0_u32; WEEK_HOURS];
    for hour in start..=end {
        let slot = (hour + EPOCH_HOUR_OF_WEEK).rem_euclid(WEEK_HOURS as i64) as usize;
        let stat = u32::try_from(hour).ok().and_then(|h| history.hour(h));
        sums[slot] += stat.map_or(0, |s| s.requests);
        times[slot] += 1;
    }
    let mean =
        |(sum, times): (&u64, &u32)| (*sum as f64 / f64::from((*times).max(1)) * 100.0).round() / 100.0;
    let means: Vec<f64> = sums.iter().zip(&times).map(mean).collect();
    means.chunks(24).map(<[f64]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        DAY,
        place::PlaceCore,
        profile::{PartSighting, Sample},
        record::Outcome,
    };

    /// A Monday, 09:13 UTC.
    const MONDAY: Millis = 1_772_442_802_123;

    fn learn(profile: &mut Profile, now: Millis) {
        profile.learn(&Sample {
            now,
            place: None,
            came_from: None,
            client: Some("openai-python"),
            endpoint: "/v1/chat/completions",
            model: Some("gpt-4.1"),
            tokens: 100,
            fresh_tokens: 100,
            cost_nanos: 0,
            outcome: Outcome::Success,
            peaks: (1, 1),
        });
    }

    #[test]
    fn hours_are_means_over_the_weeks_that_were_seen() {
        let mut profile = Profile::default();
        for at in [MONDAY, MONDAY + 1, MONDAY + 7 * DAY] {
            learn(&mut profile, at);
        }
        let view = ProfileView::new(&profile, &[], MONDAY + 7 * DAY);
        assert_eq!(view.hours.len(), 7);
        assert_eq!(view.hours[0][9], 1.5);
        assert_eq!(view.hours.iter().flatten().sum::<f64>(), 1.5);
        assert_eq!((view.requests, view.days_seen), (3, 2));
    }

    #[test]
    fn what_is_most_familiar_comes_first() {
        let mut profile = Profile::default();
        learn(&mut profile, MONDAY);
        profile.models.touch_str("gpt-5", MONDAY);
        profile.models.touch_str("gpt-5", MONDAY);
        let view = ProfileView::new(&profile, &[], MONDAY);
        let models: Vec<_> = view.models.iter().map(|m| (m.value.as_str(), m.count)).collect();
        assert_eq!(models, [("gpt-5", 2), ("gpt-4.1", 1)]);
    }

    #[test]
    fn parts_that_are_stopped_are_shown_until_they_pass_again() {
        let mut profile = Profile::default();
        let place = PlaceCore::unknown("198.51.100.7".parse().unwrap());
        profile.later.parts.see(&PartSighting::that_stops("curl", &place), MONDAY);
        let shown = |now| ProfileView::new(&profile, &[], now).stopped_parts;
        let until = "2026-03-16T09:13:22.123Z".to_owned();
        let expected =
            StoppedPartView { name: "client curl from a network without a name".to_owned(), until };
        assert_eq!(shown(MONDAY + DAY), [expected]);
        assert_eq!(shown(MONDAY + 14 * DAY), []);
    }

    #[test]
    fn an_empty_profile_can_be_shown() {
        let view = ProfileView::new(&Profile::default(), &[], MONDAY);
        assert_eq!((view.first_seen, view.sizes.p50), (None, None));
    }
}
