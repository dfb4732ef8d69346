//! Alert rules at work: every few seconds the sums of the present minute, hour and day are held against them.
//!
//! The sums are those of usage, over all instances. A rule fires once per span and subject: the instance that sees it
//! first claims it in the store, and each remembers what has been reported. Claims end soon, so an instance that
//! starts, or was away, first reads in the event log what has been reported. Sums by key or model are many, so that
//! they are read only as often as reading them allows.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::usage::Usage;
use crate::{
    domain::{
        DAY, MINUTE, Millis,
        alert::{AlertRule, Bar, Baseline, Fired, Operator, WEEKS, Watched},
        event::{AlertRuleFired, Event, EventType},
        stable_hash,
        subject::Subject,
        usage::{Bucket, Grouping, OTHER, Totals, UsageKey, UsageQuery, UsageTable},
    },
    engine::{events, in_force::InForce, shared::Shared},
    store::{Claim, EventQuery, StoreError, patient},
};

/// What is reported of few, and read quickly.
pub(in crate::engine) const FEW: [Watched; 2] = [Watched::Everything, Watched::Project];
/// What is reported of many.
pub(in crate::engine) const MANY: [Watched; 2] = [Watched::Key, Watched::Model];

/// After a span has ended its sum is still looked at for so long: other instances write theirs a little later.
const LATE: Millis = 20_000;
const _: () = assert!(LATE < MINUTE);
/// Who a rule tells of in one span, at most; then it says so, once.
const MOST_REPORTED: usize = 1_000;
/// Sums that are held against rules before others get their turn.
const AT_ONCE: usize = 2_048;

/// After so long without a pass the log is read for what others have reported: well before their claims end.
const AWAY: Millis = MINUTE;
/// What was reported just before the last pass may have come to the log after it.
const MARGIN: Millis = 5 * MINUTE;
/// Events in a page of the log, and pages that are read, at most.
const PAGE: usize = 1_000;
const PAGES: usize = 20;

/// Whose sum: a project, key or model; everything has no name.
type Name = Option<Arc<str>>;
/// What the weeks before held.
type Baselines = HashMap<Name, Baseline>;

/// Holds usage against the alert rules.
pub(in crate::engine) struct AlertWatch {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    usage: Arc<Usage>,
    alerts: Alerts,
}

/// What has been looked at and reported.
#[derive(Debug, Default)]
struct Alerts(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// What has been reported: by span and rule, of whom.
    reported: HashMap<(Bucket, Millis), HashMap<u64, HashSet<Name>>>,
    /// The last span that was looked at when everybody's sums of it had come.
    ended: HashMap<(Bucket, Watched), Millis>,
    /// When the last pass over the sums of a scope began that the store answered to its end.
    passed: HashMap<Watched, Millis>,
    /// By the longer span that they are of, and when it begins.
    baselines: HashMap<(Bucket, Watched), (Millis, Arc<Baselines>)>,
}

/// Sums of one span that are looked at.
#[derive(Clone, Copy)]
struct Look {
    bucket: Bucket,
    scope: Watched,
    start: Millis,
    now: Millis,
}

impl Look {
    fn is_over(&self) -> bool {
        self.now >= self.start + self.bucket.millis()
    }

    /// Since when it is over; below 0: it runs.
    fn over_for(&self) -> Millis {
        self.now - self.start - self.bucket.millis()
    }

    /// Whether all sums have come: the last seconds of a span may still be on their way when it ends.
    fn is_whole(&self) -> bool {
        self.over_for() >= LATE / 4
    }

    fn query(&self, bucket: Bucket, start: Millis) -> UsageQuery {
        let by = |scope| self.scope == scope;
        UsageQuery {
            bucket,
            from: start,
            to: start + bucket.millis(),
            now: self.now,
            group: Grouping {
                project: by(Watched::Project),
                model: by(Watched::Model),
                key: by(Watched::Key),
            },
            only: UsageKey::default(),
            // All of it, or the sum of everything would be too small; `usage.max_series` bounds it.
            max_rows: usize::MAX,
            max_scanned: usize::MAX,
        }
    }

    /// The sums of a table by whom they are of. What is summed as `(other)` is of nobody.
    fn sums(&self, table: UsageTable) -> Vec<(Name, Totals)> {
        let scope = self.scope;
        if scope == Watched::Everything {
            return vec![(None, table.total)];
        }
        let named = table.rows.into_iter().filter_map(|((_, key), totals)| {
            let name = match scope {
                Watched::Everything => None,
                Watched::Project => key.project,
                Watched::Key => key.key,
                Watched::Model => key.model,
            };
            Some((Some(name.filter(|name| **name != *OTHER)?), totals))
        });
        named.collect()
    }
}

