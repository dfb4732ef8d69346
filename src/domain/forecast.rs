//! What a day and a month will have used by their end, from the hours of the last four weeks.
//!
//! Expected is what was used so far, and for each hour to come the mean of the past hours of its kind (the same hour of
//! the same weekday), recent weeks counting more. How far a day may stray from that is taken from how far past days
//! did, each judged by the others. These are expectations, so this is the one place where amounts are binary fractions;
//! what was used is exact.

use std::collections::BTreeMap;

use super::{
    DAY, HOUR, Millis,
    calendar::{Calendar, Zone},
    usage::{Bucket, Totals},
};

/// How far back hours are looked at.
pub const HISTORY: Millis = 28 * DAY;
/// The weight of an hour halves in this time, so that growth is followed within about a week.
const HALF_LIFE: f64 = 7.0 * DAY as f64;
/// With so many hours each hour of the week was seen twice.
const WEEKS: usize = 14 * 24;
/// With so many hours each hour of the day was seen three times.
const DAYS: usize = 3 * 24;
/// Fewer whole days say nothing about how far a day may stray.
const FEWEST_DAYS: usize = 7;
/// The share of outcomes below the interval, and above it: what is between is 80 %.
const TAIL: f64 = 0.1;
/// Days are never taken to be more alike than this.
const MOST_ALIKE: f64 = 0.9;

/// From which past hours an hour to come is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The same hour of the same weekday: two weeks or more are known.
    HourOfWeek,
    /// The same hour of any day: three days or more are known.
    HourOfDay,
    /// All: at least an hour is known.
    Flat,
    /// None is known: nothing more is expected.
    Nothing,
}

impl Basis {
    /// The name of it in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::HourOfWeek => "hour_of_week",
            Self::HourOfDay => "hour_of_day",
            Self::Flat => "flat",
            Self::Nothing => "nothing",
        }
    }

    fn of(hours: usize) -> Self {
        match hours {
            0 => Self::Nothing,
            _ if hours >= WEEKS => Self::HourOfWeek,
            _ if hours >= DAYS => Self::HourOfDay,
            _ => Self::Flat,
        }
    }

    /// How many kinds of hours there are.
    fn kinds(self) -> f64 {
        match self {
            Self::HourOfWeek => 168.0,
            Self::HourOfDay => 24.0,
            Self::Flat | Self::Nothing => 1.0,
        }
    }

    fn kind(self, hour: Millis, zone: &Zone) -> usize {
        let (day, of_day) = zone.weekday_and_hour(hour).unwrap_or_default();
        match self {
            Self::HourOfWeek => day * 24 + of_day,
            Self::HourOfDay => of_day,
            Self::Flat | Self::Nothing => 0,
        }
    }
}

/// An amount at the end of a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// The amount that is expected, in the unit of its field.
    pub expected: f64,
    /// Between these it is in four of five cases; `None` where too few days are known.
    pub interval: Option<(f64, f64)>,
}

/// A period that is not over.
#[derive(Debug, Clone, PartialEq)]
pub struct Period {
    /// When the period began, at midnight of the zone.
    pub from: Millis,
    /// When the period ends, at midnight of the zone.
    pub to: Millis,
    /// What was used so far: exact.
    pub so_far: Totals,
    /// Nano-dollars at its end.
    pub cost_nanos: Outlook,
    /// Tokens at its end.
    pub tokens: Outlook,
    /// Requests at its end.
    pub requests: Outlook,
}

/// What is expected of a day and a month.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// From which past hours each hour to come is expected.
    pub basis: Basis,
    /// How many past hours are known.
    pub hours: usize,
    /// From how many whole days the interval of the cost is; 0: there is none.
    pub days: usize,
    /// The day that is not over.
    pub day: Period,
    /// The month that is not over.
    pub month: Period,
}

/// The first hour that a forecast wants to know of.
pub fn begins(now: Millis, zone: &Zone) -> Millis {
    Bucket::Hour.start(Calendar::Month.period(now, zone).0.min(now - HISTORY))
}

