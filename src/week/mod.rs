//! What a week came to: security events, bans and how they ended, what detectors are worth, spend against budgets.
//!
//! `figures` is the form in which the API gives it, and in which a report of it is made; `gather` reads it from the
//! engine; `bans` follows each ban to its end; `noise` holds what a detector found against what analysts say of it.

mod bans;
mod figures;
mod gather;
mod noise;

pub use figures::{Ban, Budget, Day, EventCount, Noise, Outcome, Outlook, ProjectSpend, Spend, Week};
pub use gather::{LENGTH, gather};
pub use noise::{NoiseTable, noise};
