//! What rightful holders of keys do. One file per archetype, one line in [`ALL`] to register it.

mod agent;
mod batch;
mod changes;
mod egress;
mod flaky;
mod growing;
mod interactive;
mod loud;
mod mixed;
mod mobile;
mod moves;
mod newcomer;
mod service;
mod team;
mod traveller;
mod upstream;
mod vpn;

pub(super) use upstream::file_path;

use super::{calendar::Span, persona::Persona, random::Random, wire::WireRecord};

/// An archetype of benign keys.
pub struct Archetype {
    /// Its name in labels and tables.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// How much less and how much more than usual keys of it are used.
    pub rates: [f64; 2],
    /// Draws a holder and everything that they do in a stretch of time, in any order. `rate` multiplies how much.
    pub live: fn(&mut Random, Span, rate: f64) -> Life,
}

/// A holder and what they did.
pub struct Life {
    /// The holder of the key.
    pub persona: Persona,
    /// The requests that the holder made.
    pub records: Vec<WireRecord>,
}

/// Every archetype that traffic is made of.
pub const ALL: &[Archetype] = &[
    interactive::ARCHETYPE,
    service::ONE_REGION,
    service::THREE_REGIONS,
    batch::ARCHETYPE,
    traveller::ARCHETYPE,
    vpn::ARCHETYPE,
    mobile::ARCHETYPE,
    newcomer::ARCHETYPE,
    growing::ARCHETYPE,
    flaky::ARCHETYPE,
    changes::SDK_UPGRADE,
    changes::MODEL_MOVE,
    changes::NEW_PROVIDER,
    changes::NEW_ENDPOINT,
];

/// Keys that carry two or three archetypes at once.
pub const MIXED: &[Archetype] = &[
    mixed::INTERACTIVE_AND_BATCH,
    mixed::SERVICE_AND_TRAVELLER,
    mixed::VPN_AND_GROWING,
    mixed::MOBILE_AND_BATCH,
    mixed::THREE_REGIONS_AND_BATCH,
    mixed::MOBILE_TRAVELLER,
    mixed::GROWING_AND_FLAKY,
    mixed::MEDLEY,
    team::ARCHETYPE,
];

/// Those of the second exam, beside the others.
pub const SECOND: &[Archetype] = &[
    agent::ARCHETYPE,
    egress::SERVERLESS,
    egress::SHARED_CI,
    egress::EMBEDDED_APP,
    egress::DAYLIGHT,
    moves::MIGRATION,
    moves::COLLEAGUE,
    moves::SECOND_APPLICATION,
    loud::LAUNCH,
    loud::EVALUATOR,
    loud::MONTHLY_JOB,
    upstream::PROVIDER_OUTAGE,
    upstream::FILE_SERVICE,
];

/// Archetypes that are rightfully loud: nobody can tell them from a loop by numbers alone, so they are counted apart.
const LOUD: [&str; 3] = [loud::LAUNCH.name, loud::EVALUATOR.name, loud::MONTHLY_JOB.name];

/// Whether an archetype is rightfully loud.
pub fn is_loud(name: &str) -> bool {
    LOUD.contains(&name)
}

/// Those that are only a part of mixed keys, or only attacked.
const PARTS: &[Archetype] = &[batch::NIGHTLY];

/// The archetype of a name, mixed or not.
pub fn named(name: &str) -> Option<&'static Archetype> {
    ALL.iter().chain(MIXED).chain(SECOND).chain(PARTS).find(|archetype| archetype.name == name)
}

/// Tokens that an ordinary key uses a day at most, a fraction of the default limit on 24 hours: nobody lives at the
/// edge of their plan.
const TOKENS_PER_DAY: f64 = 1_000_000.0;

/// Tokens of an ordinary working day of a person.
const TOKENS_PER_PERSON_DAY: f64 = 400_000.0;
