//! The play behind `keyward demo`: who is on stage (`cast`), what they did in the days before (`past`), what
//! happens while somebody watches (`script`), the projects that they belong to (`registry`), and what their models cost
//! (`prices`).
//!
//! Everything is drawn from a seed and a moment; nothing here reads a clock, prints or speaks HTTP: that is the
//! command's part. Detectors judge a key by its past, so the past is learned before the curtain rises.

mod cast;
mod past;
mod prices;
mod registry;
mod script;
#[cfg(test)]
mod tests;

pub use cast::{Cast, Player, Role};
pub use past::{Past, PastError, teach};
pub use prices::price_list;
pub use registry::registry;
pub use script::{Cue, script};

use crate::{
    domain::{DAY, HOUR, MINUTE, Millis},
    simulate::calendar::Span,
};

/// A key whose budget is used up in the play.
const BATCH: &str = "nightly-batch";

/// Days of history that every key has before the play.
pub const DAYS: Millis = 10;

/// Multiplies the usual rates of the simulator: ten days have to be learned in a few seconds.
const RATE: f64 = 0.5;

/// The time that the players' lives cover: the days before, and the hour from which the live traffic is taken.
fn span(now: Millis) -> Span {
    Span { from: now - DAYS * DAY, to: now + HOUR }
}

/// When the past ends. A little before now, so that time never runs backwards for any window.
fn end_of_past(now: Millis) -> Millis {
    now - MINUTE
}
