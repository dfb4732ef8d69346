//! Request sizes, in log space.
//!
//! Why: token exhaustion and bulk theft send requests far larger than the key's own.
//! Trips when: one size, or a run of the last ones, is improbable: the sum of the last k deviations over the square
//! root of k (Stouffer's z) passes `z_medium` or `z_high` for some k, and the run is on average at least twice
//! (medium) or four times (high) the usual size. Also high: three to six of six times the usual size; twelve or more of 2.5
//! times; four or more to a model that is new as well, if all of these are on average twice the usual size (which is
//! evidence of its own, so that 2.8 deviations will do; 2.33 when a token costs three times as much, too).
//! Sizes are held against those of the same client on the same endpoint, where enough are known (half of `min_samples`),
//! else of the whole key, and must then be eight times the usual to be high.
//! From a place that is new to the key what would be medium is high.
//! Stays quiet when: fewer than three tenths of `min_samples` sizes are known; below all of them, deviations count as two
//! thirds. Medium at most while the key is warming up. What goes on an hour later is medium.
//! Blind spots: keys whose own sizes are spread over many orders of magnitude.
//!
//! Sizes of real LLM traffic are heavy-tailed (Patel et al., "Splitwise", ISCA 2024), so raw counts would misfire; a
//! floor under the deviation keeps keys with nearly constant sizes from tripping over small changes.

