//! A standing as the API shows it: as of now, with strikes decayed and what has run out gone.

use serde::Serialize;
use utoipa::ToSchema;

use super::StoppedPartView;
use crate::{
    domain::{
        Millis,
        event::format_millis,
        ladder,
        policy::LadderPolicy,
        standing::{Origin, StandingState},
    },
    store::StandingRecord,
};

/// Where a subject stands now.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub struct BanStatus {
    /// The subject whose standing it is: kind and id.
    #[schema(example = "key:k1:9f2c41d07be5a8c3")]
    pub subject: String,
    /// The rung in force now.
    pub state: StandingState,
    /// Since when; null when nothing was ever held against it.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Until when; null for good, and when clear.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Strikes, as they have decayed by now.
    pub strikes: f64,
    /// Why it stands there, in a sentence; null when it is clear.
    pub reason: Option<String>,
    /// The numbers of the finding that led to it.
    pub evidence: serde_json::Value,
    /// Who put it there.
    pub origin: Option<Origin>,
    /// Of an address that a detector banned: the keys that are spared, because they have long succeeded from there. As
    /// many as came since and were told of, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<String>,
    /// Of a key: parts of its traffic of which nothing passes, wherever the key itself stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped_parts: Vec<StoppedPartView>,
    /// Present and false when it was made while the policy only observed: it never refuses or slows down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enforced: Option<bool>,
}

impl BanStatus {
    /// The standing as of `now`.
    pub fn new(record: &StandingRecord, policy: &LadderPolicy, now: Millis) -> Self {
        let (standing, detail) = (&record.standing, &record.detail);
        let strikes = (ladder::strikes(standing, policy, now) * 1000.0).round() / 1000.0;
        let status = Self {
            subject: record.subject.to_string(),
            state: standing.state_at(now),
            since: (standing.since > 0).then(|| format_millis(standing.since)),
            until: standing.until.map(format_millis),
            strikes,
            reason: Some(detail.reason.clone()).filter(|r| !r.is_empty()),
            evidence: detail.evidence.clone(),
            origin: (standing.version > 0).then_some(standing.origin),
            spared: Vec::new(),
            stopped_parts: Vec::new(),
            enforced: standing.unenforced.then_some(false),
        };
        let ran_out = standing.state != StandingState::Clear && status.state == StandingState::Clear;
        if ran_out { status.run_out() } else { status }
    }

    /// What is left of a standing whose time is over: clear since then, for no reason.
    fn run_out(self) -> Self {
        Self {
            since: self.until,
            until: None,
            reason: None,
            evidence: serde_json::Value::Null,
            origin: None,
            enforced: None,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        config::default_policy,
        domain::{
            DAY,
            standing::{Standing, StandingDetail},
            subject::Subject,
        },
    };

    const SINCE: Millis = 1_772_442_802_123;

    fn banned() -> StandingRecord {
        StandingRecord {
            subject: Subject::key("k1:9f2c41d07be5a8c3"),
            standing: Standing {
                version: 1,
                state: StandingState::TemporarilyBanned,
                since: SINCE,
                until: Some(SINCE + 1_800_000),
                strikes: 1.0,
                strikes_at: SINCE,
                ..Standing::default()
            },
            detail: StandingDetail {
                reason: "Too far.".into(),
                evidence: json!({"km": 9264}),
                ..Default::default()
            },
        }
    }

    fn status(record: &StandingRecord, now: Millis) -> serde_json::Value {
        serde_json::to_value(BanStatus::new(record, &default_policy().ladder, now)).unwrap()
    }

    #[test]
    fn a_ban_in_force_is_shown_with_its_reason() {
        assert_eq!(
            status(&banned(), SINCE),
            json!({
                "subject": "key:k1:9f2c41d07be5a8c3", "state": "temporarily_banned",
                "since": "2026-03-02T09:13:22.123Z", "until": "2026-03-02T09:43:22.123Z", "strikes": 1.0,
                "reason": "Too far.", "evidence": {"km": 9264}, "origin": "detector",
            })
        );
    }

    #[test]
    fn a_ban_that_was_only_observed_says_so_until_it_runs_out() {
        let mut record = banned();
        record.standing.unenforced = true;
        assert_eq!(status(&record, SINCE)["enforced"], json!(false));
        assert_eq!(status(&record, SINCE + 7 * DAY).get("enforced"), None);
    }

    #[test]
    fn a_ban_that_ran_out_leaves_only_its_decayed_strike() {
        let status = status(&banned(), SINCE + 7 * DAY);
        assert_eq!(status["state"], "clear");
        assert_eq!(status["since"], "2026-03-02T09:43:22.123Z");
        assert_eq!(status["strikes"], 0.5);
        assert_eq!(status["until"], json!(null));
        assert_eq!(status["reason"], json!(null));
    }

    #[test]
    fn a_subject_against_which_nothing_was_held_is_clear() {
        let record =
            StandingRecord { standing: Standing::default(), detail: StandingDetail::default(), ..banned() };
        let status = status(&record, SINCE);
        assert_eq!(status["state"], "clear");
        assert_eq!(status["since"], json!(null));
        assert_eq!(status["origin"], json!(null));
    }
}
