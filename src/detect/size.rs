//! Request sizes, in log space.
//!
//! Why: token exhaustion and bulk theft send requests far larger than the key's own.
//! Trips when: one size, or a run of the last ones, is improbable: the sum of the last k deviations over the square
//! root of k (Stouffer's z) passes `z_medium` or `z_high` for some k, and the run is on average at least twice
//! (medium) or four times (high) the usual size. Twice is high too when the run is twelve
//! requests long and 2.5 times the usual size, or when five requests or more went to a model that is new as well
//! (which is evidence of its own, so that 3.2 deviations will do).
//! Stays quiet when: fewer than `min_samples` sizes are known.
//! Blind spots: keys whose own sizes are spread over many orders of magnitude.
//!
//! Sizes of real LLM traffic are heavy-tailed (Patel et al., "Splitwise", ISCA 2024), so raw counts would misfire; a
//! floor under the deviation keeps keys with nearly constant sizes from tripping over small changes.

use super::{Case, Evidence, Quiet, Seen, Verdict};
use crate::domain::{
    HOUR,
    finding::{AnomalyKind, Severity},
    wording::{number, whole},
};

const ADVICE: &str =
    "Compare the request with what the owner's application sends; set a limit on tokens per request.";
/// Least standard deviation of the logarithm: sizes within a factor of 1.35 are the same.
pub const MIN_DEVIATION: f64 = 0.3;
/// A run this much larger than usual is worth a remark (natural logarithm of 2).
const SHIFT_MEDIUM: f64 = 0.69;
/// A run this much larger is worth an answer (natural logarithm of 4).
const SHIFT_HIGH: f64 = 1.39;

/// A run this long is no accident of a heavy tail,
const LONG_RUN: u32 = 12;
/// and this much larger (natural logarithm of 2.5) it is worth an answer.
const SHIFT_SUSTAINED: f64 = 0.92;

/// Standard deviations that will do when the model is new as well: that is evidence of its own.
const Z_ON_NEW_MODEL: f64 = 3.2;

/// The most improbable run that ends with the present request.
struct Run {
    z: f64,
    shift: f64,
    length: u32,
}

/// Holds the last sizes against those learned.
pub fn judge(case: &Case<'_>) -> Verdict {
    let policy = &case.policy.detectors.request_size;
    let sizes = &case.profile.sizes;
    let sizeless = Quiet::because("the request has no tokens, or no size is known yet");
    let z = case.size_z.ok_or(sizeless)?;
    if z <= 0.0 {
        return Err(Quiet::because("the request is no larger than usual"));
    }
    if sizes.count() < policy.min_samples {
        let (known, least) = (sizes.count() as f64, policy.min_samples as f64);
        return Err(Quiet::below("too few sizes are known", known, least, "sizes"));
    }
    let run = worst_run(case, z, |_| true);
    let (mean, deviation) = sizes.log_moments(case.now()).ok_or(sizeless)?;
    let sustained = run.length >= LONG_RUN && run.shift >= SHIFT_SUSTAINED && run.z >= policy.z_high;
    let dearer = case.model_is_fresh().then(|| worst_run(case, z, |seen| seen.fresh_model)).filter(is_dearer);
    let large = run.z >= policy.z_high && run.shift >= SHIFT_HIGH;
    let severity = if large || sustained || dearer.is_some() {
        Severity::High
    } else if run.z >= policy.z_medium && run.shift >= SHIFT_MEDIUM {
        Severity::Medium
    } else if run.z < policy.z_medium {
        let unit = "standard deviations above the usual size";
        return Err(Quiet::below("chance explains the last sizes", run.z, policy.z_medium, unit));
    } else {
        let (times, least) = (run.shift.exp(), SHIFT_MEDIUM.exp());
        return Err(Quiet::below(
            "the last sizes are less than twice the usual",
            times,
            least,
            "times the usual size",
        ));
    };
    let on_new_model = dearer.is_some();
    let run = dearer.unwrap_or(run);
    let threshold = (mean + policy.z_medium * deviation.max(MIN_DEVIATION)).exp();
    let limit = if on_new_model {
        Z_ON_NEW_MODEL
    } else if severity == Severity::High {
        policy.z_high
    } else {
        policy.z_medium
    };
    let summary = summary(case.record.tokens, mean.exp(), &run, on_new_model, limit);
    let usual = mean.exp().round();
    let evidence = Evidence::new(summary, case.record.tokens as f64, usual, threshold.round(), sizes.count())
        .with("unit", "tokens")
        .number("z", run.z)
        .with("run_length", run.length)
        .with("on_new_model", on_new_model)
        .number("times_usual", run.shift.exp())
        .number("log_deviation", deviation);
    Ok(case.finding(
        AnomalyKind::RequestSizeAnomaly,
        severity,
        1.0 - 0.5 * policy.z_medium.min(run.z) / run.z,
        evidence,
        ADVICE,
    ))
}

fn summary(tokens: u64, usual: f64, run: &Run, on_new_model: bool, limit: f64) -> String {
    let (times, usual) = (number(run.shift.exp()), number(usual.round()));
    let what = match run.length {
        1 => format!("{} tokens in one request, {times} times the usual {usual}", whole(tokens)),
        length => {
            let model = if on_new_model { " to a new model" } else { "" };
            format!(
                "The last {length} requests{model} were on average {times} times the usual {usual} tokens"
            )
        }
    };
    format!("{what}: {} standard deviations, limit {}.", number(run.z), number(limit))
}

/// Whether a run on a new model is larger than chance explains.
fn is_dearer(run: &Run) -> bool {
    run.z >= Z_ON_NEW_MODEL && run.shift >= SHIFT_MEDIUM && run.length >= 5
}

fn worst_run(case: &Case<'_>, z: f64, counts: impl Fn(&Seen) -> bool) -> Run {
    let mut worst = Run { z, shift: case.size_shift, length: 1 };
    let (mut sum, mut shift, mut length) = (z, case.size_shift, 1.0);
    for seen in case.recent.since(case.now() - 2 * HOUR).filter(|seen| counts(seen)) {
        let Some(z) = seen.size_z else { continue };
        sum += z;
        shift += seen.size_shift;
        length += 1.0;
        let joint = sum / f64::sqrt(length);
        if joint > worst.z {
            worst = Run { z: joint, shift: shift / length, length: length as u32 };
        }
    }
    worst
}