/// Looks ahead from what was used in each hour of UTC since [`begins`]; hours without usage may be left out.
pub fn forecast(hours: &BTreeMap<Millis, Totals>, now: Millis, zone: &Zone) -> Forecast {
    let costs = Past::of(hours, now, zone, |t| t.cost_nanos);
    let tokens = Past::of(hours, now, zone, |t| t.tokens);
    let requests = Past::of(hours, now, zone, |t| t.requests);
    let period = |calendar: Calendar| {
        let (from, to) = calendar.period(now, zone);
        let mut so_far = Totals::default();
        hours.range(Bucket::Hour.start(from)..).for_each(|(_, totals)| so_far.merge(totals));
        Period {
            from,
            to,
            so_far,
            cost_nanos: costs.outlook(so_far.cost_nanos, now, to, zone),
            tokens: tokens.outlook(so_far.tokens, now, to, zone),
            requests: requests.outlook(so_far.requests, now, to, zone),
        }
    };
    Forecast {
        basis: costs.basis,
        hours: costs.hours,
        days: if costs.spread.is_some() { costs.days } else { 0 },
        day: period(Calendar::Day),
        month: period(Calendar::Month),
    }
}

/// Past hours of one kind: their weights and their weighted amounts.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    weight: f64,
    sum: f64,
}

impl Kind {
    fn mean(&self) -> f64 {
        if self.weight > f64::EPSILON { self.sum / self.weight } else { 0.0 }
    }
}

/// How far past days strayed from what the others made expect.
#[derive(Debug, Clone, Copy)]
struct Spread {
    /// Actual by expected of the days, at the tails.
    low: f64,
    high: f64,
    /// How alike a day is to the one before, 0 to [`MOST_ALIKE`].
    alike: f64,
    /// How many past hours of a kind there are, as their weights make it.
    past: f64,
    /// How many days in a row are expected from hours of their own.
    kinds: f64,
}

impl Spread {
    /// How far the sum of so many days strays, by how far one does: their own chance, which evens out as far as days
    /// are not alike, and that of the means they are expected from, which are as many as there are kinds of days.
    fn of_days(&self, days: f64) -> f64 {
        let apart = (days * (1.0 - self.alike) / (1.0 + self.alike)).max(1.0);
        let means = days.clamp(1.0, self.kinds) * self.past;
        ((1.0 / apart + 1.0 / means) / (1.0 + 1.0 / self.past)).sqrt().min(1.0)
    }
}

/// How many equal weights would tell as much.
fn effective(weights: impl Iterator<Item = f64>) -> f64 {
    let (sum, squares) = weights.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    if squares > 0.0 { sum * sum / squares } else { 0.0 }
}

/// What the past says about one amount.
struct Past {
    basis: Basis,
    hours: usize,
    days: usize,
    kinds: Vec<Kind>,
    spread: Option<Spread>,
}

impl Past {
    fn of(
        hours: &BTreeMap<Millis, Totals>,
        now: Millis,
        zone: &Zone,
        amount: impl Fn(&Totals) -> u64,
    ) -> Self {
        let end = Bucket::Hour.start(now);
        let first = hours.range(end - HISTORY..end).next().map_or(end, |(hour, _)| *hour);
        let past: Vec<(Millis, f64)> = (first..end)
            .step_by(HOUR as usize)
            .map(|hour| (hour, hours.get(&hour).map_or(0.0, |totals| amount(totals) as f64)))
            .collect();
        let basis = Basis::of(past.len());
        let mut kinds = vec![Kind::default(); 7 * 24];
        let weigh = |hour: Millis| 0.5_f64.powf((end - hour) as f64 / HALF_LIFE);
        for (hour, amount) in &past {
            let kind = &mut kinds[basis.kind(*hour, zone)];
            kind.weight += weigh(*hour);
            kind.sum += weigh(*hour) * amount;
        }
        // Each whole day: what it had, and what the other days make expect.
        let mut days: BTreeMap<Millis, (usize, f64, f64)> = BTreeMap::new();
        for (hour, amount) in &past {
            let (weight, all) = (weigh(*hour), kinds[basis.kind(*hour, zone)]);
            let others = Kind { weight: all.weight - weight, sum: all.sum - weight * amount };
            let day = days.entry(Calendar::Day.period(*hour, zone).0).or_default();
            *day = (day.0 + 1, day.1 + amount, day.2 + others.mean().max(0.0));
        }
        let whole = days.values().filter(|(count, _, expected)| *count >= 23 && *expected > 0.0);
        let days: Vec<(f64, f64)> = whole.map(|(_, had, expected)| (had / expected, *expected)).collect();
        let judged = days.len() >= FEWEST_DAYS && matches!(basis, Basis::HourOfWeek | Basis::HourOfDay);
        let spread = judged.then(|| Spread {
            low: quantile(&days, TAIL).min(1.0),
            high: quantile(&days, 1.0 - TAIL).max(1.0),
            alike: likeness(&days).clamp(0.0, MOST_ALIKE),
            past: effective(past.iter().map(|(hour, _)| weigh(*hour))) / basis.kinds(),
            kinds: basis.kinds() / 24.0,
        });
        Self { basis, hours: past.len(), days: days.len(), kinds, spread }
    }

