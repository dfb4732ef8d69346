//! The attacks of the second exam: quieter, nearer and odder than those of the first.

mod enumeration;
mod loops;
mod nearby;
mod sprays;
mod thefts;

use super::{ANYBODY, Attack, Span, Tellable, Thief, Victim, WireRecord};
use crate::{
    domain::{HOUR, Millis},
    simulate::{calendar::arrivals, random::Random},
};

/// Every kind of the second exam.
pub const ALL: &[Attack] = &[
    nearby::RESIDENTIAL_THIEF,
    nearby::RESIDENTIAL_TWIN,
    nearby::OFFICE_THIEF,
    thefts::LOW_AND_SLOW,
    thefts::FIRST_DAY_THEFT,
    enumeration::IDS,
    enumeration::MODELS,
    loops::AGENT_LOOP,
    loops::DENIAL_OF_WALLET,
    sprays::SPREAD_STUFFING,
    sprays::SLOW_STUFFING,
    sprays::SLOW_GUESSING,
];

/// A thief's requests over some hours, so many an hour.
fn at_work(
    random: &mut Random,
    victim: &Victim,
    thief: &Thief,
    from: Millis,
    hours: f64,
    per_hour: f64,
) -> Vec<WireRecord> {
    let span = Span { from, to: from + (hours * HOUR as f64) as Millis };
    let times = arrivals(random, span, per_hour, |_| 1.0);
    times.into_iter().map(|time| thief.request(random, victim, time)).collect()
}
