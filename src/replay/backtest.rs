//! The same records under another policy: an engine beside the first, and what the two decided differently.

use std::io::Write;

use serde::Serialize;

use super::{Comparison, Replay, ReplayError, Summary};
use crate::domain::{
    Millis,
    decision::{Action, Decision, Reason},
    event::rfc3339_millis,
    finding::Finding,
    record::Record,
};

/// A second engine beside the first, over the same records.
pub struct Backtest {
    old: Replay,
    differences: Option<Box<dyn Write>>,
    /// What the second engine came to.
    pub summary: Summary,
    /// Where that differs from what the first one decided.
    pub comparison: Comparison,
}

/// A request about which the two engines decided differently.
#[derive(Debug, Serialize)]
struct Difference<'a> {
    line: u64,
    #[serde(with = "rfc3339_millis")]
    time: Millis,
    request_id: &'a str,
    key_id: &'a str,
    source_ip: std::net::IpAddr,
    by: &'static str,
    new: Side<'a>,
    old: Side<'a>,
}

/// What one of them rules, enforced or not, in the words of an answer.
#[derive(Debug, Serialize)]
struct Side<'a> {
    allowed: bool,
    action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    anomalies: &'a [Finding],
    policy_version: &'a str,
}

impl<'a> From<&'a Decision> for Side<'a> {
    fn from(decision: &'a Decision) -> Self {
        let ruling = decision.ruling();
        Self {
            allowed: ruling.allowed,
            action: ruling.action,
            reason: ruling.reason,
            retry_after_seconds: ruling.retry_after_seconds,
            anomalies: &decision.anomalies,
            policy_version: &decision.policy_version,
        }
    }
}

impl Backtest {
    /// Holds what `new` decides against what `old` does. Each request that they decide differently goes to
    /// `differences` as a JSON line.
    pub fn between(new: &Replay, old: Replay, differences: Option<Box<dyn Write>>) -> Self {
        let comparison = Comparison::between(&new.engine.policy().policy, &old.engine.policy().policy);
        Self { old, differences, summary: Summary::default(), comparison }
    }

    /// The engine with the policy that is compared against.
    pub fn old(&self) -> &Replay {
        &self.old
    }

    /// Lets the second engine decide about a record, and compares that with `new`.
    pub(super) async fn add(
        &mut self,
        line: u64,
        record: &Record,
        new: &Decision,
        now: Millis,
    ) -> Result<(), ReplayError> {
        self.old.now = now;
        self.old.catch_up().await?;
        let Some(old) = self.old.decide(record).await else { return Ok(()) };
        self.summary.add(record, &old, now);
        let by = self.comparison.add(record, new, &old, now);
        if let (Some(by), Some(out)) = (by, &mut self.differences) {
            let difference = Difference {
                line,
                time: now,
                request_id: &record.request_id,
                key_id: &record.key_id,
                source_ip: record.source_ip,
                by: by.name(),
                new: new.into(),
                old: (&old).into(),
            };
            super::write(out, &mut Vec::new(), &difference)?;
        }
        Ok(())
    }

    /// Ends the comparison, of which the lines are those of `read`.
    pub(super) async fn finish(&mut self, read: &Summary) -> Result<(), ReplayError> {
        (self.summary.lines, self.summary.bad_lines) = (read.lines, read.bad_lines);
        self.summary.first_bad.clone_from(&read.first_bad);
        self.old.finish().await?;
        match &mut self.differences {
            Some(out) => out.flush().map_err(ReplayError::Write),
            None => Ok(()),
        }
    }
}
