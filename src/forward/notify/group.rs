//! One group: the events of one rule about one subject, from the first until it is over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    Nature,
    notice::{Notice, Part, Sample, Told},
    rule::{End, Hold, SPEND},
    settings::Grouping,
};
use crate::{
    domain::{
        DAY, Millis,
        event::{Event, EventType},
        finding::{AnomalyKind, Severity},
        subject::Subject,
    },
    forward::format::wording,
};

/// A ban or throttle of which nobody told that it ended is taken as over so long after its time.
const LATE: Millis = 60_000;
/// A group about a ban without an end is forgotten after so long without an event.
const LONGEST: Millis = 30 * DAY;
/// The rule of what has no group of its own because too many are open.
pub const OTHERS: &str = "others";
/// The rule of what was held back, on channels where it has to be closed again.
pub const HELD_BACK: &str = "held_back";

/// The events of one rule about one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    rule: String,
    pub subject: Option<Subject>,
    /// The worst event so far.
    kind: EventType,
    pub severity: Severity,
    told_severity: Option<Severity>,
    kinds: BTreeSet<EventType>,
    /// Of the event that opened it, which stands for the group: threads and alerts begin there.
    first: Millis,
    last: Millis,
    /// When its first and last event came here, which may be long after they were.
    opened: Millis,
    seen: Millis,
    told: Option<Millis>,
    total: u64,
    untold: u64,
    /// Something of a type that was not told of yet.
    news: bool,
    pub hold: Option<Hold>,
    end: Option<(End, Millis)>,
    /// When somebody said that it is an attack, until that is told.
    acknowledged: Option<Millis>,
    /// Its notice was due when the channel's bucket was empty.
    pub held_back: bool,
    samples: Vec<Sample>,
}

impl Group {
    /// One that has nothing in it yet.
    pub fn new(rule: String, subject: Option<Subject>, event: &Event, now: Millis) -> Self {
        Self {
            rule,
            subject,
            kind: event.kind,
            severity: event.severity,
            told_severity: None,
            kinds: BTreeSet::new(),
            first: event.time,
            last: event.time,
            opened: now,
            seen: now,
            told: None,
            total: 0,
            untold: 0,
            news: false,
            hold: None,
            end: None,
            acknowledged: None,
            held_back: false,
            samples: Vec::new(),
        }
    }

    /// The one that stands for what was held back; told already.
    pub fn of_held_back(notice: &Notice, now: Millis) -> Self {
        let event = Event::new(notice.first, EventType::HighSeverityAnomaly, notice.severity, None);
        Self { told: Some(now), ..Self::new(HELD_BACK.to_owned(), None, &event, now) }
    }

    /// It goes on without an event of its own.
    pub fn goes_on(&mut self, notice: &Notice, now: Millis) {
        self.seen = now;
        self.end = None;
        self.last = self.last.max(notice.last);
        self.severity = self.severity.max(notice.severity);
        self.told_severity = Some(self.severity);
        self.total = self.total.saturating_add(notice.events);
    }

    /// Takes an event in. A group that was about to be told as over goes on.
    pub fn take(&mut self, event: &Event, now: Millis, most_samples: usize) {
        if self.end.take().is_some() {
            self.hold = None;
        }
        if event.severity > self.severity {
            (self.severity, self.kind) = (event.severity, event.kind);
        }
        self.news |= self.kinds.insert(event.kind);
        self.last = self.last.max(event.time);
        self.seen = now;
        if self.untold == 0 {
            self.samples.clear();
        }
        let count = event.count.max(1);
        self.total = self.total.saturating_add(count);
        self.untold = self.untold.saturating_add(count);
        if self.samples.len() >= most_samples {
            // The first one tells how it began, the last one how it stands; a lesser one tells neither.
            if self.samples.last().is_none_or(|last| event.severity < last.severity) {
                return;
            }
            self.samples.pop();
        }
        self.samples.push(Sample::of(event));
    }

    /// It is over.
    pub fn end(&mut self, end: End, now: Millis) {
        self.end.get_or_insert((end, now));
    }

    /// Somebody has said that it is an attack.
    pub fn acknowledge(&mut self, now: Millis) {
        self.acknowledged.get_or_insert(now);
    }

