//! Request sizes, by the logarithm of their tokens.
//!
//! Why: token exhaustion and bulk theft send requests far larger than the key's own.
//!
//! Trips when: a run of requests that ends with the present one is improbable and large. Runs are the last k requests
//! of two hours, for each k up to 32, and the same of those for the same use alone. A run is improbable by Stouffer's
//! z: the sum of its k deviations over the square root of k.
//! - Medium: z passes `z_medium`, and the run is on average twice the usual size.
//! - High: z passes `z_high`, and the run is four times the usual size; 2.5 times is enough for a dozen.
//! - High: three to six requests are six times the usual size, and z passes `Z_FEW`.
//! - High: four or more to a model that is new, all of them together, are twice the usual size, and z passes
//!   `Z_ON_NEW_MODEL` (`Z_ON_DEARER_MODEL` where a token costs three times as much as well).
//! - High: it would be medium, and a dozen requests came from a place that is new since a day.
//!
//! Also when: the last requests are all of the same size, see `repeats`. High.
//!
//! Sizes are held against those of the same client on the same endpoint (with the model, if that is known), once half
//! of `min_samples` of these are known. Else they are held against all of the key's, and then only eight times the
//! usual size is high.
//!
//! Stays quiet when: fewer than three tenths of `min_samples` sizes are known. Until all of them are, z counts as two
//! thirds. A key that is warming up is medium at most. What goes on an hour later is medium, unless it is 1.5 times as
//! large as what was reported.
//!
//! Blind spots: keys whose own sizes are spread over many orders of magnitude.
//!
//! Sizes of real LLM traffic are heavy-tailed (Patel et al., "Splitwise", ISCA 2024), so raw counts would misfire:
//! hence logarithms. A floor under the deviation keeps keys of nearly constant sizes from tripping over small
//! changes.

mod repeats;
mod run;

use run::{LONG_RUN, Run, SHIFT_MEDIUM, Z_FEW, run_on_new_model, worst_run};

use super::{ALREADY_REPORTED, Case, DetectorResult, Evidence, NEW_PLACE, Quiet, YOUNG, weight};
use crate::domain::{
    DAY,
    finding::{AnomalyKind, Finding, Severity},
    profile::About,
    wording::{number, whole},
};

const ADVICE: &str =
    "Compare the request with what the owner's application sends; set a limit on tokens per request.";

/// The least standard deviation of the natural logarithm: sizes within a factor of 1.35 are the same.
pub(super) const MIN_DEVIATION: f64 = 0.3;

/// Stouffer's z of a run on a new model that is high: the model is evidence of its own.
const Z_ON_NEW_MODEL: f64 = 2.8;
/// Stouffer's z where the new model is dearer as well, which is more evidence: one chance in a hundred.
const Z_ON_DEARER_MODEL: f64 = 2.33;
/// Times the usual cost of a token, from where on a model is dearer.
const DEARER: f64 = 3.0;

/// The share of `min_samples` below which nothing is judged.
const FEW_SAMPLES: f64 = 0.3;
/// What z is divided by until `min_samples` sizes are known: mean and deviation are estimates of few.
const UNSURE: f64 = 1.5;
/// What goes on is high again when its shift is larger by this (natural logarithm of 1.5) than what was reported.
const CLEARLY_MORE: f64 = 0.41;

/// Holds the last sizes against those learned, and one against the other.
pub(super) fn judge(case: &Case<'_>) -> DetectorResult {
    match by_size(case) {
        Ok(finding) if finding.severity >= Severity::High => Ok(finding),
        other => repeats::judge(case).map_or(other, Ok),
    }
}

fn by_size(case: &Case<'_>) -> DetectorResult {
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
    let usual = case.sizes.moments.mean_and_deviation(case.now()).ok_or(sizeless)?;
    let unsure = if known < policy.min_samples { UNSURE } else { 1.0 };
    let run = worst_run(case, z).unsure(unsure);
    let z_on_new_model = if is_dearer(case) { Z_ON_DEARER_MODEL } else { Z_ON_NEW_MODEL };
    let on_new_model = case.model_is_fresh().then(|| run_on_new_model(case, z).unsure(unsure));
    let on_new_model = on_new_model.filter(|run| run.is_larger(z_on_new_model));
    let (severity, because) = severity(case, &run, on_new_model.as_ref())?;
    let limit = match severity {
        _ if on_new_model.is_some() => z_on_new_model,
        Severity::High if run.z >= policy.z_high => policy.z_high,
        Severity::High if run.z >= Z_FEW => Z_FEW,
        _ => policy.z_medium,
    };
    let evidence = evidence(case, usual, &run, on_new_model.as_ref(), limit).because(because);
    let run = on_new_model.unwrap_or(run);
    let score = 1.0 - 0.5 * policy.z_medium.min(run.z) / run.z;
    let finding = case.finding(AnomalyKind::RequestSizeAnomaly, severity, score, evidence, ADVICE);
    Ok(Finding { about: About { what: 0, level: run.shift }, ..finding })
}

/// How bad the worst run is, or that on a new model, and why; else how near it was.
fn severity(
    case: &Case<'_>,
    run: &Run,
    on_new_model: Option<&Run>,
) -> Result<(Severity, Option<&'static str>), Quiet> {
    let policy = &case.policy.detectors.request_size;
    let (severity, because) = if on_new_model.is_some() || run.is_high(policy.z_high, case.sizes.own) {
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
    let shift = on_new_model.unwrap_or(run).shift;
    let level = || case.reported(AnomalyKind::RequestSizeAnomaly, 0);
    if severity == Severity::High && level().is_some_and(|level| shift < level + CLEARLY_MORE) {
        return Ok((Severity::Medium, Some(ALREADY_REPORTED)));
    }
    Ok((severity, because))
}

/// What a run shows against the usual size: mean and standard deviation of the natural logarithm.
fn evidence(
    case: &Case<'_>,
    (mean, deviation): (f64, f64),
    run: &Run,
    on_new_model: Option<&Run>,
    limit: f64,
) -> Evidence {
    let policy = &case.policy.detectors.request_size;
    let tokens = case.record.fresh_tokens();
    let shown = on_new_model.unwrap_or(run);
    let summary = summary(tokens, mean.exp(), shown, on_new_model.is_some(), limit);
    let (usual, threshold) = (mean.exp(), (mean + policy.z_medium * deviation.max(MIN_DEVIATION)).exp());
    let samples = case.sizes.moments.count();
    Evidence::new(summary, tokens as f64, usual.round(), threshold.round(), samples)
        .with("unit", "tokens")
        .with("baseline_scope", if case.sizes.own { "client_and_endpoint" } else { "key" })
        .number("z", shown.z)
        .with("run_length", shown.length)
        .with("on_new_model", on_new_model.is_some())
        .number("times_usual", shown.shift.exp())
        .number("log_deviation", deviation)
}

/// Whether a long run of requests is larger than usual, by more than chance explains.
pub(super) fn is_sustained(case: &Case<'_>) -> bool {
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
