//! A service that grows: 5 % a day, and twice the load on the day of its launch.

use super::{Archetype, TOKENS_PER_DAY, service::Service};
use crate::{
    domain::{DAY, Millis},
    simulate::calendar::midnight,
};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "growing",
    about: "a service that grows by 5 % a day, with a launch day at twice the load",
    live: |random, span, rate| {
        // It ends several times as large as it starts.
        let service = Service::draw(random, rate * 0.4, TOKENS_PER_DAY * 0.3);
        let growth = random.between(0.04, 0.06);
        let offset = service.persona.home.offset;
        let launch =
            midnight(span.from + (span.length() as f64 * random.between(0.4, 0.95)) as Millis, offset);
        let load = |time: Millis| {
            let days = (time - span.from) as f64 / DAY as f64;
            let launched = (launch..launch + DAY).contains(&time);
            (1.0 + growth).powf(days) * if launched { 2.0 } else { 1.0 }
        };
        let most = 2.0 * (1.0 + growth).powf(span.length() as f64 / DAY as f64);
        let times = service.times(random, span, most, load);
        service.into_life(random, times)
    },
};
