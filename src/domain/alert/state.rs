//! Where alerts stand: a rule is pending until it is true of somebody, then it fires, and it is cleared when it has not
//! been true for a while.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::Fired;
use crate::domain::{DAY, MINUTE, Millis};

/// An alert is cleared when it has not been true for so long: longer than instances claim that they report it, so that
/// nobody reports one episode twice.
pub const CLEARED_AFTER: Millis = 2 * MINUTE + 5_000;
/// What has been cleared is shown for so long.
const SHOWN: Millis = DAY;

/// Whom an alert is about: a project, key or model; everything has no name.
pub type AlertName = Option<Arc<str>>;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It is watched, and has fired at nobody within a day.
    Pending,
    /// It is true, or was within the last two minutes.
    Firing,
    /// It was true, and is no more.
    Cleared,
}

/// An alert that fires, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Firing, or cleared once it no longer holds; rules that never fired have none.
    pub state: AlertState,
    /// When it came to be so.
    pub since: Millis,
    /// The last sum at which it was true, as text.
    pub observed: String,
    /// What that was held against.
    pub threshold: String,
    /// Until when it is known to be true.
    pub holds_until: Millis,
}

/// What became of a rule that is true of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firing {
    /// It was not true before.
    Begins,
    /// It was true already.
    GoesOn,
    /// It is true of more than are told apart.
    Crowd,
}

/// The alerts of every rule, by the hash of the rule.
#[derive(Debug, Default)]
pub struct AlertBook {
    alerts: HashMap<u64, BTreeMap<AlertName, Alert>>,
}

impl AlertBook {
    /// Notes that a rule is true of somebody until a moment. Of each rule at most `most` alerts that fire stand apart,
    /// and as many that are cleared are shown.
    pub fn fires(
        &mut self,
        rule: u64,
        name: &AlertName,
        (fired, holds_until): (&Fired, Millis),
        (most, now): (usize, Millis),
    ) -> Firing {
        let alerts = self.alerts.entry(rule).or_default();
        let Fired { observed, threshold, .. } = fired.clone();
        let mut alert = Alert { state: AlertState::Firing, since: now, observed, threshold, holds_until };
        let firing_now = match alerts.get(name) {
            Some(held) if held.state == AlertState::Firing => {
                alert.since = held.since;
                alert.holds_until = holds_until.max(held.holds_until);
                Firing::GoesOn
            }
            _ if firing(alerts) >= most => return Firing::Crowd,
            _ => Firing::Begins,
        };
        alerts.insert(name.clone(), alert);
        if alerts.len() > 2 * most {
            forget_oldest_cleared(alerts);
        }
        firing_now
    }

    /// Takes over an alert that the log tells of, where nothing newer is known.
    pub fn recall(&mut self, rule: u64, name: AlertName, alert: Alert) {
        self.alerts.entry(rule).or_default().entry(name).or_insert(alert);
    }

    /// Takes back that a rule began to fire: it could not be reported.
    pub fn withdraw(&mut self, rule: u64, name: &AlertName) {
        if let Some(alerts) = self.alerts.get_mut(&rule) {
            alerts.remove(name);
        }
    }

    /// The alerts of a rule that fire and have not been true for a while.
    pub fn due(&self, rule: u64, now: Millis) -> Vec<(AlertName, Alert)> {
        let is_due =
            |alert: &Alert| alert.state == AlertState::Firing && now >= alert.holds_until + CLEARED_AFTER;
        let due = self.of(rule).filter(|(_, alert)| is_due(alert));
        due.map(|(name, alert)| (name.clone(), alert.clone())).collect()
    }

    /// Notes that an alert is cleared.
    pub fn clear(&mut self, rule: u64, name: &AlertName, now: Millis) {
        if let Some(alert) = self.alerts.get_mut(&rule).and_then(|alerts| alerts.get_mut(name)) {
            (alert.state, alert.since) = (AlertState::Cleared, now);
        }
    }

    /// Forgets what was cleared a day ago.
    pub fn forget(&mut self, now: Millis) {
        let is_shown = |alert: &Alert| alert.state == AlertState::Firing || now - alert.since < SHOWN;
        for alerts in self.alerts.values_mut() {
            alerts.retain(|_, alert| is_shown(alert));
        }
    }

