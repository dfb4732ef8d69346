//! Spend anomalies: after each interval every key's day so far is held against its days before, once over all
//! instances, and a key that stays critical is cut off.
//!
//! All of it is worked out from the roll-ups of usage: days for the judgement, minutes and hours for how the day stood
//! at the checks before. What was reported and what people said is read from the event log, so nothing else is stored.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    spend_days::{Book, Check, CutOff, DAYS, Days, streak},
    usage_book::UsageBook,
};
use crate::{
    domain::{
        DAY, Millis, SECOND,
        event::{Event, EventType, FeedbackGiven, KeyCutOff, SpendAnomaly, Verdict},
        finding::{Mode, Severity},
        ladder,
        policy::Preset,
        spend::{Judgement, Rules, Spent},
        standing::{StandingDetail, StandingState},
        subject::Subject,
        usage::{Grouping, OTHER, Rows, UsageQuery},
    },
    engine::{events, in_force::InForce, shared::Shared, standings::Standings},
    store::{Claim, EventQuery, StandingRecord, StoreError, patient},
};

/// So long after an interval what was used in it has come from every instance.
const SETTLED: Millis = 10 * SECOND;
/// When one check would cut off more keys than this, and more than a quarter of those that matter, they have a common
/// cause (a price, say), and none is cut off.
const MANY: usize = 10;
/// Events looked at for what was reported or said, in pages of a hundred.
const PAGES: usize = 50;

/// Looks at what keys spend.
pub(in crate::engine) struct SpendWatch {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    standings: Arc<Standings>,
    book: Arc<UsageBook>,
    known: Mutex<Known>,
}

/// What this instance knows of checks.
#[derive(Debug, Default)]
struct Known {
    /// The last check that is done, here or elsewhere.
    done: Millis,
    /// The last one that this instance has taken on.
    claimed: Millis,
    /// What was reported: by key and day, the worst.
    reported: HashMap<(Subject, Millis), Severity>,
}