use super::{ALREADY_REPORTED, Case, DetectorResult, Evidence, NEW_PLACE, Quiet, Seen, YOUNG, weight};
use crate::domain::{
    DAY, HOUR,
    finding::{AnomalyKind, Finding, Severity},
    profile::About,
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

/// Standard deviations that will do when the model is new as well: that is evidence of its own,
const Z_ON_NEW_MODEL: f64 = 2.8;
/// more so when it is also dearer: a token costs so many times what it did.
const Z_ON_DEARER_MODEL: f64 = 2.33;
const DEARER: f64 = 3.0;
/// Requests to it that make a run.
const RUN_ON_NEW_MODEL: u32 = 4;
/// A few requests in a row, each very large: fewer deviations will do.
const FEW: std::ops::RangeInclusive<u32> = 3..=6;
const Z_FEW: f64 = 5.0;
/// Natural logarithm of 6.
const SHIFT_FEW: f64 = 1.79;
/// Below `min_samples` known sizes, but not below this share of them, deviations count as so many times fewer.
const FEW_SAMPLES: f64 = 0.3;
const UNSURE: f64 = 1.5;
/// Where the request's own context is not known, its sizes must be so much larger (natural logarithm of 8).
const SHIFT_STRANGE: f64 = 2.08;
/// What goes on is high again when it is 1.5 times what was reported (its natural logarithm).
const CLEARLY_MORE: f64 = 0.41;

/// The most improbable run that ends with the present request.
#[derive(Clone, Copy)]
struct Run {
    z: f64,
    shift: f64,
    length: u32,
}

impl Run {
    /// The same for a usual size that is known less well.
    fn unsure(self, by: f64) -> Self {
        Self { z: self.z / by, ..self }
    }

    /// Whether it is worth an answer.
    fn is_high(&self, z_high: f64, known: bool) -> bool {
        let large = self.z >= z_high && self.shift >= SHIFT_HIGH;
        let few = FEW.contains(&self.length) && self.shift >= SHIFT_FEW && self.z >= Z_FEW;
        let sustained = self.length >= LONG_RUN && self.shift >= SHIFT_SUSTAINED && self.z >= z_high;
        if known { large || few || sustained } else { large && self.shift >= SHIFT_STRANGE }
    }
}

/// Holds the last sizes against those learned.
pub fn judge(case: &Case<'_>) -> DetectorResult {
    let policy = &case.policy.detectors.request_size;
    let sizeless = Quiet::because("the request has no tokens, or no size is known yet");
    let z = case.size_z.ok_or(sizeless)?;
    if z <= 0.0 {
        return Err(Quiet::because("the request is no larger than usual"));
    }
    let known = case.profile.sizes.count();
    let least = (policy.min_samples as f64 * FEW_SAMPLES).ceil();
    if (known as f64) < least {
        return Err(Quiet::below("too few sizes are known", known as f64, least, "sizes"));
    }
    let (mean, deviation) = case.sizes.moments.mean_and_deviation(case.now()).ok_or(sizeless)?;
    // Until `min_samples` are known, it takes half as much again.
    let unsure = if known < policy.min_samples { UNSURE } else { 1.0 };
    let run = worst_run(case, z).unsure(unsure);
    let z_on_new_model = if is_dearer(case) { Z_ON_DEARER_MODEL } else { Z_ON_NEW_MODEL };
    let on_new_model = case.model_is_fresh().then(|| run_on_new_model(case, z).unsure(unsure));
    let dearer = on_new_model.filter(|run| run.is_larger(z_on_new_model));
    let (severity, because) = if dearer.is_some() || run.is_high(policy.z_high, case.sizes.own) {
        let warming_up = weight::is_warming_up(case.profile, case.now());
        if warming_up { (Severity::Medium, Some(YOUNG)) } else { (Severity::High, None) }
    } else if run.z >= policy.z_medium && run.shift >= SHIFT_MEDIUM {
        if case.is_settling_in() { (Severity::High, Some(NEW_PLACE)) } else { (Severity::Medium, None) }
    } else if run.z < policy.z_medium {
        let unit = "standard deviations above the usual size";
        return Err(Quiet::below("chance explains the last sizes", run.z, policy.z_medium, unit));
    } else {
        let (times, least) = (run.shift.exp(), SHIFT_MEDIUM.exp());
        let unit = "times the usual size";
        return Err(Quiet::below("the last sizes are less than twice the usual", times, least, unit));
    };
    let on_new_model = dearer.is_some();
    let run = dearer.unwrap_or(run);
    let reported = || {
        case.reported(AnomalyKind::RequestSizeAnomaly, 0)
            .is_some_and(|level| run.shift < level + CLEARLY_MORE)
    };
    let (severity, because) = if severity == Severity::High && reported() {
        (Severity::Medium, Some(ALREADY_REPORTED))
    } else {
        (severity, because)
    };
    let limit = match severity {
        _ if on_new_model => z_on_new_model,
        Severity::High if run.z >= policy.z_high => policy.z_high,
        Severity::High if run.z >= Z_FEW => Z_FEW,
        _ => policy.z_medium,
    };
    let summary = summary(case.record.tokens, mean.exp(), &run, on_new_model, limit);
    let (usual, threshold) = (mean.exp(), (mean + policy.z_medium * deviation.max(MIN_DEVIATION)).exp());
    let samples = case.sizes.moments.count();
    let evidence =
        Evidence::new(summary, case.record.tokens as f64, usual.round(), threshold.round(), samples)
            .with("unit", "tokens")
            .with("baseline_scope", if case.sizes.own { "client_and_endpoint" } else { "key" })
            .number("z", run.z)
            .with("run_length", run.length)
            .with("on_new_model", on_new_model)
            .number("times_usual", run.shift.exp())
            .number("log_deviation", deviation)
            .because(because);
    let score = 1.0 - 0.5 * policy.z_medium.min(run.z) / run.z;
    let finding = case.finding(AnomalyKind::RequestSizeAnomaly, severity, score, evidence, ADVICE);
    Ok(Finding { about: About { what: 0, level: run.shift }, ..finding })
}

/// Whether a long run of requests is larger than usual, by more than chance explains.
pub fn is_sustained(case: &Case<'_>) -> bool {
    let policy = &case.policy.detectors.request_size;
    let known = case.profile.sizes.count() >= policy.min_samples;
    case.size_z.filter(|z| known && *z > 0.0).is_some_and(|z| {
        let run = worst_run(case, z);
        run.z >= policy.z_medium && run.shift >= SHIFT_MEDIUM && run.length >= LONG_RUN
    })
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

impl Run {
    /// Whether a run on a new model is larger than chance explains.
    fn is_larger(&self, z: f64) -> bool {
        self.z >= z && self.shift >= SHIFT_MEDIUM && self.length >= RUN_ON_NEW_MODEL
    }
}

/// Whether the request's tokens cost much more each than those of the days before.
fn is_dearer(case: &Case<'_>) -> bool {
    let today = case.now().div_euclid(DAY);
    let before = case.profile.history.days().filter(|(day, _)| i64::from(*day) < today);
    let (cost, tokens) = before.fold((0.0, 0.0), |(cost, tokens), (_, stat)| {
        (cost + stat.cost_nanos as f64, tokens + stat.tokens as f64)
    });
    let present = case.record.cost_nanos.unwrap_or(0) as f64 / case.record.tokens.max(1) as f64;
    cost > 0.0 && present >= DEARER * cost / tokens
}

/// The worst run of the last requests, or of those among them that are for the same: what one client does must not
/// hide between the requests of another.
fn worst_run(case: &Case<'_>, z: f64) -> Run {
    let context = case.sizes.context.any_model;
    let runs = runs(case, z, |_| true).chain(runs(case, z, move |seen| seen.context == context));
    runs.reduce(|worst, run| if run.z > worst.z { run } else { worst }).unwrap_or(Run {
        z,
        shift: 0.0,
        length: 1,
    })
}

/// All of the last requests to a model that is new: picking the worst among them would find one by chance.
fn run_on_new_model(case: &Case<'_>, z: f64) -> Run {
    runs(case, z, |seen| seen.fresh_model).last().unwrap_or(Run { z, shift: 0.0, length: 1 })
}

/// The runs that end with the present request, shortest first.
fn runs<'a>(
    case: &'a Case<'_>,
    z: f64,
    counts: impl Fn(&Seen) -> bool + 'a,
) -> impl Iterator<Item = Run> + 'a {
    let first = Run { z, shift: case.size_shift, length: 1 };
    let last = case.recent.since(case.now() - 2 * HOUR).filter(move |seen| counts(seen));
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
