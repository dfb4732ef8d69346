//! Alert rules at work: every few seconds the sums of the present minute, hour and day are held against them.
//!
//! The sums are those of usage, over all instances. A rule fires once per span and project: the instance that sees it first
//! claims it in the store, and each remembers what has been told.

use std::collections::HashSet;

use parking_lot::Mutex;

use super::{Engine, events, upkeep::patient};
use crate::{
    domain::{
        MINUTE, Millis,
        alert::{AlertRule, Operator, Watched},
        stable_hash,
        subject::Subject,
        usage::{Bucket, Grouping, Totals, UsageKey, UsageQuery},
    },
    store::{Claim, StoreError},
};

/// After a span has ended its sum is still looked at for so long: other instances write theirs a little later.
const LATE: Millis = 20_000;
const _: () = assert!(LATE < MINUTE);

/// What has been told: the rule, of whom, and the start of the span, hashed.
#[derive(Debug, Default)]
pub(super) struct Alerts(Mutex<HashSet<(u64, Millis)>>);

impl Engine {
    /// Looks at every rule.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(super) async fn watch_rules(&self, now: Millis) -> Result<(), StoreError> {
        for bucket in Bucket::ALL {
            let rules: Vec<&AlertRule> =
                self.base.alerts.iter().filter(|rule| rule.metric.bucket() == bucket).collect();
            if rules.is_empty() {
                continue;
            }
            let start = bucket.start(now);
            self.watch_span(&rules, bucket, start, now, false).await?;
            if now - start < LATE {
                self.watch_span(&rules, bucket, start - bucket.millis(), now, true).await?;
            }
        }
        let oldest = Bucket::Day.start(now) - Bucket::Day.millis();
        self.alerts.0.lock().retain(|(_, start)| *start >= oldest);
        Ok(())
    }

    async fn watch_span(
        &self,
        rules: &[&AlertRule],
        bucket: Bucket,
        start: Millis,
        now: Millis,
        over: bool,
    ) -> Result<(), StoreError> {
        let query = UsageQuery {
            bucket,
            from: start,
            to: start + bucket.millis(),
            now,
            group: Grouping { project: true, model: false, key: false },
            only: UsageKey::default(),
            // All of it, or the sum of everything would be too small; `usage.max_series` bounds it.
            max_rows: usize::MAX,
            max_scanned: usize::MAX,
        };
        let table = self.usage(&query).await?;
        for rule in rules {
            match rule.scope {
                Watched::Everything => self.hold(rule, None, &table.total, start, now, over).await?,
                Watched::Project => {
                    for ((_, key), totals) in &table.rows {
                        if let Some(project) = &key.project {
                            self.hold(rule, Some(project), totals, start, now, over).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Holds one sum against one rule. What is below or exactly a figure is only known when the span is over.
    async fn hold(
        &self,
        rule: &AlertRule,
        project: Option<&str>,
        totals: &Totals,
        start: Millis,
        now: Millis,
        over: bool,
    ) -> Result<(), StoreError> {
        // The last seconds may still be on their way: a sum that has ended is taken when they have come.
        let waits =
            over && rule.operator != Operator::Gt && now - start - rule.metric.bucket().millis() < LATE / 4;
        if waits || !rule.fires(totals, over) {
            return Ok(());
        }
        let named =
            format!("{}\n{}", serde_json::to_string(rule).unwrap_or_default(), project.unwrap_or_default());
        let mark = (stable_hash(named.as_bytes()), start);
        if !self.alerts.0.lock().insert(mark) {
            return Ok(());
        }
        match patient(self.store.claim(&format!("alert-{:016x}-{start}", mark.0), now)).await {
            Ok(Claim::Fresh) => {
                let subject = project.map(Subject::project);
                self.outbox.push(events::alert(rule, subject.as_ref(), &rule.shown(totals), start, now));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.alerts.0.lock().remove(&mark);
                Err(error)
            }
        }
    }
}
