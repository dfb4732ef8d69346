//! Which alarms about a subject were already reported, so that each is reported once.
//!
//! A request with a high finding teaches nothing. So what is unusual and simply goes on (a new prompt, twice the load)
//! would be found for ever. The profile therefore remembers when an alarm was first raised. An hour later it counts as
//! reported: from then on the same is a medium finding, and the profile learns from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{DAY, HOUR, Millis, finding::AnomalyKind, stable_hash};

/// An alarm counts as reported this long after it was first raised: people have had time to read it.
pub(super) const REPORTED_AFTER: Millis = HOUR;
/// Days for which an alarm is remembered.
const DAYS: u32 = 7;
/// Alarms that are remembered of one subject; beyond that the oldest leave.
const ALARMS: usize = 48;

/// What an alarm is about: the same thing going on is the same alarm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct About {
    /// Tells things apart that one detector finds, for example two unknown clients; 0 when there is only one.
    pub what: u32,
    /// How far off the observed value was, in the detector's own unit. A later alarm of a much higher level is raised
    /// anew.
    pub level: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Alarm {
    first_at: Millis,
    level: f32,
}

/// Alarms of the last days, by what they are about and day. Bounded; the oldest leave.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Alarms(BTreeMap<(u32, u32), Alarm>);

fn key(kind: AnomalyKind, what: u32) -> u32 {
    let kind = stable_hash(kind.name().as_bytes());
    (kind ^ (kind >> 32)) as u32 ^ what
}

impl Alarms {
    /// Notes an alarm that was raised at `at`.
    pub fn raise(&mut self, kind: AnomalyKind, about: About, at: Millis) {
        let alarm = Alarm { first_at: at, level: about.level as f32 };
        self.add((super::history::day_of(at), key(kind, about.what)), alarm);
        self.trim();
    }

    /// Adds the alarms that another instance noted: the earlier moment and the higher level of each count.
    pub fn merge(&mut self, other: &Self) {
        for (key, alarm) in &other.0 {
            self.add(*key, *alarm);
        }
        self.trim();
    }

    fn add(&mut self, key: (u32, u32), alarm: Alarm) {
        let mine = self.0.entry(key).or_insert(alarm);
        mine.first_at = mine.first_at.min(alarm.first_at);
        mine.level = mine.level.max(alarm.level);
    }

    fn trim(&mut self) {
        let Some((&(last, _), _)) = self.0.last_key_value() else { return };
        while let Some(entry) = self.0.first_entry().filter(|entry| entry.key().0 + DAYS < last) {
            entry.remove();
        }
        while self.0.len() > ALARMS {
            self.0.pop_first();
        }
    }

    /// The highest level of such an alarm in the last 7 days that counts as reported; `None` when there was none.
    pub fn reported(&self, kind: AnomalyKind, what: u32, now: Millis) -> Option<f64> {
        let key = key(kind, what);
        let recent = now - Millis::from(DAYS) * DAY;
        let reported = |alarm: &Alarm| alarm.first_at >= recent && now - alarm.first_at >= REPORTED_AFTER;
        let levels = self.0.iter().filter(|((_, other), alarm)| *other == key && reported(alarm));
        levels.map(|(_, alarm)| f64::from(alarm.level)).reduce(f64::max)
    }

    /// How many alarms are remembered.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no alarm is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_760_000_000_000;
    const KIND: AnomalyKind = AnomalyKind::RequestSizeAnomaly;

    #[test]
    fn an_alarm_counts_as_reported_after_an_hour_and_forgotten_after_a_week() {
        let mut alarms = Alarms::default();
        alarms.raise(KIND, About { what: 0, level: 2.0 }, NOW);
        alarms.raise(KIND, About { what: 0, level: 1.0 }, NOW + HOUR);
        assert_eq!(alarms.reported(KIND, 0, NOW + HOUR - 1), None);
        assert_eq!(alarms.reported(KIND, 0, NOW + HOUR), Some(2.0));
        assert_eq!(alarms.reported(KIND, 1, NOW + HOUR), None, "about something else");
        assert_eq!(alarms.reported(AnomalyKind::TrafficBurst, 0, NOW + HOUR), None);
        assert_eq!(alarms.reported(KIND, 0, NOW + 9 * DAY), None);
    }

    #[test]
    fn alarms_stay_few() {
        let mut alarms = Alarms::default();
        for what in 0..1_000 {
            alarms.raise(KIND, About { what, level: 1.0 }, NOW + Millis::from(what) * HOUR);
        }
        assert!(alarms.0.len() <= ALARMS);
    }
}
