//! All groups of one channel: what to tell it next. Pure: no waiting, no sending; time is an argument.
//!
//! Events go in by [`Groups::take`]; [`Groups::next`] says what is due, and the same again until [`Groups::done`] says that
//! it was told. So a message that fails is not lost, and [`Groups::save`] at any point leads to the same messages after
//! [`Groups::restore`].
//!
//! Every event is told in exactly one message: in that of its group, or in the one that says what was held back when the
//! channel's bucket was empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Nature,
    bucket::Bucket,
    group::{Group, HELD_BACK, OTHERS},
    notice::{Notice, Told, judged},
    rule::{End, Hold, dedup_key, is_end, rule},
    settings::Grouping,
};
use crate::domain::{
    Millis,
    event::{Event, EventType},
    subject::Subject,
};

/// Most groups at a time; what is about others is one more group.
pub const MOST_GROUPS: usize = 1_000;
/// Samples in a group, and groups beyond which each has but one.
const SAMPLES: usize = 3;
const MANY: usize = 100;

/// All groups of one channel.
#[derive(Debug, Clone)]
pub struct Groups {
    grouping: Grouping,
    nature: Nature,
    state: State,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct State {
    open: BTreeMap<String, Group>,
    bucket: Bucket,
}

impl Groups {
    /// None yet.
    pub fn new(grouping: Grouping, nature: Nature) -> Self {
        Self { grouping, nature, state: State::default() }
    }

    /// What is to be known after a restart, or by another instance.
    pub fn save(&self) -> Vec<u8> {
        serde_json::to_vec(&self.state).unwrap_or_default()
    }

    /// Goes on from there; nothing is a beginning.
    ///
    /// # Errors
    /// When it cannot be read; all groups are forgotten then.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), serde_json::Error> {
        self.state = State::default();
        if !saved.is_empty() {
            self.state = serde_json::from_slice(saved)?;
        }
        Ok(())
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.state.open.len()
    }

    /// Takes an event in, which came now.
    pub fn take(&mut self, event: &Event, now: Millis) {
        if is_end(event.kind) {
            return self.end(event, now);
        }
        let (rule, subject) = (rule(event), event.subject.clone());
        let key = dedup_key(&rule, subject.as_ref());
        let (many, full) = (self.len() > MANY, self.len() >= MOST_GROUPS);
        let (key, rule, subject) = if full && !self.state.open.contains_key(&key) {
            (dedup_key(OTHERS, None), OTHERS.to_owned(), None)
        } else {
            (key, rule, subject)
        };
        let group = self.state.open.entry(key).or_insert_with(|| Group::new(rule, subject, event, now));
        group.take(event, now, if many { 1 } else { SAMPLES });
        if let (Some(hold), Some(subject)) = (Hold::of(event), group.subject.clone()) {
            group.hold = Some(hold);
            // Another ban takes the place of the one before, whoever made it.
            for group in self.of(&subject).filter(|group| group.hold.is_some()) {
                group.hold = Some(hold);
            }
        }
    }

    fn of<'a>(&'a mut self, subject: &'a Subject) -> impl Iterator<Item = &'a mut Group> {
        self.state.open.values_mut().filter(move |group| group.subject.as_ref() == Some(subject))
    }

    fn end(&mut self, event: &Event, now: Millis) {
        match (event.kind, &event.subject) {
            (EventType::StoreRecovered, _) => {
                if let Some(group) = self.state.open.get_mut(&dedup_key("store_degraded", None)) {
                    group.end(End::Recovered, now);
                }
            }
            (EventType::FeedbackGiven, _) => self.judge(event, now),
            (EventType::SubjectForgotten, Some(subject)) => {
                self.of(subject).for_each(|group| group.end(End::Forgotten, now));
            }
            (EventType::BanExpired, Some(subject)) => {
                let banned = |group: &&mut Group| group.hold.is_some_and(|hold| hold.ban);
                self.of(subject).filter(banned).for_each(|group| group.end(End::Expired, now));
            }
            (EventType::BanLifted, Some(subject)) => {
                let benign = event.evidence["verdict"] == "benign";
                let end = if benign { End::Benign } else { End::Lifted };
                self.of(subject).filter(|group| group.hold.is_some()).for_each(|group| group.end(end, now));
            }
            _ => {}
        }
    }

