//! When requests come: local time, weeks, and arrivals whose rate changes with them.

use super::random::Random;
use crate::domain::{DAY, HOUR, Millis, SECOND};

/// A stretch of time, its end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first moment of it, in milliseconds.
    pub from: Millis,
    /// The first moment after it, in milliseconds.
    pub to: Millis,
}

impl Span {
    /// How long it is, in milliseconds.
    pub fn length(self) -> Millis {
        (self.to - self.from).max(0)
    }

    /// Whether the moment lies in it.
    pub fn contains(self, time: Millis) -> bool {
        (self.from..self.to).contains(&time)
    }

    /// The part from `time` on.
    pub fn after(self, time: Millis) -> Self {
        Self { from: time.max(self.from), ..self }
    }

    /// The part before `time`.
    pub fn before(self, time: Millis) -> Self {
        Self { to: time.min(self.to), ..self }
    }

    /// A random moment in it.
    pub fn moment(self, random: &mut Random) -> Millis {
        self.from + (self.length() as f64 * random.unit()) as Millis
    }

    /// The local midnights of its days, the one before its start included.
    pub fn midnights(self, offset: Millis) -> impl Iterator<Item = Millis> {
        let first = midnight(self.from, offset);
        (0..).map(move |day| first + day * DAY).take_while(move |time| *time < self.to)
    }
}

/// The local midnight at or before a moment.
pub fn midnight(time: Millis, offset: Millis) -> Millis {
    (time + offset).div_euclid(DAY) * DAY - offset
}

/// The local hour of the day, 0 to 24.
pub fn hour(time: Millis, offset: Millis) -> f64 {
    (time + offset).rem_euclid(DAY) as f64 / HOUR as f64
}

/// The day of the week there, 0 for Monday.
pub fn weekday(time: Millis, offset: Millis) -> i64 {
    // The epoch was a Thursday.
    ((time + offset).div_euclid(DAY) + 3).rem_euclid(7)
}

/// Whether it is Saturday or Sunday there.
pub fn is_weekend(time: Millis, offset: Millis) -> bool {
    weekday(time, offset) >= 5
}

/// On which days people work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Week {
    /// They rest on Saturday and Sunday.
    #[default]
    MondayToFriday,
    /// They rest on Friday and Saturday.
    SundayToThursday,
}

impl Week {
    /// Whether it is a day of rest there.
    pub fn rests(self, time: Millis, offset: Millis) -> bool {
        match self {
            Self::MondayToFriday => is_weekend(time, offset),
            Self::SundayToThursday => matches!(weekday(time, offset), 4 | 5),
        }
    }
}

/// How busy offices are on a working day, 0 to 1: up from 8, a dip at lunch, down by 19, a little in the evening.
pub fn office_hours(time: Millis, offset: Millis) -> f64 {
    match hour(time, offset) {
        h if h < 7.5 => 0.0,
        h if h < 9.5 => (h - 7.5) / 2.0,
        h if (12.2..13.3).contains(&h) => 0.45,
        h if h < 17.0 => 1.0,
        h if h < 19.5 => 1.0 - (h - 17.0) / 2.5,
        h if h < 22.5 => 0.08,
        _ => 0.0,
    }
}

/// How busy a service is, 0 to 1: the tide of its users' day, never quite dry.
pub fn tide(time: Millis, offset: Millis, week: Week, depth: f64) -> f64 {
    let peak = 14.0;
    let swing = ((hour(time, offset) - peak) / 24.0 * std::f64::consts::TAU).cos();
    let weekend = if week.rests(time, offset) { 1.0 - depth * 0.3 } else { 1.0 };
    (1.0 - depth * (1.0 - swing) / 2.0) * weekend
}

/// The moments of a Poisson process whose rate is `peak_per_hour` times `share`, which is 0 to 1 (by thinning:
/// Lewis and Shedler 1979).
pub fn arrivals(
    random: &mut Random,
    span: Span,
    peak_per_hour: f64,
    share: impl Fn(Millis) -> f64,
) -> Vec<Millis> {
    let mut times = Vec::new();
    if peak_per_hour <= 0.0 {
        return times;
    }
    let mut time = span.from as f64;
    loop {
        time += random.exponential(HOUR as f64 / peak_per_hour);
        if time >= span.to as f64 {
            return times;
        }
        if random.chance(share(time as Millis)) {
            times.push(time as Millis);
        }
    }
}

/// A person's sitting: a few requests, with pauses for reading between them.
pub fn sitting(random: &mut Random, start: Millis, mean_requests: f64) -> Vec<Millis> {
    let requests = 1 + random.exponential(mean_requests - 1.0).min(60.0) as usize;
    let mut time = start;
    (0..requests)
        .map(|_| {
            let now = time;
            time += (random.lognormal(28.0, 0.9) * SECOND as f64) as Millis;
            now
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::parse_millis;

    #[test]
    fn local_time_knows_weekends_and_nights() {
        let friday = parse_millis("2026-03-06T20:00:00Z").unwrap();
        assert!(!is_weekend(friday, 0));
        assert!(is_weekend(friday, 8 * HOUR), "in Singapore it is Saturday, 04:00");
        assert_eq!(hour(friday, 8 * HOUR), 4.0);
        assert_eq!(midnight(friday, 8 * HOUR), friday - 4 * HOUR);
        assert_eq!(office_hours(friday, 8 * HOUR), 0.0);
        let [in_cairo, in_paris] = [Week::SundayToThursday, Week::MondayToFriday];
        assert!(in_cairo.rests(friday, 2 * HOUR) && !in_paris.rests(friday, HOUR));
        assert!(!in_cairo.rests(friday + 2 * DAY, 2 * HOUR) && in_paris.rests(friday + 2 * DAY, HOUR));
        assert!(office_hours(friday, -5 * HOUR) > 0.9);
    }

    #[test]
    fn arrivals_follow_the_rate() {
        let span = Span { from: 0, to: 200 * HOUR };
        let times =
            arrivals(&mut Random::new(1), span, 40.0, |time| if time < 100 * HOUR { 1.0 } else { 0.25 });
        let early = times.iter().filter(|time| **time < 100 * HOUR).count();
        assert!((3_800..4_200).contains(&early), "{early}");
        assert!((900..1_100).contains(&(times.len() - early)));
        assert!(times.is_sorted());
    }
}