    fn outlook(&self, so_far: u64, now: Millis, to: Millis, zone: &Zone) -> Outlook {
        let so_far = so_far as f64;
        let mut rest = 0.0;
        let mut hour = Bucket::Hour.start(now);
        while hour < to {
            let ahead = (hour + HOUR).min(to) - hour.max(now);
            rest += self.kinds[self.basis.kind(hour, zone)].mean() * ahead as f64 / HOUR as f64;
            hour += HOUR;
        }
        let interval = self.spread.map(|spread| {
            let shrink = spread.of_days((to - now) as f64 / DAY as f64);
            let bound = |tail: f64| so_far + rest * (1.0 + (tail - 1.0) * shrink).max(0.0);
            (bound(spread.low), bound(spread.high))
        });
        Outlook { expected: so_far + rest, interval }
    }
}

/// The value below which this share of the weight is.
fn quantile(values: &[(f64, f64)], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: f64 = values.iter().map(|(_, weight)| weight).sum();
    let mut before = 0.0;
    let mut last: Option<(f64, f64)> = None;
    for (value, weight) in values {
        let middle = (before + weight / 2.0) / all;
        if middle >= share {
            return last.map_or(value, |(at, lower)| {
                lower + (value - lower) * ((share - at) / (middle - at).max(f64::EPSILON)).clamp(0.0, 1.0)
            });
        }
        before += weight;
        last = Some((middle, value));
    }
    last.map_or(1.0, |(_, value)| value)
}