    /// How many alerts of a rule fire.
    pub fn firing(&self, rule: u64) -> usize {
        self.alerts.get(&rule).map_or(0, firing)
    }

    /// The alerts of a rule, by name.
    pub fn of(&self, rule: u64) -> impl Iterator<Item = (&AlertName, &Alert)> {
        self.alerts.get(&rule).into_iter().flatten()
    }
}

fn firing(alerts: &BTreeMap<AlertName, Alert>) -> usize {
    alerts.values().filter(|alert| alert.state == AlertState::Firing).count()
}

fn forget_oldest_cleared(alerts: &mut BTreeMap<AlertName, Alert>) {
    let cleared = alerts.iter().filter(|(_, alert)| alert.state == AlertState::Cleared);
    if let Some(oldest) = cleared.min_by_key(|(_, alert)| alert.since).map(|(name, _)| name.clone()) {
        alerts.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(observed: &str) -> Fired {
        Fired { observed: observed.to_owned(), threshold: "5".to_owned(), baseline: None }
    }

    #[test]
    fn an_alert_fires_once_is_cleared_after_a_while_and_fires_again() {
        let (mut book, name) = (AlertBook::default(), Some("a".into()));
        let fires = |book: &mut AlertBook, observed: &str, now| {
            book.fires(1, &name, (&fired(observed), now), (2, now))
        };
        assert_eq!(fires(&mut book, "6", 0), Firing::Begins);
        assert_eq!(fires(&mut book, "7", MINUTE), Firing::GoesOn);
        let (_, alert) = book.of(1).next().unwrap();
        assert_eq!((alert.since, &*alert.observed), (0, "7"));
        assert_eq!(book.due(1, MINUTE + CLEARED_AFTER - 1), []);
        let now = MINUTE + CLEARED_AFTER;
        assert_eq!(book.due(1, now).len(), 1);
        book.clear(1, &name, now);
        assert_eq!((book.due(1, now), book.of(1).next().unwrap().1.since), (Vec::new(), now));
        book.forget(now + SHOWN - 1);
        assert_eq!(book.of(1).count(), 1);
        assert_eq!(fires(&mut book, "8", now + MINUTE), Firing::Begins);
        book.forget(now + 9 * SHOWN);
        assert_eq!(book.of(1).count(), 1, "what fires is shown");
    }

    #[test]
    fn what_the_log_tells_never_replaces_what_is_known_and_a_crowd_is_not_told_apart() {
        let mut book = AlertBook::default();
        let at = |now| (2, now);
        for name in ["a", "b"] {
            assert_eq!(book.fires(1, &Some(name.into()), (&fired("6"), 5), at(5)), Firing::Begins);
        }
        assert_eq!(book.fires(1, &Some("c".into()), (&fired("6"), 5), at(5)), Firing::Crowd);
        assert_eq!(book.fires(2, &None, (&fired("6"), 5), at(5)), Firing::Begins, "another rule");
        let (_, old) = book.of(1).next().map(|(name, alert)| (name.clone(), alert.clone())).unwrap();
        let cleared = Alert { state: AlertState::Cleared, ..old };
        book.recall(1, Some("a".into()), cleared);
        assert!(book.of(1).all(|(_, alert)| alert.state == AlertState::Firing));
        book.withdraw(1, &Some("a".into()));
        assert_eq!(book.fires(1, &Some("a".into()), (&fired("6"), 9), at(9)), Firing::Begins);
    }

    #[test]
    fn what_is_cleared_takes_no_room_from_what_fires() {
        let (mut book, most) = (AlertBook::default(), 2);
        for n in 0..10 {
            let name: AlertName = Some(format!("k{n}").into());
            assert_eq!(book.fires(1, &name, (&fired("6"), n), (most, n)), Firing::Begins, "{n}");
            book.clear(1, &name, n);
        }
        assert_eq!((book.firing(1), book.of(1).count()), (0, 2 * most), "the oldest are forgotten");
        assert!(book.of(1).all(|(_, alert)| alert.since >= 6));
    }
}
