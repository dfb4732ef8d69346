//! Forecasts of histories whose future is known.

use super::*;
use crate::domain::{DAY, HOUR};

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
