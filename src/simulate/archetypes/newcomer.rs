//! A key with no history: made in the second or third week of the run, then used like any other.

use super::{Archetype, batch, interactive, mobile, service, traveller, vpn};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "newcomer",
    about: "a key that is made in the middle of the run",
    rates: [0.06, 3.0],
    live: |random, span, rate| {
        let made = span.from + (span.length() as f64 * random.between(0.25, 0.85)) as i64;
        let usual = [
            (interactive::ARCHETYPE, 4.0),
            (service::ONE_REGION, 3.0),
            (service::THREE_REGIONS, 1.0),
            (mobile::ARCHETYPE, 1.0),
            (vpn::ARCHETYPE, 1.0),
            (traveller::ARCHETYPE, 1.0),
            (batch::ARCHETYPE, 1.0),
        ];
        let archetype = random.weighted(&usual).unwrap_or(&usual[0].0);
        (archetype.live)(random, span.after(made), rate)
    },
};
