//! A key with no history: made somewhere in the middle of the run, then used like any other.

use super::{Archetype, interactive, service};

pub(super) const ARCHETYPE: Archetype = Archetype {
    name: "newcomer",
    about: "a key that is made in the middle of the run",
    live: |random, span, rate| {
        let made = span.from + (span.length() as f64 * random.between(0.1, 0.75)) as i64;
        let usual = if random.chance(0.5) { interactive::ARCHETYPE } else { service::ONE_REGION };
        (usual.live)(random, span.after(made), rate)
    },
};