/// The correlation of each day with the one before.
fn likeness(days: &[(f64, f64)]) -> f64 {
    let mean = days.iter().map(|(ratio, _)| ratio).sum::<f64>() / days.len().max(1) as f64;
    let together: f64 = days.windows(2).map(|pair| (pair[0].0 - mean) * (pair[1].0 - mean)).sum();
    let alone: f64 = days.iter().map(|(ratio, _)| (ratio - mean).powi(2)).sum();
    if alone > f64::EPSILON { together / alone } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Monday 2026-03-02, 00:00 UTC.
    const MONDAY: Millis = 1_772_409_600_000;

    fn used(requests: u64) -> Totals {
        Totals { requests, tokens: 10 * requests, cost_nanos: 1_000 * requests, ..Totals::default() }
    }

    /// An office: 60 requests in each hour from 9 to 17 on workdays, 6 in all others.
    fn office(hour: Millis) -> u64 {
        let (day, of_day) = ((hour - MONDAY).div_euclid(DAY).rem_euclid(7), hour.rem_euclid(DAY) / HOUR);
        if day < 5 && (9..17).contains(&of_day) { 60 } else { 6 }
    }

    fn history(now: Millis, days: i64, rate: impl Fn(Millis) -> u64) -> BTreeMap<Millis, Totals> {
        (now - days * DAY..now).step_by(HOUR as usize).map(|hour| (hour, used(rate(hour)))).collect()
    }

    fn sum(from: Millis, to: Millis, rate: impl Fn(Millis) -> u64) -> f64 {
        (from..to).step_by(HOUR as usize).map(rate).sum::<u64>() as f64
    }

    #[test]
    fn a_steady_week_goes_on_as_it_was() {
        let now = MONDAY + 12 * HOUR;
        let seen = forecast(&history(now, 28, office), now, &Zone::UTC);
        assert_eq!((seen.basis, seen.hours), (Basis::HourOfWeek, 28 * 24));
        assert_eq!(seen.day.so_far.requests as f64, sum(MONDAY, now, office));
        let day = sum(MONDAY, MONDAY + DAY, office);
        assert!((seen.day.requests.expected - day).abs() < 1e-6, "{:?}", seen.day);
        assert!((seen.day.cost_nanos.expected - 1_000.0 * day).abs() < 1e-3);
        let month = sum(seen.month.from, seen.month.to, office);
        assert!((seen.month.requests.expected - month).abs() < 1e-6, "{:?}", seen.month);
        let (low, high) = seen.month.requests.interval.unwrap();
        assert!(high - low < 1e-6 * month, "nothing strays");
    }

    #[test]
    fn with_little_known_the_shape_is_coarser_and_says_so() {
        let now = MONDAY + 12 * HOUR;
        for (days, basis, interval) in [
            (13, Basis::HourOfDay, true),
            (3, Basis::HourOfDay, false),
            (1, Basis::Flat, false),
            (0, Basis::Nothing, false),
        ] {
            let seen = forecast(&history(now, days, |_| 10), now, &Zone::UTC);
            assert_eq!((seen.basis, seen.day.requests.interval.is_some()), (basis, interval), "{days} days");
            let expected = if days == 0 { 0.0 } else { 240.0 };
            assert!((seen.day.requests.expected - expected).abs() < 1e-6, "{days} days: {:?}", seen.day);
        }
    }

    #[test]
    fn the_rest_of_an_hour_is_expected_as_its_share() {
        let mut hours = history(MONDAY + 12 * HOUR, 28, |_| 100);
        hours.insert(MONDAY + 12 * HOUR, used(90));
        let now = MONDAY + 12 * HOUR + HOUR / 4;
        let seen = forecast(&hours, now, &Zone::UTC);
        assert!((seen.day.requests.expected - (1_200.0 + 90.0 + 1_175.0)).abs() < 1e-6, "{:?}", seen.day);
    }

    #[test]
    fn days_and_months_begin_at_midnight_of_the_time_zone() {
        let zone = Zone::named("Asia/Tokyo").unwrap();
        // 09:00 on Sunday the first of March in Tokyo is midnight in UTC.
        let now = MONDAY - DAY;
        let seen = forecast(&history(now, 28, |_| 10), now, &zone);
        assert_eq!(seen.day.from, now - 9 * HOUR);
        assert_eq!(seen.month.from, seen.day.from);
        assert_eq!(seen.month.so_far.requests, 90);
        assert!(begins(now, &zone) <= now - HISTORY);
    }

    #[test]
    fn growth_is_followed_within_a_week_or_so() {
        let now = MONDAY + 28 * DAY;
        let doubled = move |hour| if hour >= now - 7 * DAY { 200 } else { 100 };
        let seen = forecast(&history(now, 28, doubled), now, &Zone::UTC);
        let expected = seen.day.requests.expected / 24.0;
        assert!((150.0..200.0).contains(&expected), "{expected}");
    }

    /// Random days: the log of each is off by about a third, the same for all of its hours.
    struct Noise(u64);

    impl Noise {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
        }
    }

    #[test]
    fn about_four_of_five_outcomes_are_in_the_interval() {
        let (mut days, mut months) = (0, 0);
        let rounds = 400;
        for round in 0..rounds {
            let mut noise = Noise(round * 7_919 + 1);
            let off: Vec<f64> = (0..70).map(|_| (0.3 * noise.normal()).exp()).collect();
            let first = MONDAY - 35 * DAY;
            let rate = |hour: Millis| {
                (100.0 * office(hour) as f64 * off[((hour - first) / DAY) as usize]).round() as u64
            };
            // The beginning of a day, and nearly that of a month.
            let now = MONDAY;
            let seen = forecast(&history(now, 28, rate), now, &Zone::UTC);
            let inside = |period: &Period| {
                let (low, high) = period.requests.interval.unwrap();
                let rest = sum(now, period.to, rate) + period.so_far.requests as f64;
                usize::from((low..=high).contains(&rest))
            };
            days += inside(&seen.day);
            months += inside(&seen.month);
        }
        let share = |n: usize| n as f64 / rounds as f64;
        assert!((0.70..=0.92).contains(&share(days)), "days: {}", share(days));
        assert!((0.70..=0.95).contains(&share(months)), "months: {}", share(months));
    }
}
