//! One group: the events of one rule about one subject, from the first until it is over.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    channel::ChannelTraits,
    grouping::Grouping,
    notice::{EventSample, HeldBackGroup, Notice, NoticeKind},
    rule::{EndReason, Restriction, SPEND},
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

/// How long after its time a ban or throttle counts as over if no event said that it ended, in milliseconds.
const EXPIRY_GRACE: Millis = 60_000;
/// How long a group about a ban without an end is kept without an event, in milliseconds.
const MAX_SILENCE: Millis = 30 * DAY;
/// The rule of what has no group of its own because too many are open.
pub(super) const OTHERS: &str = "others";
/// The rule of what was held back, on channels where it has to be closed again.
pub(super) const HELD_BACK: &str = "held_back";

/// The events of one rule about one subject.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct AlertGroup {
    rule: String,
    pub subject: Option<Subject>,
    /// The worst event so far.
    kind: EventType,
    pub severity: Severity,
    /// The severity as the last notice had it.
    #[serde(rename = "told_severity")]
    notified_severity: Option<Severity>,
    kinds: BTreeSet<EventType>,
    /// Of the event that opened it, which stands for the group: threads and alerts begin there.
    first: Millis,
    last: Millis,
    /// When its first and last event came here, which may be long after they were.
    opened: Millis,
    seen: Millis,
    /// When a notice about it was last sent.
    #[serde(rename = "told")]
    last_sent: Option<Millis>,
    total: u64,
    /// Events that no notice has counted yet.
    #[serde(rename = "untold")]
    unsent: u64,
    /// Whether there is an event of a type that no notice has named yet.
    #[serde(rename = "news")]
    has_new_kind: bool,
    #[serde(rename = "hold")]
    pub restriction: Option<Restriction>,
    end: Option<(EndReason, Millis)>,
    /// When somebody said that it is an attack, until that is sent.
    acknowledged: Option<Millis>,
    /// Its notice was due when the channel's bucket was empty.
    pub held_back: bool,
    samples: Vec<EventSample>,
}

impl AlertGroup {
    /// A group that has no event yet; `event` is the one that opens it.
    pub(super) fn new(rule: String, subject: Option<Subject>, event: &Event, now: Millis) -> Self {
        Self {
            rule,
            subject,
            kind: event.kind,
            severity: event.severity,
            notified_severity: None,
            kinds: BTreeSet::new(),
            first: event.time,
            last: event.time,
            opened: now,
            seen: now,
            last_sent: None,
            total: 0,
            unsent: 0,
            has_new_kind: false,
            restriction: None,
            end: None,
            acknowledged: None,
            held_back: false,
            samples: Vec::new(),
        }
    }

    /// The group that stands for what was held back; its notice is sent already.
    pub(super) fn of_held_back(notice: &Notice, now: Millis) -> Self {
        let event = Event::new(notice.first, EventType::HighSeverityAnomaly, notice.severity, None);
        Self { last_sent: Some(now), ..Self::new(HELD_BACK.to_owned(), None, &event, now) }
    }

    /// Takes in another notice about what was held back.
    pub(super) fn goes_on(&mut self, notice: &Notice, now: Millis) {
        self.seen = now;
        self.end = None;
        self.last = self.last.max(notice.last);
        self.severity = self.severity.max(notice.severity);
        self.notified_severity = Some(self.severity);
        self.total = self.total.saturating_add(notice.events);
    }

    /// Takes an event in. A group that was about to be reported as over goes on.
    pub(super) fn take(&mut self, event: &Event, now: Millis, most_samples: usize) {
        if self.end.take().is_some() {
            self.restriction = None;
        }
        if event.severity > self.severity {
            (self.severity, self.kind) = (event.severity, event.kind);
        }
        self.has_new_kind |= self.kinds.insert(event.kind);
        self.last = self.last.max(event.time);
        self.seen = now;
        if self.unsent == 0 {
            self.samples.clear();
        }
        let count = event.count.max(1);
        self.total = self.total.saturating_add(count);
        self.unsent = self.unsent.saturating_add(count);
        if self.samples.len() >= most_samples {
            // The first one tells how it began, the last one how it stands; a lesser one tells neither.
            if self.samples.last().is_none_or(|last| event.severity < last.severity) {
                return;
            }
            self.samples.pop();
        }
        self.samples.push(EventSample::of(event));
    }

    /// Ends the group for this reason; the first reason stays.
    pub(super) fn end(&mut self, end: EndReason, now: Millis) {
        self.end.get_or_insert((end, now));
    }

    /// Somebody has said that it is an attack.
    pub(super) fn acknowledge(&mut self, now: Millis) {
        self.acknowledged.get_or_insert(now);
    }