impl AlertWatch {
    /// Nothing has been looked at yet.
    pub(in crate::engine) fn new(shared: Arc<Shared>, in_force: Arc<InForce>, usage: Arc<Usage>) -> Self {
        Self { shared, in_force, usage, alerts: Alerts::default() }
    }

    /// Looks at every rule of these scopes.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(in crate::engine) async fn watch(&self, scopes: &[Watched], now: Millis) -> Result<(), StoreError> {
        self.read_reported(scopes, now).await?;
        for bucket in Bucket::ALL {
            for &scope in scopes {
                let of = |rule: &&AlertRule| rule.metric.bucket() == bucket && rule.scope == scope;
                let rules: Vec<&AlertRule> = self.in_force.base().alerts.iter().filter(of).collect();
                if rules.is_empty() {
                    continue;
                }
                let start = bucket.start(now);
                let (running, last) = (
                    Look { bucket, scope, start, now },
                    Look { bucket, scope, start: start - bucket.millis(), now },
                );
                self.watch_span(&rules, running).await?;
                if self.alerts.is_due(&last) {
                    self.watch_span(&rules, last).await?;
                    self.alerts.looked_at(&last);
                }
            }
        }
        self.alerts.passes(scopes, now);
        self.alerts.forget(now);
        Ok(())
    }

    /// After a start, or a while without a pass: what the log says was reported of the spans that are looked at.
    async fn read_reported(&self, scopes: &[Watched], now: Millis) -> Result<(), StoreError> {
        let rules: HashMap<String, (&AlertRule, String)> = self
            .in_force
            .base()
            .alerts
            .iter()
            .filter(|rule| scopes.contains(&rule.scope))
            .map(|rule| (events::rule_id(rule), (rule, written(rule))))
            .collect();
        let last = self.alerts.last_pass(scopes);
        if !rules.is_empty() && last.is_none_or(|last| now - last > AWAY) {
            let day = Bucket::Day.start(now - LATE);
            let since = last.map_or(day, |last| day.max(last - MARGIN));
            let mut query = EventQuery {
                kind: Some(EventType::AlertRule),
                since: Some(since),
                limit: PAGE,
                ..EventQuery::default()
            };
            for _ in 0..PAGES {
                let page = patient(self.shared.store.events(&query)).await?;
                for event in &page.items {
                    let Some(fired) = event.read::<AlertRuleFired>() else { continue };
                    if let Some((rule, written)) = rules.get(&fired.rule) {
                        self.alerts.recall(rule, written, (event, &fired), now);
                    }
                }
                query.cursor = page.next;
                if query.cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn watch_span(&self, rules: &[&AlertRule], look: Look) -> Result<(), StoreError> {
        let sums = look.sums(self.usage.table(&look.query(look.bucket, look.start)).await?);
        let wanted = rules.iter().any(|rule| matches!(rule.bar, Bar::TimesBaseline(_)));
        let baselines = if wanted { Some(self.baselines(look).await?) } else { None };
        for part in sums.chunks(AT_ONCE) {
            for (name, totals) in part {
                let baseline = baselines.as_ref().and_then(|known| known.get(name));
                for rule in rules {
                    // What is below or exactly a figure is only known when the span is over, and whole.
                    if look.is_over() && !look.is_whole() && rule.operator != Operator::Gt {
                        continue;
                    }
                    if let Some(fired) = rule.fires(totals, baseline, look.is_over()) {
                        self.report_rule(rule, name, &fired, look).await?;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// What the same hour of the week, or weekday, held in the weeks before the span: read once per hour, or day.
    async fn baselines(&self, look: Look) -> Result<Arc<Baselines>, StoreError> {
        let bucket = if look.bucket == Bucket::Day { Bucket::Day } else { Bucket::Hour };
        let (place, start) = ((bucket, look.scope), bucket.start(look.start));
        let known = self.alerts.0.lock().baselines.get(&place).cloned();
        if let Some((_, known)) = known.filter(|(of, _)| *of == start) {
            return Ok(known);
        }
        let mut baselines = Baselines::new();
        for week in 1..=WEEKS {
            let table = patient(self.shared.store.usage(&look.query(bucket, start - week * 7 * DAY))).await?;
            for (name, totals) in look.sums(table).into_iter().filter(|(_, totals)| totals.requests > 0) {
                baselines.entry(name).or_default().add(&totals);
            }
        }
        let baselines = Arc::new(baselines);
        self.alerts.0.lock().baselines.insert(place, (start, baselines.clone()));
        Ok(baselines)
    }

    /// Tells of whom a rule fires at, unless somebody has.
    async fn report_rule(
        &self,
        rule: &AlertRule,
        name: &Name,
        fired: &Fired,
        look: Look,
    ) -> Result<(), StoreError> {
        let written = written(rule);
        let Some(reported) = self.alerts.reports(&written, name, &look) else { return Ok(()) };
        let whom = if reported == Report::Crowd { "more\n" } else { name.as_deref().unwrap_or_default() };
        let mark = stable_hash(format!("{written}\n{whom}").as_bytes());
        match patient(self.shared.store.claim(&format!("alert-{mark:016x}-{}", look.start), look.now)).await {
            Ok(Claim::Fresh) => {
                let event = match reported {
                    Report::One => events::alert(rule, name.as_deref(), fired, look.start, look.now),
                    Report::Crowd => events::crowd(rule, MOST_REPORTED, look.start, look.now),
                };
                self.shared.outbox.push_apart(event);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                self.alerts.unreport(&written, name, &look);
                Err(error)
            }
        }
    }
}

/// What tells a rule apart from others.
fn written(rule: &AlertRule) -> String {
    serde_json::to_string(rule).unwrap_or_default()
}

/// What is to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Report {
    /// One project or key that exceeded a rule.
    One,
    /// That there are more.
    Crowd,
}

impl Alerts {
    /// Whether a span that has ended is to be looked at: for a while, and once when it is whole. One that ended long
    /// before anything was looked at here is left to those that were there.
    fn is_due(&self, look: &Look) -> bool {
        let mut seen = self.0.lock();
        let last = seen.ended.entry((look.bucket, look.scope)).or_insert_with(|| {
            if look.over_for() < LATE { look.start - look.bucket.millis() } else { look.start }
        });
        look.over_for() < LATE || *last < look.start
    }

    fn last_pass(&self, scopes: &[Watched]) -> Option<Millis> {
        let seen = self.0.lock();
        scopes.iter().map(|scope| seen.passed.get(scope).copied()).min().flatten()
    }

    fn passes(&self, scopes: &[Watched], now: Millis) {
        self.0.lock().passed.extend(scopes.iter().map(|scope| (*scope, now)));
    }

    /// Takes over what an event in the log says was reported.
    fn recall(
        &self,
        rule: &AlertRule,
        written: &str,
        (event, fired): (&Event, &AlertRuleFired),
        now: Millis,
    ) {
        let bucket = rule.metric.bucket();
        if is_forgotten(bucket, fired.start, now) {
            return;
        }
        let mut seen = self.0.lock();
        let reported = seen.reported.entry((bucket, fired.start)).or_default();
        let reported = reported.entry(stable_hash(written.as_bytes())).or_default();
        if fired.more_than.is_some() {
            // Whoever else it was reported of: nobody more.
            let others = (reported.len()..=MOST_REPORTED).map(|n| Some(format!("more\n{n}").into()));
            reported.extend(others.collect::<Vec<Name>>());
            return;
        }
        let name = match rule.scope {
            Watched::Everything => None,
            Watched::Project | Watched::Key => event.subject.as_ref().map(Subject::id),
            Watched::Model => fired.model.as_deref(),
        };
        if name.is_some() || rule.scope == Watched::Everything {
            reported.insert(name.map(Arc::from));
        }
    }

    fn looked_at(&self, look: &Look) {
        if look.is_whole() {
            self.0.lock().ended.insert((look.bucket, look.scope), look.start);
        }
    }

    /// What a rule has to tell that fires at `name`: nothing, if it did or is past the most that it tells of.
    fn reports(&self, rule: &str, name: &Name, look: &Look) -> Option<Report> {
        let mut seen = self.0.lock();
        let reported = seen.reported.entry((look.bucket, look.start)).or_default();
        let reported = reported.entry(stable_hash(rule.as_bytes())).or_default();
        if reported.len() > MOST_REPORTED || !reported.insert(name.clone()) {
            return None;
        }
        Some(if reported.len() > MOST_REPORTED { Report::Crowd } else { Report::One })
    }

    fn unreport(&self, rule: &str, name: &Name, look: &Look) {
        let mut seen = self.0.lock();
        let reported = seen.reported.get_mut(&(look.bucket, look.start));
        if let Some(reported) = reported.and_then(|reported| reported.get_mut(&stable_hash(rule.as_bytes())))
        {
            reported.remove(name);
        }
    }

    /// Forgets what was reported of spans that are no longer looked at.
    fn forget(&self, now: Millis) {
        self.0.lock().reported.retain(|(bucket, start), _| !is_forgotten(*bucket, *start, now));
    }
}

/// Whether a span is no longer looked at.
fn is_forgotten(bucket: Bucket, start: Millis, now: Millis) -> bool {
    start < bucket.start(now) - bucket.millis()
}