    /// An analyst's word about an event. A ban that it lifts has an event of its own.
    fn judge(&mut self, event: &Event, now: Millis) {
        let Some((benign, judged)) = judged(&event.evidence) else { return };
        let key = dedup_key(&rule(&judged), judged.subject.as_ref());
        match self.state.open.get_mut(&key) {
            Some(group) if !benign => group.acknowledge(now),
            Some(group) if group.hold.is_none() => group.end(End::Benign, now),
            _ => {}
        }
    }

    /// The next message: the same until [`Groups::done`]. Empty: nothing is due, or the bucket is empty. Several notices
    /// only where the channel takes several at once.
    pub fn next(&mut self, now: Millis) -> Vec<Notice> {
        let Self { grouping, nature, state } = self;
        state.bucket.refill(grouping.max_per_minute, now);
        state.open.retain(|_, group| group.settle(now, grouping, nature));
        let mut due: Vec<(&String, &mut Group, Told, Millis)> = Vec::new();
        for (key, group) in &mut state.open {
            if let Some((told, at)) = group.due(now, grouping) {
                due.push((key, group, told, at));
            }
        }
        if !state.bucket.has_one(grouping.burst) {
            due.iter_mut().for_each(|(_, group, ..)| group.held_back = true);
            return Vec::new();
        }
        due.sort_by(|(a, x, _, since), (b, y, _, then)| (y.severity, since, a).cmp(&(x.severity, then, b)));
        let alone = |told: Told| nature.closes && matches!(told, Told::Resolved | Told::Acknowledged);
        let is_held = |group: &Group, told: Told| group.held_back && !alone(told);
        let held = due.iter().filter(|(_, group, told, _)| is_held(group, *told)).count();
        if nature.at_once == 1 && held > 1 {
            due.retain(|(_, group, told, _)| is_held(group, *told));
            return vec![held_back(&due)];
        }
        due.truncate(nature.at_once);
        due.iter().map(|(key, group, told, _)| group.notice(key, *told)).collect()
    }

    /// A message was told, or given up.
    pub fn done(&mut self, notices: &[Notice], now: Millis) {
        self.state.bucket.take_one();
        for notice in notices {
            if notice.told == Told::HeldBack {
                for part in &notice.parts {
                    // On channels that must close it, what is over is told on its own.
                    let told =
                        if part.end.is_some() && !self.nature.closes { Told::Resolved } else { Told::Update };
                    self.was_told(&part.dedup_key, told, part.events, now);
                }
                if self.nature.closes {
                    let group = self.state.open.entry(notice.dedup_key.clone());
                    group.or_insert_with(|| Group::of_held_back(notice, now)).goes_on(notice, now);
                }
            } else {
                self.was_told(&notice.dedup_key, notice.told, notice.events, now);
            }
        }
    }

    fn was_told(&mut self, key: &str, told: Told, events: u64, now: Millis) {
        if self.state.open.get_mut(key).is_some_and(|group| group.was_told(told, events, now)) {
            self.state.open.remove(key);
        }
    }

    /// What was told of and goes on, for channels that want to hear it again and again.
    pub fn active(&self) -> Vec<Notice> {
        let active = self.state.open.iter().filter(|(_, group)| group.is_active());
        active.map(|(key, group)| Notice { events: 0, ..group.notice(key, Told::Firing) }).collect()
    }
}

/// One notice for all that had to wait.
fn held_back(due: &[(&String, &mut Group, Told, Millis)]) -> Notice {
    let parts: Vec<_> = due.iter().map(|(key, group, ..)| group.part(key)).collect();
    let spans = due.iter().map(|(_, group, ..)| group.span());
    let (first, last) = spans.fold((Millis::MAX, Millis::MIN), |(a, b), (c, d)| (a.min(c), b.max(d)));
    let events = parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.events));
    let severity = parts.iter().map(|part| part.severity).max();
    Notice {
        told: Told::HeldBack,
        dedup_key: dedup_key(HELD_BACK, None),
        rule: HELD_BACK.to_owned(),
        title: "Notices held back",
        subject: None,
        severity: severity.unwrap_or(crate::domain::finding::Severity::Low),
        told_severity: None,
        events,
        total: events,
        first,
        last,
        hold: None,
        end: None,
        samples: Vec::new(),
        parts,
    }
}
