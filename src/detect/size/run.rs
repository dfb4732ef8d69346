//! Runs of request sizes that end with the present one, and how improbable they are.

use std::ops::RangeInclusive;

use super::super::{Case, Seen};
use crate::domain::HOUR;

/// The shift of a run that is medium: twice the usual size (natural logarithm of 2).
pub(super) const SHIFT_MEDIUM: f64 = 0.69;
/// Requests of a long run, which is no accident of a heavy tail.
pub(super) const LONG_RUN: u32 = 12;
/// Stouffer's z of a short run that is high: less than `z_high`, as each request is very large.
pub(super) const Z_FEW: f64 = 5.0;
/// The shift of a run that is high: four times the usual size (natural logarithm of 4).
const SHIFT_HIGH: f64 = 1.39;
/// The shift of a long run that is high: 2.5 times the usual size (natural logarithm of 2.5).
const SHIFT_SUSTAINED: f64 = 0.92;
/// Requests of a short run of very large ones; a longer one has the deviations for `z_high`.
const FEW: RangeInclusive<u32> = 3..=6;
/// The shift of a short run that is high: six times the usual size (natural logarithm of 6).
const SHIFT_FEW: f64 = 1.79;
/// Requests to a new model that make a run.
const RUN_ON_NEW_MODEL: u32 = 4;
/// The shift that is high where the request's own context is not known: eight times (natural logarithm of 8).
const SHIFT_STRANGE: f64 = 2.08;
/// How far back runs reach, beside the number of requests that are remembered.
const SPAN: i64 = 2 * HOUR;

/// A run of requests that ends with the present one.
#[derive(Clone, Copy)]
pub(super) struct Run {
    /// Stouffer's z of its deviations above the usual size.
    pub z: f64,
    /// The mean natural logarithm of its sizes over the usual.
    pub shift: f64,
    /// How many requests it has, the present one included.
    pub length: u32,
}

impl Run {
    /// The same for a usual size that is an estimate of few: z is divided by `by`.
    pub(super) fn unsure(self, by: f64) -> Self {
        Self { z: self.z / by, ..self }
    }

    /// The same where sizes follow each other: z is that of the effective number of samples,
    /// `k (1 - r) / (1 + r)` for the lag-1 autocorrelation r. One request is a sample of its own.
    fn with_effective_length(self, correlation: f64) -> Self {
        if self.length < 2 {
            return self;
        }
        Self { z: self.z * ((1.0 - correlation) / (1.0 + correlation)).sqrt(), ..self }
    }

    /// Whether it is high. `known`: whether it is held against sizes of the request's own context.
    pub(super) fn is_high(&self, z_high: f64, known: bool) -> bool {
        let large = self.z >= z_high && self.shift >= SHIFT_HIGH;
        let few = FEW.contains(&self.length) && self.shift >= SHIFT_FEW && self.z >= Z_FEW;
        let sustained = self.length >= LONG_RUN && self.shift >= SHIFT_SUSTAINED && self.z >= z_high;
        if known { large || few || sustained } else { large && self.shift >= SHIFT_STRANGE }
    }

    /// Whether a run on a new model is larger than chance explains.
    pub(super) fn is_larger(&self, z: f64) -> bool {
        self.z >= z && self.shift >= SHIFT_MEDIUM && self.length >= RUN_ON_NEW_MODEL
    }
}

/// The most improbable run of the last requests, or of those among them for the same use, or of the same part of the
/// key's traffic. What one client does must not hide between the requests of another.
pub(super) fn worst_run(case: &Case<'_>, z: f64) -> Run {
    let context = case.sizes.context.any_model;
    let part = case.part;
    let runs = runs(case, z, |_| true).chain(runs(case, z, move |seen| seen.context == context)).chain(runs(
        case,
        z,
        move |seen| seen.part == part,
    ));
    let correlation = case.profile.later.lag.correlation(case.now());
    let runs = runs.map(|run| run.with_effective_length(correlation));
    runs.reduce(|worst, run| if run.z > worst.z { run } else { worst }).unwrap_or(Run {
        z,
        shift: 0.0,
        length: 1,
    })
}

/// All of the last requests to a model that is new: picking the worst among them would find one by chance.
pub(super) fn run_on_new_model(case: &Case<'_>, z: f64) -> Run {
    runs(case, z, |seen| seen.fresh_model).last().unwrap_or(Run { z, shift: 0.0, length: 1 })
}

/// The runs that end with the present request, shortest first.
fn runs<'a>(
    case: &'a Case<'_>,
    z: f64,
    counts: impl Fn(&Seen) -> bool + 'a,
) -> impl Iterator<Item = Run> + 'a {
    let first = Run { z, shift: case.size_shift, length: 1 };
    let last = case.recent.since(case.now() - SPAN).filter(move |seen| counts(seen));
    let longer = last.filter_map(|seen| Some((seen.size_z?, seen.size_shift))).scan(
        (z, case.size_shift, 1_u32),
        |(sum, shift, length), (more, further)| {
            *sum += more;
            *shift += further;
            *length += 1;
            let count = f64::from(*length);
            Some(Run { z: *sum / count.sqrt(), shift: *shift / count, length: *length })
        },
    );
    std::iter::once(first).chain(longer)
}