    /// Ends it when its time has come; says whether there is anything left to do with it.
    pub fn settle(&mut self, now: Millis, grouping: &Grouping, nature: &Nature) -> bool {
        if self.end.is_none()
            && let Some(end) = self.ran_out(now, grouping)
        {
            self.end = Some((end, now));
        }
        if !nature.acknowledges {
            self.acknowledged = None;
        }
        let stale = self.untold == 0 && now >= self.seen + LONGEST;
        let over = self.end.is_some_and(|(end, _)| !self.is_told_as_over(end, nature));
        self.told.is_none() || !stale && !over
    }

    fn ran_out(&self, now: Millis, grouping: &Grouping) -> Option<End> {
        match self.hold {
            Some(Hold { until: Some(until), .. }) => {
                (now >= until.saturating_add(LATE)).then_some(End::Expired)
            }
            Some(Hold { until: None, .. }) => None,
            None => (now >= self.seen + grouping.resolve_after()).then_some(End::Quiet),
        }
    }

    /// That nothing more came is no news to people, but to machines that keep it open.
    fn is_told_as_over(&self, end: End, nature: &Nature) -> bool {
        nature.closes || self.untold > 0 || end != End::Quiet
    }

    /// What is to be told of it by now, and since when.
    pub fn due(&self, now: Millis, grouping: &Grouping) -> Option<(Told, Millis)> {
        let (told, at) = match (self.told, self.end, self.acknowledged) {
            (None, end, _) => {
                let at = self.opened + grouping.wait();
                (Told::Firing, end.map_or(at, |(_, ended)| at.min(ended)))
            }
            (Some(_), Some((_, ended)), _) => (Told::Resolved, ended),
            (Some(_), None, Some(since)) => (Told::Acknowledged, since),
            (Some(_), None, None) if self.untold == 0 => return None,
            (Some(told), None, None) if self.told_severity < Some(self.severity) => {
                (Told::Update, told + grouping.wait())
            }
            (Some(told), None, None) if self.news => (Told::Update, told + grouping.interval()),
            (Some(told), None, None) => (Told::Update, told + grouping.repeat()),
        };
        (now >= at).then_some((told, at))
    }

    /// Whether it was told of and goes on.
    pub fn is_active(&self) -> bool {
        self.told.is_some() && self.end.is_none()
    }

    /// Notes that so many of its events were told; says whether that was the last word.
    pub fn was_told(&mut self, told: Told, events: u64, now: Millis) -> bool {
        self.held_back = false;
        if told == Told::Acknowledged {
            self.acknowledged = None;
            return false;
        }
        self.untold = self.untold.saturating_sub(events);
        self.told = Some(now);
        self.told_severity = Some(self.severity);
        self.news = false;
        self.samples.drain(..self.samples.len().saturating_sub(1));
        told == Told::Resolved && self.end.is_some()
    }

    /// What a notice says of it.
    pub fn notice(&self, dedup_key: &str, told: Told) -> Notice {
        Notice {
            told,
            dedup_key: dedup_key.to_owned(),
            rule: self.rule.clone(),
            title: self.title(),
            subject: self.subject.clone(),
            severity: self.severity,
            told_severity: self.told_severity,
            events: if told == Told::Acknowledged { 0 } else { self.untold },
            total: self.total,
            first: self.first,
            last: self.last,
            hold: self.hold,
            end: self.end.map(|(end, _)| end).filter(|_| told == Told::Resolved),
            samples: self.samples.clone(),
            parts: Vec::new(),
        }
    }

    /// The same for one that was held back.
    pub fn part(&self, dedup_key: &str) -> Part {
        Part {
            dedup_key: dedup_key.to_owned(),
            title: self.title(),
            subject: self.subject.clone(),
            severity: self.severity,
            events: self.untold,
            end: self.end.map(|(end, _)| end),
        }
    }

    /// From when to when its events were.
    pub fn span(&self) -> (Millis, Millis) {
        (self.first, self.last)
    }

    fn title(&self) -> &'static str {
        match self.rule.as_str() {
            OTHERS => "Many more subjects",
            HELD_BACK => "Notices held back",
            SPEND if self.hold.is_some() => wording::title(EventType::KeyCutOff),
            rule => match AnomalyKind::of_detector(rule) {
                Some(kind) => wording::anomaly_title(kind),
                None => wording::title(self.kind),
            },
        }
    }
}
