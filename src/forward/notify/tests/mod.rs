//! The groups, by examples and by what must hold whatever happens; and what channels make of hostile events.

mod examples;
mod payloads;
mod properties;

use serde_json::json;

use super::{ChannelTraits, Grouping, Notice, NoticeKind, groups::AlertGroups};
use crate::domain::{
    Millis,
    event::{Event, EventType, format_millis},
    finding::{AnomalyKind, Severity},
    subject::Subject,
};

pub(super) const NOW: Millis = 1_772_442_802_000;
pub(super) const SECOND: Millis = 1_000;
pub(super) const MINUTE: Millis = 60 * SECOND;
pub(super) const HOUR: Millis = 60 * MINUTE;
/// A channel that closes and acknowledges, as PagerDuty does.
pub(super) const CLOSES: ChannelTraits =
    ChannelTraits { closes: true, acknowledges: true, ..ChannelTraits::READ_BY_PEOPLE };

/// Groups with the default settings and their clock.
pub(super) struct Day {
    pub groups: AlertGroups,
    pub now: Millis,
}

impl Day {
    pub(super) fn of(traits: ChannelTraits) -> Self {
        Self::with(Grouping::default(), traits)
    }

    pub(super) fn with(grouping: Grouping, traits: ChannelTraits) -> Self {
        Self { groups: AlertGroups::new(grouping, traits), now: NOW }
    }

    pub(super) fn take(&mut self, mut event: Event) {
        event.time = self.now;
        self.groups.take(&event, self.now);
    }

    /// What is sent when the time comes, each message at once.
    pub(super) fn after(&mut self, time: Millis) -> Vec<Notice> {
        self.now += time;
        let mut sent = Vec::new();
        loop {
            let notices = self.groups.next(self.now);
            if notices.is_empty() {
                return sent;
            }
            self.groups.done(&notices, self.now);
            sent.extend(notices);
        }
    }
}

/// An event of a detector about a key.
pub(super) fn event(kind: EventType, severity: Severity, key: &str) -> Event {
    let mut event = Event::new(NOW, kind, severity, Some(Subject::key(key)));
    event.detector = Some("impossible_travel".to_owned());
    event.key_id = Some(key.to_owned());
    event.evidence = json!({ "summary": "Used in Bucharest 4 minutes after Singapore." }).into();
    event
}

pub(super) fn travel(severity: Severity, key: &str) -> Event {
    event(EventType::Anomaly(AnomalyKind::ImpossibleTravel), severity, key)
}

pub(super) fn ban(key: &str, until: Option<Millis>) -> Event {
    let kind = if until.is_some() { EventType::TemporaryBan } else { EventType::PermanentBan };
    let mut event = event(kind, Severity::High, key);
    event.evidence = json!({ "until": until.map(format_millis) }).into();
    event.action = Some("temporary_ban".to_owned());
    event
}

pub(super) fn kinds(notices: &[Notice]) -> Vec<(NoticeKind, u64)> {
    notices.iter().map(|notice| (notice.kind, notice.events)).collect()
}
