//! All groups of one channel: what to send next. Pure: no waiting, no sending; time is an argument.
//!
//! Events go in by [`AlertGroups::take`]; [`AlertGroups::next`] says what is due, and the same again until
//! [`AlertGroups::done`] says that it was sent. So a message that fails is not lost, and [`AlertGroups::save`] at any
//! point leads to the same messages after [`AlertGroups::restore`].
//!
//! Every event is in exactly one message: in that of its group, or in the one that says what was held back when the
//! channel's bucket was empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    channel::ChannelTraits,
    group::{AlertGroup, HELD_BACK, OTHERS},
    grouping::Grouping,
    notice::{Notice, NoticeKind},
    rule::{EndReason, Restriction, dedup_key, ends_group, rule},
    token_bucket::TokenBucket,
};
use crate::domain::{
    Millis,
    event::{BanLifted, Event, EventType, FeedbackGiven, Verdict},
    subject::Subject,
};

/// Most groups at a time; events about other subjects share one more group.
pub(super) const MAX_GROUPS: usize = 1_000;
/// Most samples in a group.
const MAX_SAMPLES: usize = 3;
/// With more groups than this, each has one sample.
const MANY_GROUPS: usize = 100;

/// All groups of one channel.
#[derive(Debug, Clone)]
pub(super) struct AlertGroups {
    grouping: Grouping,
    traits: ChannelTraits,
    state: GroupState,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct GroupState {
    open: BTreeMap<String, AlertGroup>,
    bucket: TokenBucket,
}

impl AlertGroups {
    /// A channel's groups: none yet.
    pub(super) fn new(grouping: Grouping, traits: ChannelTraits) -> Self {
        Self { grouping, traits, state: GroupState::default() }
    }

    /// What is to be known after a restart, or by another instance.
    pub(super) fn save(&self) -> Vec<u8> {
        serde_json::to_vec(&self.state).unwrap_or_default()
    }

    /// Goes on from there; nothing is a beginning.
    ///
    /// # Errors
    /// When it cannot be read; all groups are forgotten then.
    pub(super) fn restore(&mut self, saved: &[u8]) -> Result<(), serde_json::Error> {
        self.state = GroupState::default();
        if !saved.is_empty() {
            self.state = serde_json::from_slice(saved)?;
        }
        Ok(())
    }

    /// How many groups are open.
    pub(super) fn len(&self) -> usize {
        self.state.open.len()
    }

    /// Takes an event in, which came now.
    pub(super) fn take(&mut self, event: &Event, now: Millis) {
        if ends_group(event) {
            return self.end(event, now);
        }
        let (rule, subject) = (rule(event), event.subject.clone());
        let key = dedup_key(&rule, subject.as_ref());
        let (many, full) = (self.len() > MANY_GROUPS, self.len() >= MAX_GROUPS);
        let (key, rule, subject) = if full && !self.state.open.contains_key(&key) {
            (dedup_key(OTHERS, None), OTHERS.to_owned(), None)
        } else {
            (key, rule, subject)
        };
        let group = self.state.open.entry(key).or_insert_with(|| AlertGroup::new(rule, subject, event, now));
        group.take(event, now, if many { 1 } else { MAX_SAMPLES });
        if let (Some(restriction), Some(subject)) = (Restriction::of(event), group.subject.clone()) {
            group.restriction = Some(restriction);
            // Another ban takes the place of the one before, whoever made it.
            for group in self.of(&subject).filter(|group| group.restriction.is_some()) {
                group.restriction = Some(restriction);
            }
        }
    }

    fn of<'a>(&'a mut self, subject: &'a Subject) -> impl Iterator<Item = &'a mut AlertGroup> {
        self.state.open.values_mut().filter(move |group| group.subject.as_ref() == Some(subject))
    }

    fn end(&mut self, event: &Event, now: Millis) {
        match (event.kind, &event.subject) {
            (EventType::StoreRecovered, _) => {
                if let Some(group) = self.state.open.get_mut(&dedup_key("store_degraded", None)) {
                    group.end(EndReason::Recovered, now);
                }
            }
            (EventType::AlertRule, subject) => {
                if let Some(group) = self.state.open.get_mut(&dedup_key(&rule(event), subject.as_ref())) {
                    group.end(EndReason::Cleared, now);
                }
            }
            (EventType::FeedbackGiven, _) => self.judge(event, now),
            (EventType::SubjectForgotten, Some(subject)) => {
                self.of(subject).for_each(|group| group.end(EndReason::Forgotten, now));
            }
            (EventType::BanExpired, Some(subject)) => {
                let banned =
                    |group: &&mut AlertGroup| group.restriction.is_some_and(|restriction| restriction.ban);
                self.of(subject).filter(banned).for_each(|group| group.end(EndReason::Expired, now));
            }
            (EventType::BanLifted, Some(subject)) => {
                let by = event.read().and_then(|lifted: BanLifted| lifted.verdict);
                let benign = by == Some(Verdict::Benign);
                let end = if benign { EndReason::Benign } else { EndReason::Lifted };
                self.of(subject)
                    .filter(|group| group.restriction.is_some())
                    .for_each(|group| group.end(end, now));
            }
            _ => {}
        }
    }