    /// Ends it when its time has come; says whether there is anything left to do with it.
    pub(super) fn settle(&mut self, now: Millis, grouping: &Grouping, traits: &ChannelTraits) -> bool {
        if self.end.is_none()
            && let Some(end) = self.ran_out(now, grouping)
        {
            self.end = Some((end, now));
        }
        if !traits.acknowledges {
            self.acknowledged = None;
        }
        let stale = self.unsent == 0 && now >= self.seen + MAX_SILENCE;
        let over = self.end.is_some_and(|(end, _)| !self.is_reported_as_over(end, traits));
        self.last_sent.is_none() || !stale && !over
    }

    fn ran_out(&self, now: Millis, grouping: &Grouping) -> Option<EndReason> {
        match self.restriction {
            Some(Restriction { until: Some(until), .. }) => {
                (now >= until.saturating_add(EXPIRY_GRACE)).then_some(EndReason::Expired)
            }
            Some(Restriction { until: None, .. }) => None,
            None => (now >= self.seen + grouping.resolve_after()).then_some(EndReason::Quiet),
        }
    }

    /// That nothing more came is no news to people, but to machines that keep it open.
    fn is_reported_as_over(&self, end: EndReason, traits: &ChannelTraits) -> bool {
        traits.closes || self.unsent > 0 || end != EndReason::Quiet
    }

    /// The notice that is due by now, and since when.
    pub(super) fn due(&self, now: Millis, grouping: &Grouping) -> Option<(NoticeKind, Millis)> {
        let (kind, at) = match (self.last_sent, self.end, self.acknowledged) {
            (None, end, _) => {
                let at = self.opened + grouping.wait();
                (NoticeKind::Firing, end.map_or(at, |(_, ended)| at.min(ended)))
            }
            (Some(_), Some((_, ended)), _) => (NoticeKind::Resolved, ended),
            (Some(_), None, Some(since)) => (NoticeKind::Acknowledged, since),
            (Some(_), None, None) if self.unsent == 0 => return None,
            (Some(sent), None, None) if self.notified_severity < Some(self.severity) => {
                (NoticeKind::Update, sent + grouping.wait())
            }
            (Some(sent), None, None) if self.has_new_kind => (NoticeKind::Update, sent + grouping.interval()),
            (Some(sent), None, None) => (NoticeKind::Update, sent + grouping.repeat()),
        };
        (now >= at).then_some((kind, at))
    }

    /// Whether a notice was sent and the group goes on.
    pub(super) fn is_active(&self) -> bool {
        self.last_sent.is_some() && self.end.is_none()
    }

    /// Notes that a notice was sent which counted so many events; says whether that was the last one.
    pub(super) fn was_sent(&mut self, kind: NoticeKind, events: u64, now: Millis) -> bool {
        self.held_back = false;
        if kind == NoticeKind::Acknowledged {
            self.acknowledged = None;
            return false;
        }
        self.unsent = self.unsent.saturating_sub(events);
        self.last_sent = Some(now);
        self.notified_severity = Some(self.severity);
        self.has_new_kind = false;
        self.samples.drain(..self.samples.len().saturating_sub(1));
        kind == NoticeKind::Resolved && self.end.is_some()
    }

    /// What a notice says of it.
    pub(super) fn notice(&self, dedup_key: &str, kind: NoticeKind) -> Notice {
        Notice {
            kind,
            dedup_key: dedup_key.to_owned(),
            rule: self.rule.clone(),
            title: self.title(),
            subject: self.subject.clone(),
            severity: self.severity,
            notified_severity: self.notified_severity,
            events: if kind == NoticeKind::Acknowledged { 0 } else { self.unsent },
            total: self.total,
            first: self.first,
            last: self.last,
            restriction: self.restriction,
            end: self.end.map(|(end, _)| end).filter(|_| kind == NoticeKind::Resolved),
            samples: self.samples.clone(),
            parts: Vec::new(),
        }
    }

    /// The same for one that was held back.
    pub(super) fn part(&self, dedup_key: &str) -> HeldBackGroup {
        HeldBackGroup {
            dedup_key: dedup_key.to_owned(),
            title: self.title(),
            subject: self.subject.clone(),
            severity: self.severity,
            events: self.unsent,
            end: self.end.map(|(end, _)| end),
        }
    }

    /// From when to when its events were.
    pub(super) fn span(&self) -> (Millis, Millis) {
        (self.first, self.last)
    }

    fn title(&self) -> &'static str {
        match self.rule.as_str() {
            OTHERS => "Many more subjects",
            HELD_BACK => "Notices held back",
            SPEND if self.restriction.is_some() => wording::title(EventType::KeyCutOff),
            rule => match AnomalyKind::of_detector(rule) {
                Some(kind) => wording::anomaly_title(kind),
                None => wording::title(self.kind),
            },
        }
    }
}
