//! What was already said about a subject, so that it is said once.
//!
//! A request with a high finding teaches nothing. If what is unusual simply goes on (a new prompt, twice the load), the
//! same would be found for ever. So the profile remembers when an alarm first sounded: one that people have had
//! time to hear is only remarked upon from then on, and what goes on is learned.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{DAY, HOUR, Millis, finding::AnomalyKind, stable_hash};

/// How long people have to hear an alarm.
pub const HEARD_AFTER: Millis = HOUR;
/// Alarms are remembered for so many days.
const DAYS: u32 = 7;
/// How many alarms are remembered.
const ALARMS: usize = 48;

/// What an alarm is about: the same thing going on is the same alarm.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct About {
    /// Tells things apart that one detector finds, for example two unknown clients; 0 when there is only one.
    pub what: u32,
    /// How loud: a later alarm that is much louder is news.
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
    /// Notes an alarm at `at`.
    pub fn raise(&mut self, kind: AnomalyKind, about: About, at: Millis) {
        let alarm = Alarm { first_at: at, level: about.level as f32 };
        self.add((super::history::day_of(at), key(kind, about.what)), alarm);
        self.trim();
    }

    /// Adds the alarms of another part of the profile.
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

    /// The loudest such alarm of the last days that people have had time to hear; `None` when there was none.
    pub fn heard(&self, kind: AnomalyKind, what: u32, now: Millis) -> Option<f64> {
        let key = key(kind, what);
        let recent = now - Millis::from(DAYS) * DAY;
        let heard = |alarm: &Alarm| alarm.first_at >= recent && now - alarm.first_at >= HEARD_AFTER;
        let levels = self.0.iter().filter(|((_, other), alarm)| *other == key && heard(alarm));
        levels.map(|(_, alarm)| f64::from(alarm.level)).reduce(f64::max)
    }

    /// Whether there is none.
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
    fn an_alarm_is_heard_after_an_hour_and_forgotten_after_a_week() {
        let mut alarms = Alarms::default();
        alarms.raise(KIND, About { what: 0, level: 2.0 }, NOW);
        alarms.raise(KIND, About { what: 0, level: 1.0 }, NOW + HOUR);
        assert_eq!(alarms.heard(KIND, 0, NOW + HOUR - 1), None);
        assert_eq!(alarms.heard(KIND, 0, NOW + HOUR), Some(2.0));
        assert_eq!(alarms.heard(KIND, 1, NOW + HOUR), None, "about something else");
        assert_eq!(alarms.heard(AnomalyKind::TrafficBurst, 0, NOW + HOUR), None);
        assert_eq!(alarms.heard(KIND, 0, NOW + 9 * DAY), None);
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
