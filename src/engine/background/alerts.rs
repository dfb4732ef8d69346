//! Alert rules at work: every few seconds the sums of the present minute, hour and day, and of windows, are held
//! against them.
//!
//! The sums are those of usage, over all instances. A rule fires once per span and subject, or, with a window, once
//! until it is cleared: the instance that sees it first claims it in the store, and each remembers what has been
//! reported. Claims end soon, so an instance that starts, or was away, first reads in the event log what has been
//! reported. Sums by key or model are many, so that they are read only as often as reading them allows.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    alert_look::{LATE, Look},
    alert_status::AlertStatus,
    usage::Usage,
};
use crate::{
    domain::{
        DAY, MINUTE, Millis,
        alert::{
            Alert, AlertBook, AlertName as Name, AlertRule, AlertSpan, AlertState, AlertWindow, Bar,
            Baseline, Fired, Firing, Operator, WEEKS, Watched,
        },
        event::{AlertRuleFired, Event, EventType},
        stable_hash,
        subject::Subject,
        usage::Bucket,
    },
    engine::{events, in_force::InForce, shared::Shared},
    store::{Claim, EventQuery, StoreError, patient},
};

/// What is reported of few, and read quickly.
pub(in crate::engine) const FEW: [Watched; 2] = [Watched::Everything, Watched::Project];
/// What is reported of many.
pub(in crate::engine) const MANY: [Watched; 2] = [Watched::Key, Watched::Model];

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

