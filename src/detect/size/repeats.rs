//! The same request size again and again: a loop, whose requests are no larger and often no faster than usual.
//!
//! Trips when the last requests for one use (client and endpoint), the present one included, all have the same number
//! of prompt tokens, and all of the following hold.
//! - They are at least [`LEAST`], within two hours.
//! - Chance does not explain them: a share of repeats that is usual for the key makes a run of this length once in
//!   [`ONCE_IN`] times or less.
//!
//! High, as it may be the owner's loop. What goes on an hour later is medium.

use crate::{
    detect::{ALREADY_REPORTED, Case, Evidence, YOUNG, weight},
    domain::{
        HOUR,
        finding::{AnomalyKind, Finding, Severity},
        profile::About,
        stable_hash,
        wording::{number, whole},
    },
};

const ADVICE: &str = "Look for a loop in the client: it asks the same again and again.";

/// Requests of a run, the present one included: what an instance remembers holds 32.
const LEAST: u32 = 24;
/// How often a run may be by chance: once in so many.
const ONCE_IN: f64 = 1e9;
/// How far back a run reaches.
const SPAN: i64 = 2 * HOUR;
/// Sizes that must be known: fewer do not show how often they repeat.
const KNOWN: u64 = 60;

/// Finds a run of one size.
pub(super) fn judge(case: &Case<'_>) -> Option<Finding> {
    let run = case.repeats() + 1;
    if run < LEAST || case.profile.sizes.count() < KNOWN {
        return None;
    }
    let usual = usual_share(case);
    let surprise = -f64::from(run - 1) * usual.ln();
    if surprise < ONCE_IN.ln() {
        return None;
    }
    let about = About { what: stable_hash(b"repeats") as u32, level: 1.0 };
    let (severity, because) = if weight::is_warming_up(case.profile, case.now()) {
        (Severity::Medium, Some(YOUNG))
    } else if case.reported(AnomalyKind::RequestSizeAnomaly, about.what).is_some() {
        (Severity::Medium, Some(ALREADY_REPORTED))
    } else {
        (Severity::High, None)
    };
    let size = case.repeated_size();
    let summary = format!(
        "The last {run} requests for one use all had {} tokens of prompt; usually {} of 100 are as large as the one \
         before.",
        whole(size),
        number((usual * 100.0).round()),
    );
    let evidence =
        Evidence::new(summary, f64::from(run), usual, f64::from(LEAST), case.profile.sizes.count())
            .with("unit", "requests of one size in a row")
            .with("run_length", run)
            .with("tokens", size)
            .because(because);
    let score = 1.0 - 0.5 * f64::from(LEAST) / f64::from(run);
    let finding = case.finding(AnomalyKind::RequestSizeAnomaly, severity, score, evidence, ADVICE);
    Some(Finding { about, ..finding })
}

/// The share of the key's requests that are as large as the one before for the same use, by the rule of succession.
fn usual_share(case: &Case<'_>) -> f64 {
    let repeats = case.profile.later.repeats.at(case.now());
    let all = case.profile.outcomes.success.at(case.now());
    ((repeats + 1.0) / (all + 2.0)).clamp(0.0, 0.99)
}

impl Case<'_> {
    /// Prompt tokens of the request, or all where the prompt is not told; 0 for none.
    pub(in crate::detect) fn repeated_size(&self) -> u64 {
        self.record.prompt_tokens.unwrap_or(self.record.tokens)
    }

    /// How many of the last requests for the same use, counted back from the present one, were of the same size.
    pub(in crate::detect) fn repeats(&self) -> u32 {
        let (size, context) = (self.repeated_size(), self.sizes.context.any_model);
        if size == 0 {
            return 0;
        }
        let same_use = self.recent.since(self.now() - SPAN).filter(|seen| seen.context == context);
        let same_size = same_use.filter(|seen| seen.prompt > 0).take_while(|seen| seen.prompt == size);
        u32::try_from(same_size.count()).unwrap_or(u32::MAX)
    }
}