impl SpendWatch {
    /// Nothing is known of checks yet. Usage in `book` is written before each; `standings` are changed by it.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        standings: Arc<Standings>,
        book: Arc<UsageBook>,
    ) -> Self {
        Self { shared, in_force, standings, book, known: Mutex::default() }
    }

    /// Makes the check of the last interval, unless it is done or somebody else makes it.
    ///
    /// # Errors
    /// When the store does not answer: then it is made again.
    pub(in crate::engine) async fn watch(&self, now: Millis) -> Result<(), StoreError> {
        let Some(rules) = self.in_force.base().spend else { return Ok(()) };
        let check = Check { at: rules.interval.last(now), interval: rules.interval, now };
        let claimed = {
            let known = self.known.lock();
            if known.done >= check.at || now - check.at < SETTLED {
                return Ok(());
            }
            known.claimed >= check.at
        };
        if claimed
            || patient(self.shared.store.claim(&format!("spend-{}", check.at), now)).await? == Claim::Fresh
        {
            self.known.lock().claimed = check.at;
            self.check_spend(&rules, check).await?;
        }
        let mut known = self.known.lock();
        known.done = check.at;
        known.reported.retain(|(_, day), _| *day >= check.day() - DAY);
        Ok(())
    }

    async fn check_spend(&self, rules: &Rules, check: Check) -> Result<(), StoreError> {
        self.book.flush(&*self.shared.store, check.now).await?;
        let mut book = self.read_days(rules, check).await?;
        let mut critical = HashSet::new();
        for key in book.days.keys() {
            // Yesterday first, for what came late.
            for at in [check.day(), check.at] {
                let judged = Check { at, ..check };
                let Some(days) = book.days_at(key, judged) else { continue };
                if let Some(found) = rules.judge(&days) {
                    self.report_spend(key, &found, judged).await?;
                    if at == check.at && found.is_critical() {
                        critical.insert(key.clone());
                    }
                }
            }
        }
        if critical.is_empty() || rules.cut_off_after == 0 {
            return Ok(());
        }
        self.read_intervals(rules, &mut book, &critical).await?;
        let streaks: Vec<CutOff> = critical.into_iter().filter_map(|key| streak(rules, &book, key)).collect();
        let matter = book.days.values().filter(|days| rules.matters(days[0])).count();
        let common = streaks.len() > MANY && streaks.len() * 4 > matter;
        for cut in &streaks {
            self.cut_off(rules, cut, check, common).await?;
        }
        Ok(())
    }

    /// The days of every key whose day or day before matters.
    async fn read_days(&self, rules: &Rules, check: Check) -> Result<Book, StoreError> {
        let mut days: HashMap<Arc<str>, Days> = HashMap::new();
        let mut start = check.day();
        for back in 0..DAYS {
            for (key, spent) in self.spent((start, start + DAY), check.now).await? {
                if back < 2 && rules.matters(spent) || days.contains_key(&key) {
                    days.entry(key).or_default()[back] = spent;
                }
            }
            if back == 0 && check.at < check.day() + DAY {
                // What has come since belongs to the next check.
                for (key, spent) in self.spent((check.at, check.day() + DAY), check.now).await? {
                    if let Some(days) = days.get_mut(&key) {
                        days[0] = days[0].without(spent);
                    }
                }
            }
            if days.is_empty() && back > 0 {
                break;
            }
            start -= DAY;
        }
        Ok(Book { check, days, intervals: HashMap::new() })
    }

    /// The intervals of some keys between the first check of a row and the last, and the one before the last.
    async fn read_intervals(
        &self,
        rules: &Rules,
        book: &mut Book,
        keys: &HashSet<Arc<str>>,
    ) -> Result<(), StoreError> {
        for back in 1..=rules.cut_off_after.saturating_sub(1).max(1) {
            let begin = book.check.before(back).at;
            let span = (begin, begin + book.check.interval.millis());
            for (key, spent) in self.spent(span, book.check.now).await? {
                if keys.contains(&key) {
                    book.intervals.entry(key).or_default().push((begin, spent));
                }
            }
        }
        Ok(())
    }

    /// What each key used in a span. What is summed as `(other)` is of no key.
    async fn spent(&self, span: (Millis, Millis), now: Millis) -> Result<Vec<(Arc<str>, Spent)>, StoreError> {
        let group = Grouping { key: true, ..Grouping::default() };
        let query = UsageQuery { group, ..UsageQuery::new(Rows::Whole, span, now) };
        let table = patient(self.shared.store.usage(&query)).await?;
        let named = table.rows.into_iter().filter_map(|((_, series), totals)| {
            let key = series.key.filter(|key| **key != *OTHER)?;
            Some((key, Spent { cost_nanos: totals.cost_nanos, tokens: totals.tokens }))
        });
        Ok(named.collect())
    }

    /// Tells of an unusual day, unless as much was reported of it.
    async fn report_spend(&self, key: &str, found: &Judgement, judged: Check) -> Result<(), StoreError> {
        let (subject, day) = (Subject::key(key), judged.day());
        let place = (subject.clone(), day);
        let known = self.known.lock().reported.get(&place).copied();
        if known.is_some_and(|reported| reported >= found.severity()) {
            return Ok(());
        }
        let of_day = |event: &Event| {
            event.severity >= found.severity()
                && event.read::<SpendAnomaly>().is_some_and(|logged| logged.day == day)
        };
        if !self.was_said(&subject, EventType::SpendAnomaly, day, of_day).await? {
            let version = self.in_force.policy().version.clone();
            let event = events::spend_anomaly(
                &subject,
                found,
                day,
                (judged.at, judged.interval),
                &version,
                judged.now,
            );
            patient(self.shared.store.append(&[event])).await?;
            self.shared.metrics.events_written.increment(1);
        }
        self.known.lock().reported.insert(place, found.severity());
        Ok(())
    }

    /// Cuts a key off for good, or says that it would be. Not one that nobody was warned of, that people have spoken
    /// for since the first of the checks, or that was cut off on this day.
    async fn cut_off(
        &self,
        rules: &Rules,
        cut: &CutOff,
        check: Check,
        common: bool,
    ) -> Result<(), StoreError> {
        let (subject, policy, now) = (Subject::key(&cut.key), self.in_force.policy(), check.now);
        if policy.allowlist.covers_key(&subject, now)
            || !self.was_warned_of(&subject, cut, check).await?
            || self.was_spoken_for(&subject, cut, check).await?
        {
            return Ok(());
        }
        let why = match rules.mode {
            _ if common => Some("held: so many keys at once have a common cause, such as a price"),
            Mode::Shadow => Some("shadow"),
            _ if !self.may_cut_off() => Some(
                "held: what is only loud may be the owner's own; the strict preset or an emergency hook lets spending \
                 alone cut a key off",
            ),
            _ => None,
        };
        let checks = (check.day(), check.interval, cut.checks.as_slice());
        let event = events::key_cut_off(&subject, &cut.found, checks, why, &policy.version, now);
        let observing = policy.observes();
        if why.is_some() {
            let standing = patient(self.shared.store.standing(&subject)).await?;
            let for_good = |held: StandingRecord| {
                held.standing.counting(observing).state_at(now) == StandingState::PermanentlyBanned
            };
            if !standing.is_some_and(for_good) {
                patient(self.shared.store.append(&[event])).await?;
                self.shared.metrics.events_written.increment(1);
            }
            return Ok(());
        }
        let event = if observing { events::cut_off_in_theory(event, now) } else { event };
        let detail = StandingDetail {
            reason: event.evidence.finding().summary.unwrap_or_default().trim_end_matches('.').to_owned(),
            detector: Some("spend".to_owned()),
            evidence: event.evidence.as_json().clone(),
            request_id: None,
        };
        let done = self.standings.change_with(&subject, now, |current| {
            let before = current.standing.counting(observing);
            // What is only observed takes the place of no ban that holds again when the policy enforces.
            let holds = observing && current.standing.counting(false).is_banned_at(now);
            if holds || before.state_at(now) == StandingState::PermanentlyBanned {
                return None;
            }
            let (ladder, enforcement) = (&policy.policy.ladder, policy.policy.enforcement);
            let standing = enforcement.mark(&before, ladder::cut_off(&before, ladder, now), ladder);
            let banned = events::banned_by_spend(&event, &standing);
            Some((standing, detail.clone(), vec![banned, event.clone()]))
        });
        patient(done).await.map(drop)
    }

    /// Whether what a key spends may cut it off by itself: in `strict`, and where an emergency hook is configured.
    fn may_cut_off(&self) -> bool {
        self.in_force.base().has_emergency_hook || self.in_force.policy().policy.preset == Preset::Strict
    }

    /// Whether an earlier check reported that one of the days of these checks is critical. What comes late, and all at
    /// once, makes checks critical that found nothing when they were made.
    async fn was_warned_of(&self, subject: &Subject, cut: &CutOff, check: Check) -> Result<bool, StoreError> {
        let since = cut.first_day(check);
        let earlier = |event: &Event| {
            event.severity == Severity::Critical
                && event.time < check.at
                && event.read::<SpendAnomaly>().is_some_and(|logged| logged.day >= since)
        };
        self.was_said(subject, EventType::SpendAnomaly, since, earlier).await
    }

    /// Whether a person lifted a ban of the key, or called an event about its spending benign, on a day of these checks
    /// or since; or whether it was cut off on the last of these days.
    async fn was_spoken_for(
        &self,
        subject: &Subject,
        cut: &CutOff,
        check: Check,
    ) -> Result<bool, StoreError> {
        let since = cut.first_day(check);
        let benign = |event: &Event| {
            event.read::<FeedbackGiven>().is_some_and(|word| {
                let spend = [EventType::SpendAnomaly, EventType::KeyCutOff].contains(&word.judged.kind);
                spend && word.verdict == Verdict::Benign
            })
        };
        let observing = self.in_force.policy().observes();
        let this_day = |event: &Event| {
            (observing || event.would.is_none())
                && event.read::<KeyCutOff>().is_some_and(|logged| logged.spend.day == check.day())
        };
        Ok(self.was_said(subject, EventType::BanLifted, since, |_| true).await?
            || self.was_said(subject, EventType::FeedbackGiven, since, benign).await?
            || self.was_said(subject, EventType::KeyCutOff, check.day(), this_day).await?)
    }

    /// Whether the log has an event of this type about a key.
    async fn was_said(
        &self,
        subject: &Subject,
        kind: EventType,
        since: Millis,
        fits: impl Fn(&Event) -> bool,
    ) -> Result<bool, StoreError> {
        let mut query = EventQuery {
            subject: Some(subject.clone()),
            kind: Some(kind),
            since: Some(since),
            limit: 100,
            ..EventQuery::default()
        };
        for _ in 0..PAGES {
            let page = patient(self.shared.store.events(&query)).await?;
            if page.items.iter().any(&fits) {
                return Ok(true);
            }
            if page.next.is_none() {
                return Ok(false);
            }
            query.cursor = page.next;
        }
        Ok(false)
    }
}