/// The log is read so far back for alerts of windows: the longest window, and a day.
const WINDOWS_KEPT: Millis = 32 * DAY;

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
    /// Where each rule stands.
    book: AlertBook,
    /// Rules with a window that are true of more than are told apart.
    crowded: HashSet<u64>,
    /// The last sum of everything that a rule looked at, by rule.
    observed: HashMap<u64, String>,
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
                let of =
                    |rule: &&AlertRule| rule.span() == AlertSpan::Calendar(bucket) && rule.scope == scope;
                let base = self.in_force.base();
                let rules: Vec<&AlertRule> = base.alerts.iter().filter(of).collect();
                if rules.is_empty() {
                    continue;
                }
                let start = bucket.start(now);
                let running = Look::calendar((bucket, scope), start, now);
                let last = Look::calendar((bucket, scope), start - bucket.millis(), now);
                self.watch_span(&rules, running).await?;
                if self.alerts.is_due(bucket, &last) {
                    self.watch_span(&rules, last).await?;
                    self.alerts.looked_at(bucket, &last);
                }
            }
        }
        self.watch_windows(scopes, now).await?;
        self.clear(scopes, now).await?;
        self.alerts.passes(scopes, now);
        self.alerts.forget(now);
        Ok(())
    }

    /// Looks at the rules that have a window: those of the same window and scope at once.
    async fn watch_windows(&self, scopes: &[Watched], now: Millis) -> Result<(), StoreError> {
        let base = self.in_force.base();
        let of_scope = base.alerts.iter().filter(|rule| scopes.contains(&rule.scope));
        let mut windows: BTreeMap<(AlertWindow, Watched, bool), Vec<&AlertRule>> = BTreeMap::new();
        for rule in of_scope {
            let AlertSpan::Sliding(window) = rule.span() else { continue };
            let is_whole = rule.operator != Operator::Gt;
            windows.entry((window, rule.scope, is_whole)).or_default().push(rule);
        }
        for ((window, scope, is_whole), rules) in windows {
            self.watch_span(&rules, Look::window((window, scope), is_whole, now)).await?;
        }
        Ok(())
    }

    /// Clears the alerts that have not been true for a while, and says so once.
    async fn clear(&self, scopes: &[Watched], now: Millis) -> Result<(), StoreError> {
        let base = self.in_force.base();
        for rule in base.alerts.iter().filter(|rule| scopes.contains(&rule.scope)) {
            let written = written(rule);
            let hash = stable_hash(written.as_bytes());
            let due = self.alerts.0.lock().book.due(hash, now);
            for (name, alert) in due {
                let mark = mark(&written, name.as_deref());
                let claim = format!("alert-{mark:016x}-cleared");
                if patient(self.shared.store.claim(&claim, now)).await? == Claim::Fresh {
                    let event = events::alert_cleared(rule, name.as_deref(), &alert, now);
                    self.shared.outbox.push_apart(event);
                }
                self.alerts.0.lock().book.clear(hash, &name, now);
            }
        }
        Ok(())
    }

    /// Every rule with whom it fires at or did; one that fired at nobody within a day is pending.
    pub(in crate::engine) fn list(&self) -> Vec<AlertStatus> {
        let (base, seen) = (self.in_force.base(), self.alerts.0.lock());
        let mut list = Vec::new();
        for rule in &base.alerts {
            let hash = stable_hash(written(rule).as_bytes());
            let before = list.len();
            list.extend(seen.book.of(hash).map(|(name, alert)| AlertStatus::of(rule, name.clone(), alert)));
            if list.len() == before {
                list.push(AlertStatus::pending(rule, seen.observed.get(&hash).cloned()));
            }
        }
        list
    }

    /// After a start, or a while without a pass: what the log says was reported of the spans that are looked at.
    async fn read_reported(&self, scopes: &[Watched], now: Millis) -> Result<(), StoreError> {
        let base = self.in_force.base();
        let rules: HashMap<String, (&AlertRule, String)> = base
            .alerts
            .iter()
            .filter(|rule| scopes.contains(&rule.scope))
            .map(|rule| (events::rule_id(rule), (rule, written(rule))))
            .collect();
        let last = self.alerts.last_pass(scopes);
        if !rules.is_empty() && last.is_none_or(|last| now - last > AWAY) {
            let day = Bucket::Day.start(now - LATE);
            let is_sliding = |(rule, _): &(&AlertRule, String)| matches!(rule.span(), AlertSpan::Sliding(_));
            let first = if rules.values().any(is_sliding) { now - WINDOWS_KEPT } else { day };
            let since = last.map_or(first, |last| first.max(last - MARGIN));
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
        let sums = look.sums(self.usage.table(&look.query((look.start, look.end))).await?);
        let wanted = rules.iter().any(|rule| matches!(rule.bar, Bar::TimesBaseline(_)));
        let baselines = if wanted { Some(self.baselines(look).await?) } else { None };
        for part in sums.chunks(AT_ONCE) {
            for (name, totals) in part {
                let baseline = baselines.as_ref().and_then(|known| known.get(name));
                for rule in rules {
                    if look.scope == Watched::Everything && look.is_latest() {
                        let hash = stable_hash(written(rule).as_bytes());
                        self.alerts.0.lock().observed.insert(hash, rule.observed(totals));
                    }
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
        let is_day = look.span == AlertSpan::Calendar(Bucket::Day);
        let bucket = if is_day { Bucket::Day } else { Bucket::Hour };
        let (place, start) = ((bucket, look.scope), bucket.start(look.start));
        let known = self.alerts.0.lock().baselines.get(&place).cloned();
        if let Some((_, known)) = known.filter(|(of, _)| *of == start) {
            return Ok(known);
        }
        let mut baselines = Baselines::new();
        for week in 1..=WEEKS {
            let begin = start - week * 7 * DAY;
            let query = look.query((begin, begin + bucket.millis()));
            let table = patient(self.shared.store.usage(&query)).await?;
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
        let Some(reported) = self.alerts.reports((rule, &written), name, fired, &look) else { return Ok(()) };
        let mark = mark(&written, if reported == Report::Crowd { Some("more\n") } else { name.as_deref() });
        // A window has no start of its own: its alert is told of once until it is cleared.
        let claim = match look.span {
            AlertSpan::Calendar(_) => format!("alert-{mark:016x}-{}", look.start),
            AlertSpan::Sliding(_) => format!("alert-{mark:016x}-window"),
        };
        match patient(self.shared.store.claim(&claim, look.now)).await {
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

/// What an alert is claimed by.
fn mark(written: &str, name: Option<&str>) -> u64 {
    stable_hash(format!("{written}\n{}", name.unwrap_or_default()).as_bytes())
}

/// What tells a rule apart from others.
fn written(rule: &AlertRule) -> String {
    serde_json::to_string(rule).unwrap_or_default()
}

/// Whether a rule that fires is reported of somebody by name, or once for all further ones.
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
    fn is_due(&self, bucket: Bucket, look: &Look) -> bool {
        let mut seen = self.0.lock();
        let last = seen.ended.entry((bucket, look.scope)).or_insert_with(|| {
            if look.over_for() < LATE { look.start - bucket.millis() } else { look.start }
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
        let name = match rule.scope {
            Watched::Everything => None,
            Watched::Project | Watched::Key => event.subject.as_ref().map(Subject::id),
            Watched::Model => fired.model.as_deref(),
        };
        let mut seen = self.0.lock();
        let is_named = name.is_some() || rule.scope == Watched::Everything;
        if fired.more_than.is_none() && is_named {
            let hash = stable_hash(written.as_bytes());
            seen.book.recall(hash, name.map(Arc::from), remembered(rule, (event, fired), now));
        }
        let AlertSpan::Calendar(bucket) = rule.span() else { return };
        if fired.state != AlertState::Firing || is_forgotten(bucket, fired.start, now) {
            return;
        }
        let reported = seen.reported.entry((bucket, fired.start)).or_default();
        let reported = reported.entry(stable_hash(written.as_bytes())).or_default();
        if fired.more_than.is_some() {
            // Whoever else it was reported of: nobody more.
            let others = (reported.len()..=MOST_REPORTED).map(|n| Some(format!("more\n{n}").into()));
            reported.extend(others.collect::<Vec<Name>>());
            return;
        }
        if is_named {
            reported.insert(name.map(Arc::from));
        }
    }

    fn looked_at(&self, bucket: Bucket, look: &Look) {
        if look.is_whole() {
            self.0.lock().ended.insert((bucket, look.scope), look.start);
        }
    }

    /// What a rule has to tell that fires at `name`: nothing, if it did or is past the most that it tells of.
    fn reports(
        &self,
        (rule, written): (&AlertRule, &str),
        name: &Name,
        fired: &Fired,
        look: &Look,
    ) -> Option<Report> {
        let mut seen = self.0.lock();
        let hash = stable_hash(written.as_bytes());
        let most = (MOST_REPORTED, look.now);
        let firing = seen.book.fires(hash, name, (fired, look.holds_until(rule.operator)), most);
        let AlertSpan::Calendar(bucket) = look.span else {
            return match firing {
                Firing::Begins => Some(Report::One),
                Firing::GoesOn => None,
                Firing::Crowd => seen.crowded.insert(hash).then_some(Report::Crowd),
            };
        };
        let reported = seen.reported.entry((bucket, look.start)).or_default();
        let reported = reported.entry(hash).or_default();
        if reported.len() > MOST_REPORTED || !reported.insert(name.clone()) {
            return None;
        }
        Some(if reported.len() > MOST_REPORTED { Report::Crowd } else { Report::One })
    }

    fn unreport(&self, rule: &str, name: &Name, look: &Look) {
        let mut seen = self.0.lock();
        let hash = stable_hash(rule.as_bytes());
        let AlertSpan::Calendar(bucket) = look.span else {
            seen.book.withdraw(hash, name);
            seen.crowded.remove(&hash);
            return;
        };
        let reported = seen.reported.get_mut(&(bucket, look.start));
        if let Some(reported) = reported.and_then(|reported| reported.get_mut(&hash)) {
            reported.remove(name);
        }
    }

    /// Forgets what was reported of spans that are no longer looked at, and what was cleared long ago.
    fn forget(&self, now: Millis) {
        let mut seen = self.0.lock();
        seen.reported.retain(|(bucket, start), _| !is_forgotten(*bucket, *start, now));
        seen.book.forget(now);
        let Seen { crowded, book, .. } = &mut *seen;
        crowded.retain(|rule| book.firing(*rule) >= MOST_REPORTED);
    }
}

/// An alert as an event in the log tells of it.
fn remembered(rule: &AlertRule, (event, fired): (&Event, &AlertRuleFired), now: Millis) -> Alert {
    let holds_until = match rule.span() {
        AlertSpan::Sliding(_) => now,
        AlertSpan::Calendar(bucket) => {
            Look::calendar((bucket, rule.scope), fired.start, now).holds_until(rule.operator)
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (observed, threshold) = (text(&fired.observed), text(&fired.threshold));
    Alert { state: fired.state, since: event.time, observed, threshold, holds_until }
}

/// Whether a span is no longer looked at.
fn is_forgotten(bucket: Bucket, start: Millis, now: Millis) -> bool {
    start < bucket.start(now) - bucket.millis()
}
