//! What past hours make expect of one amount: the mean of each kind of hour, and how far days stray from it.

use std::collections::BTreeMap;

use super::{basis::Basis, spread::Spread};
use crate::domain::{
    DAY, HOUR, Millis,
    calendar::{Calendar, Zone},
    usage::{Bucket, Totals},
};

/// How far back hours are looked at.
pub const HISTORY: Millis = 28 * DAY;
/// The weight of an hour halves in this time, so that growth is followed within about a week.
const HALF_LIFE: f64 = 7.0 * DAY as f64;
/// A day with so many known hours is whole: one on which clocks are put forward has 23.
const FULL_DAY: usize = 23;

/// An amount at the end of a period.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// The amount that is expected, in the unit of its field.
    pub expected: f64,
    /// Between these it is in four of five cases; `None` where too few days are known.
    pub interval: Option<(f64, f64)>,
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

/// What the past says about one amount.
pub(super) struct Past {
    pub basis: Basis,
    /// How many hours are known, those without usage included.
    pub hours: usize,
    /// How many of its days are whole.
    pub days: usize,
    kinds: Vec<Kind>,
    pub spread: Option<Spread>,
}

impl Past {
    /// Takes in an amount of each hour of the [`HISTORY`] before `now`.
    pub(super) fn of(
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
        let days = whole_days(&past, weigh, &kinds, basis, zone);
        let spread = Spread::of(&days, past.iter().map(|(hour, _)| weigh(*hour)), basis);
        Self { basis, hours: past.len(), days: days.len(), kinds, spread }
    }

    /// What is expected by `to`, when this much was used by `now`.
    pub(super) fn outlook(&self, so_far: u64, now: Millis, to: Millis, zone: &Zone) -> Outlook {
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

/// What each whole day had by what the other days make expect, and that.
fn whole_days(
    past: &[(Millis, f64)],
    weigh: impl Fn(Millis) -> f64,
    kinds: &[Kind],
    basis: Basis,
    zone: &Zone,
) -> Vec<(f64, f64)> {
    let mut days: BTreeMap<Millis, (usize, f64, f64)> = BTreeMap::new();
    for (hour, amount) in past {
        let (weight, all) = (weigh(*hour), kinds[basis.kind(*hour, zone)]);
        let others = Kind { weight: all.weight - weight, sum: all.sum - weight * amount };
        let day = days.entry(Calendar::Day.period(*hour, zone).0).or_default();
        *day = (day.0 + 1, day.1 + amount, day.2 + others.mean().max(0.0));
    }
    let whole = days.values().filter(|(count, _, expected)| *count >= FULL_DAY && *expected > 0.0);
    whole.map(|(_, had, expected)| (had / expected, *expected)).collect()
}
