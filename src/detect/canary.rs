//! Canary keys: nobody may use them.
//!
//! Why: a key that was issued to nobody and lies where only a thief looks (a repository, a wiki, a backup) tells that
//! somebody has looked there, and who.
//!
//! Trips when: it is used, however seldom: reported, checked, or sent to the gateway. Critical, and accuses the
//! address.
//!
//! Stays quiet when: never. From an address that the allowlist covers it is told and not acted on.
//!
//! Blind spots: somebody who finds the key and does not use it.

use super::{Case, DetectorResult, Evidence, Quiet};
use crate::domain::{
    finding::{Accused, AnomalyKind, Finding, Mode, Severity},
    profile::About,
    record::Record,
};

const ADVICE: &str = "Find out where this key was kept: whoever used it has read that place. Replace every other key \
                      that is kept there.";

/// Judges a request that the registry does not refuse: its key is no canary.
pub(super) fn judge(_: &Case<'_>) -> DetectorResult {
    Err(Quiet::because("the key is no canary"))
}

/// The finding about a request with a key that nobody may use, which the registry refuses before detectors are asked.
pub fn used_canary(record: &Record, mode: Mode) -> Finding {
    let summary = format!(
        "The canary key {} was used for {} from {}.",
        record.key_id, record.endpoint, record.source_ip
    );
    Finding {
        kind: AnomalyKind::CanaryKeyUsed,
        severity: Severity::Critical,
        score: 1.0,
        mode,
        recommendation: ADVICE.to_owned(),
        evidence: Evidence::new(summary, 1.0, 0.0, 0.0, 1).into_json(),
        accused: Accused::Address,
        about: About::default(),
    }
}
