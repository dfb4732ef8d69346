//! Counts of events by the hour, for pictures and reports: by type, severity, country, detector and project.

use std::collections::BTreeMap;

use super::entry::Event;
use crate::domain::{DAY, HOUR, Millis, subject::SubjectKind};

/// Hours of which counts are kept: 35 days, so that a month can be held against the days before it.
const HOURS_KEPT: i64 = 35 * 24;
/// Names that are told apart in one hour, by each property; a flood of names counts as [`OTHER`] beyond it.
const MOST_NAMES: usize = 100;
/// What names beyond the first hundred of an hour count as.
const OTHER: &str = "(other)";

/// The property by which events are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TallyBy {
    /// The event's type, by its name on the wire.
    Type,
    /// The event's severity, by its name on the wire.
    Severity,
    /// The country of its place, ISO 3166-1 alpha-2.
    Country,
    /// The detector that found it.
    Detector,
    /// The project that it is about, or that its request names.
    Project,
}

impl TallyBy {
    /// Every property, in the order of the API.
    pub const ALL: [Self; 5] = [Self::Type, Self::Severity, Self::Country, Self::Detector, Self::Project];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Severity => "severity",
            Self::Country => "country",
            Self::Detector => "detector",
            Self::Project => "project",
        }
    }

    /// The property that a name of the API stands for.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.name() == name)
    }

    /// What an event has of it; empty where it has none.
    fn of(self, event: &Event) -> &str {
        match self {
            Self::Type => event.kind.name(),
            Self::Severity => event.severity.name(),
            Self::Country => event.place.as_ref().and_then(|place| place.country.as_deref()).unwrap_or(""),
            Self::Detector => event.detector.as_deref().unwrap_or(""),
            Self::Project => project(event),
        }
    }
}

fn project(event: &Event) -> &str {
    let subject = event.subject.as_ref().filter(|subject| subject.kind() == SubjectKind::Project);
    subject.map(|subject| subject.id()).or_else(|| event.evidence.project()).unwrap_or("")
}

/// Counts of events by the hour in which they happened. An event that stands for several equal ones counts as so many.
#[derive(Debug, Default)]
pub struct EventTally {
    /// By property, hour since 1970 and name; an empty name stands for events without the property.
    counts: BTreeMap<(TallyBy, i64, Box<str>), u64>,
}

impl EventTally {
    /// Counts an event, unless it is older than what is kept at `now`.
    pub fn add(&mut self, event: &Event, now: Millis) {
        let hour = event.time.div_euclid(HOUR);
        if hour <= now.div_euclid(HOUR) - HOURS_KEPT {
            return;
        }
        for by in TallyBy::ALL {
            self.count(by, hour, by.of(event), event.count);
        }
    }

    fn count(&mut self, by: TallyBy, hour: i64, name: &str, count: u64) {
        let key = (by, hour, Box::from(name));
        if let Some(there) = self.counts.get_mut(&key) {
            *there = there.saturating_add(count);
            return;
        }
        let is_full = self.of_hour(by, hour).count() >= MOST_NAMES;
        let key = if is_full { (by, hour, Box::from(OTHER)) } else { key };
        let there = self.counts.entry(key).or_default();
        *there = there.saturating_add(count);
    }

    fn of_hour(&self, by: TallyBy, hour: i64) -> impl Iterator<Item = (&(TallyBy, i64, Box<str>), &u64)> {
        self.counts.range((by, hour, Box::from(""))..(by, hour + 1, Box::from("")))
    }

    /// Forgets hours that are older than what is kept at `now`.
    pub fn forget_old(&mut self, now: Millis) {
        let oldest = now.div_euclid(HOUR) - HOURS_KEPT;
        self.counts.retain(|(_, hour, _), _| *hour > oldest);
    }

    /// Counts of events by name, in buckets of whole hours that begin at `from`: (start, name) -> count. A bucket in
    /// which nothing happened is absent. `bucket` is a whole number of hours, or is rounded down to one.
    pub fn rows(
        &self,
        by: TallyBy,
        (from, to): (Millis, Millis),
        bucket: Millis,
    ) -> BTreeMap<(Millis, &str), u64> {
        let bucket = (bucket / HOUR).max(1);
        let (first, end) = (from.div_euclid(HOUR), to.div_euclid(HOUR) + i64::from(to.rem_euclid(HOUR) > 0));
        let mut rows = BTreeMap::new();
        for ((_, hour, name), count) in
            self.counts.range((by, first, Box::from(""))..(by, end, Box::from("")))
        {
            let start = (first + (hour - first).div_euclid(bucket) * bucket) * HOUR;
            let there: &mut u64 = rows.entry((start, &**name)).or_default();
            *there = there.saturating_add(*count);
        }
        rows
    }

