//! A service that grows: 5 % a day, and twice the load or more on the day of its launch.

use super::{Archetype, TOKENS_PER_DAY, service::Service};
use crate::{
    domain::{DAY, Millis},
    simulate::{
        calendar::{Span, midnight},
        random::Random,
    },
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "growing",
    about: "a service that grows by 5 % a day, with a launch day at twice the load",
    rates: Service::RATES,
    live: |random, span, rate| {
        let (service, growth) = service(random, span, rate);
        let times = service.times(random, span, growth.most(), |time| growth.load(time));
        service.into_life(random, times)
    },
};

/// A service that is small at first, and how it grows.
pub(super) fn service(random: &mut Random, span: Span, rate: f64) -> (Service, Growth) {
    // It ends several times as large as it starts.
    let service = Service::draw(random, rate * 0.4, TOKENS_PER_DAY * 0.3);
    let growth = Growth::draw(random, span, service.persona.home.offset);
    (service, growth)
}

/// How a load grows.
pub(super) struct Growth {
    span: Span,
    daily: f64,
    launch: Span,
    launched: f64,
}

impl Growth {
    pub(super) fn draw(random: &mut Random, span: Span, offset: Millis) -> Self {
        let day = span.from + (span.length() as f64 * random.between(0.3, 0.95)) as Millis;
        let launch = midnight(day, offset);
        Self {
            span,
            daily: random.between(0.04, 0.06),
            launch: Span { from: launch, to: launch + DAY },
            launched: random.between(2.0, 2.5),
        }
    }

    /// The load at a moment, 1 at the start.
    pub(super) fn load(&self, time: Millis) -> f64 {
        let days = (time - self.span.from) as f64 / DAY as f64;
        let today = if self.launch.contains(time) { self.launched } else { 1.0 };
        (1.0 + self.daily).powf(days) * today
    }

    /// A load that is never exceeded.
    pub(super) fn most(&self) -> f64 {
        self.launched * (1.0 + self.daily).powf(self.span.length() as f64 / DAY as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_by_five_percent_a_day_and_doubles_or_more_on_one() {
        let span = Span { from: 0, to: 21 * DAY };
        for seed in 0..50 {
            let growth = Growth::draw(&mut Random::new(seed), span, 0);
            let step = |from: Millis, to: Millis| growth.load(to) / growth.load(from);
            let launch = growth.launch;
            assert!((2.0..=2.5).contains(&step(launch.from - 1, launch.from)));
            assert!((0.4..=0.5).contains(&step(launch.to - 1, launch.to)));
            let quiet = if launch.from >= 10 * DAY { 0 } else { 12 * DAY };
            assert!((1.04..=1.06).contains(&step(quiet, quiet + DAY)));
            assert!((0..=21 * 24).all(|hour| growth.load(hour * DAY / 24) <= growth.most() * 1.000_001));
        }
    }
}