    /// An analyst's word about an event. A ban that it lifts has an event of its own.
    fn judge(&mut self, event: &Event, now: Millis) {
        let Some(FeedbackGiven { verdict, judged, .. }) = event.read() else { return };
        let key = dedup_key(&rule(&judged), judged.subject.as_ref());
        match self.state.open.get_mut(&key) {
            Some(group) if verdict == Verdict::Attack => group.acknowledge(now),
            Some(group) if group.restriction.is_none() => group.end(EndReason::Benign, now),
            _ => {}
        }
    }

    /// The next message: the same until [`AlertGroups::done`]. Empty: nothing is due, or the bucket is empty. Several
    /// notices only where the channel takes several at once.
    pub(super) fn next(&mut self, now: Millis) -> Vec<Notice> {
        let Self { grouping, traits, state } = self;
        state.bucket.refill(grouping.max_per_minute, now);
        state.open.retain(|_, group| group.settle(now, grouping, traits));
        let mut due: Vec<(&String, &mut AlertGroup, NoticeKind, Millis)> = Vec::new();
        for (key, group) in &mut state.open {
            if let Some((kind, at)) = group.due(now, grouping) {
                due.push((key, group, kind, at));
            }
        }
        if !state.bucket.has_one(grouping.burst) {
            due.iter_mut().for_each(|(_, group, ..)| group.held_back = true);
            return Vec::new();
        }
        due.sort_by(|(a, x, _, since), (b, y, _, then)| (y.severity, since, a).cmp(&(x.severity, then, b)));
        let alone = |kind: NoticeKind| {
            traits.closes && matches!(kind, NoticeKind::Resolved | NoticeKind::Acknowledged)
        };
        let is_held = |group: &AlertGroup, kind: NoticeKind| group.held_back && !alone(kind);
        let held = due.iter().filter(|(_, group, kind, _)| is_held(group, *kind)).count();
        if traits.max_notices == 1 && held > 1 {
            due.retain(|(_, group, kind, _)| is_held(group, *kind));
            return vec![held_back(&due)];
        }
        due.truncate(traits.max_notices);
        due.iter().map(|(key, group, kind, _)| group.notice(key, *kind)).collect()
    }

    /// Notes that a message was sent, or given up.
    pub(super) fn done(&mut self, notices: &[Notice], now: Millis) {
        self.state.bucket.take_one();
        for notice in notices {
            if notice.kind == NoticeKind::HeldBack {
                for part in &notice.parts {
                    // On channels that must close it, what is over is sent on its own.
                    let kind = if part.end.is_some() && !self.traits.closes {
                        NoticeKind::Resolved
                    } else {
                        NoticeKind::Update
                    };
                    self.was_sent(&part.dedup_key, kind, part.events, now);
                }
                if self.traits.closes {
                    let group = self.state.open.entry(notice.dedup_key.clone());
                    group.or_insert_with(|| AlertGroup::of_held_back(notice, now)).goes_on(notice, now);
                }
            } else {
                self.was_sent(&notice.dedup_key, notice.kind, notice.events, now);
            }
        }
    }

    fn was_sent(&mut self, key: &str, kind: NoticeKind, events: u64, now: Millis) {
        if self.state.open.get_mut(key).is_some_and(|group| group.was_sent(kind, events, now)) {
            self.state.open.remove(key);
        }
    }

    /// Notices about every group that goes on and was sent before, for channels that must hear of it again and again.
    pub(super) fn active(&self) -> Vec<Notice> {
        let active = self.state.open.iter().filter(|(_, group)| group.is_active());
        active.map(|(key, group)| Notice { events: 0, ..group.notice(key, NoticeKind::Firing) }).collect()
    }
}

/// One notice for all that had to wait.
fn held_back(due: &[(&String, &mut AlertGroup, NoticeKind, Millis)]) -> Notice {
    let parts: Vec<_> = due.iter().map(|(key, group, ..)| group.part(key)).collect();
    let spans = due.iter().map(|(_, group, ..)| group.span());
    let (first, last) = spans.fold((Millis::MAX, Millis::MIN), |(a, b), (c, d)| (a.min(c), b.max(d)));
    let events = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.events));
    let severity = parts.iter().map(|part| part.severity).max();
    Notice {
        kind: NoticeKind::HeldBack,
        dedup_key: dedup_key(HELD_BACK, None),
        rule: HELD_BACK.to_owned(),
        title: "Notices held back",
        subject: None,
        severity: severity.unwrap_or(crate::domain::finding::Severity::Low),
        notified_severity: None,
        events,
        total: events,
        first,
        last,
        restriction: None,
        end: None,
        samples: Vec::new(),
        parts,
    }
}