    /// From when counts are kept at `now`: the begin of an hour, in milliseconds.
    pub fn kept_from(now: Millis) -> Millis {
        (now.div_euclid(HOUR) - HOURS_KEPT + 1) * HOUR
    }
}

/// How long a bucket of counts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TallyBucket {
    /// An hour of UTC.
    Hour,
    /// A day of UTC.
    Day,
}

impl TallyBucket {
    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// The bucket that a name of the API stands for.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hour, Self::Day].into_iter().find(|bucket| bucket.name() == name)
    }

    /// Its length in milliseconds.
    pub fn length(self) -> Millis {
        match self {
            Self::Hour => HOUR,
            Self::Day => DAY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::EventType,
        finding::{AnomalyKind, Severity},
        place::PlaceSummary,
        subject::Subject,
    };

    /// Monday 2026-03-02, 09:00 UTC.
    const NINE: Millis = 1_772_442_000_000;

    fn event(time: Millis, country: &str) -> Event {
        let place = PlaceSummary { country: Some(country.to_owned()), ..PlaceSummary::default() };
        let kind = EventType::Anomaly(AnomalyKind::ImpossibleTravel);
        let event = Event::new(time, kind, Severity::Critical, Some(Subject::project("analytics")));
        Event { place: Some(place), detector: Some("impossible_travel".to_owned()), ..event }
    }

    fn named(tally: &EventTally, by: TallyBy) -> Vec<(Millis, String, u64)> {
        let rows = tally.rows(by, (NINE, NINE + 3 * HOUR), HOUR);
        rows.into_iter().map(|((start, name), count)| (start, name.to_owned(), count)).collect()
    }

    #[test]
    fn an_event_counts_by_each_of_its_properties_and_for_as_many_as_it_stands_for() {
        let mut tally = EventTally::default();
        tally.add(&event(NINE + 1, "SG"), NINE);
        tally.add(&Event { count: 4, ..event(NINE + HOUR, "RO") }, NINE);
        tally.add(&Event::new(NINE + HOUR, EventType::StoreDegraded, Severity::High, None), NINE);
        assert_eq!(
            named(&tally, TallyBy::Country),
            [(NINE, "SG".to_owned(), 1), (NINE + HOUR, String::new(), 1), (NINE + HOUR, "RO".to_owned(), 4)]
        );
        for (by, name) in [
            (TallyBy::Type, "IMPOSSIBLE_TRAVEL"),
            (TallyBy::Severity, "critical"),
            (TallyBy::Detector, "impossible_travel"),
            (TallyBy::Project, "analytics"),
        ] {
            assert!(named(&tally, by).contains(&(NINE + HOUR, name.to_owned(), 4)), "{by:?}");
        }
    }

    #[test]
    fn buckets_begin_where_the_span_begins_and_its_end_is_left_out() {
        let mut tally = EventTally::default();
        for hours in [0, 1, 2, 23, 24, 47, 48] {
            tally.add(&event(NINE + hours * HOUR, "SG"), NINE);
        }
        let days = tally.rows(TallyBy::Type, (NINE, NINE + 2 * DAY), DAY);
        let counts: Vec<_> = days.into_iter().map(|((start, _), count)| (start - NINE, count)).collect();
        assert_eq!(counts, [(0, 4), (DAY, 2)]);
    }

    #[test]
    fn what_is_too_old_is_neither_taken_nor_kept() {
        let mut tally = EventTally::default();
        let oldest = EventTally::kept_from(NINE);
        tally.add(&event(oldest - 1, "SG"), NINE);
        tally.add(&event(oldest, "SG"), NINE);
        let all = (0, NINE + HOUR);
        assert_eq!(tally.rows(TallyBy::Type, all, HOUR).len(), 1);
        tally.forget_old(NINE + HOUR);
        assert!(tally.rows(TallyBy::Type, all, HOUR).is_empty());
    }

    #[test]
    fn a_flood_of_names_counts_as_other_and_takes_no_more_room() {
        let mut tally = EventTally::default();
        for n in 0..MOST_NAMES as u64 + 50 {
            let subject = Some(Subject::project(&format!("p{n}")));
            tally.add(&Event::new(NINE, EventType::BudgetUsed, Severity::Low, subject), NINE);
        }
        let rows = tally.rows(TallyBy::Project, (NINE, NINE + HOUR), HOUR);
        assert_eq!(rows.len(), MOST_NAMES + 1);
        assert_eq!(rows[&(NINE, OTHER)], 50);
    }
}
