//! The way of events to the log: floods are folded, and what cannot be written now waits in a bounded buffer.

use std::collections::{HashMap, VecDeque};

use metrics::Counter;
use parking_lot::Mutex;

use super::events;
use crate::domain::{
    MINUTE, Millis, SECOND,
    event::{Call, Event, EventType},
    finding::Severity,
    subject::Subject,
};

/// Most kinds of events folded at once; beyond it the oldest fold ends early.
const MAX_FOLDS: usize = 20_000;

/// Subject, type, severity, detector, whether it was enforced, by which call the request came, and which mark of a
/// limit.
type FoldKey = (Option<Subject>, EventType, Severity, Option<String>, bool, Option<Call>, Option<u64>);

#[derive(Debug)]
struct Fold {
    ends: Millis,
    folded: u64,
    last: Event,
}

#[derive(Debug, Default)]
struct Inner {
    folds: HashMap<FoldKey, Fold>,
    waiting: VecDeque<Event>,
    dropped: u64,
}

/// Events on their way to the store.
#[derive(Debug)]
pub(super) struct EventOutbox {
    inner: Mutex<Inner>,
    fold: Millis,
    capacity: usize,
    lost: Counter,
}

impl EventOutbox {
    /// Folds equal events within `fold_seconds`; keeps at most `capacity` while the store does not take them. With a
    /// capacity of 0 there is no log.
    pub(super) fn new(fold_seconds: u64, capacity: usize) -> Self {
        let fold = Millis::try_from(fold_seconds).unwrap_or(0).saturating_mul(SECOND);
        Self { inner: Mutex::default(), fold, capacity, lost: metrics::counter!("keyward_events_lost_total") }
    }

    /// How many events wait to be written, without those that are still being folded.
    pub(super) fn waiting(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    /// Whether anybody wants to be told: else no event needs to be made.
    pub(super) fn is_open(&self) -> bool {
        self.capacity > 0
    }

    /// Takes an event, which is only made if it is wanted.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.is_open() {
            self.push(event());
        }
    }

    /// Takes an event. The first of its kind goes out at once; equal ones within the span become one with a count.
    /// Events are equal when subject, type, severity, detector and call are, whether they were enforced, and of which
    /// mark or shadow limit they tell.
    pub(super) fn push(&self, event: Event) {
        if !self.is_open() {
            return;
        }
        let call = event.evidence.call();
        let detector = event.detector.clone();
        let (enforced, mark) = (event.would.is_none(), event.evidence.limit_mark());
        let key = (event.subject.clone(), event.kind, event.severity, detector, enforced, call, mark);
        let mut inner = self.inner.lock();
        if let Some(fold) = inner.folds.get_mut(&key).filter(|fold| self.is_open_at(fold, event.time)) {
            fold.folded += event.count;
            fold.last = event;
            return;
        }
        let ended = inner.folds.remove(&key);
        if let Some(summary) = ended.and_then(summary) {
            self.wait(&mut inner, summary);
        }
        if self.fold > 0 {
            if inner.folds.len() >= MAX_FOLDS {
                let oldest = inner.folds.iter().min_by_key(|(_, fold)| fold.ends).map(|(key, _)| key.clone());
                if let Some(summary) = oldest.and_then(|key| inner.folds.remove(&key)).and_then(summary) {
                    self.wait(&mut inner, summary);
                }
            }
            inner.folds.insert(key, Fold { ends: event.time + self.fold, folded: 0, last: event.clone() });
        }
        self.wait(&mut inner, event);
    }

    /// Whether a fold goes on. One that ends later than any can was begun by a clock that was wrong.
    fn is_open_at(&self, fold: &Fold, now: Millis) -> bool {
        fold.ends > now && fold.ends <= now + self.fold + MINUTE
    }

    /// Takes an event that is told once as it is, and never folded into others.
    pub(super) fn push_apart(&self, event: Event) {
        if self.is_open() {
            self.wait(&mut self.inner.lock(), event);
        }
    }

    fn wait(&self, inner: &mut Inner, event: Event) {
        if inner.waiting.len() >= self.capacity {
            inner.waiting.pop_front();
            self.lose(inner);
        }
        inner.waiting.push_back(event);
    }

    /// An event is gone: told in the log by the next gap, and at once by the metric.
    fn lose(&self, inner: &mut Inner) {
        inner.dropped += 1;
        self.lost.increment(1);
    }

    /// What is to be written now: waiting events, the summaries of folds that ended, and a gap if events were lost.
    pub(super) fn take(&self, now: Millis) -> Vec<Event> {
        let mut inner = self.inner.lock();
        let ended: Vec<FoldKey> = inner
            .folds
            .iter()
            .filter(|(_, fold)| !self.is_open_at(fold, now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ended {
            if let Some(summary) = inner.folds.remove(&key).and_then(summary) {
                self.wait(&mut inner, summary);
            }
        }
        let mut events: Vec<Event> = inner.waiting.drain(..).collect();
        let dropped = std::mem::take(&mut inner.dropped);
        if dropped > 0 {
            events.push(events::gap(dropped, now));
        }
        events
    }

    /// Ends every fold; for shutdown.
    pub(super) fn end_folds(&self) {
        let mut inner = self.inner.lock();
        let folds = std::mem::take(&mut inner.folds);
        for summary in folds.into_values().filter_map(summary) {
            self.wait(&mut inner, summary);
        }
    }

    /// Puts back what could not be written; the oldest are lost first when there is no room.
    pub(super) fn put_back(&self, events: Vec<Event>) {
        let mut inner = self.inner.lock();
        for event in events.into_iter().rev() {
            if inner.waiting.len() >= self.capacity {
                self.lose(&mut inner);
            } else {
                inner.waiting.push_front(event);
            }
        }
    }
}

fn summary(fold: Fold) -> Option<Event> {
    if fold.folded == 0 { None } else { Some(Event { count: fold.folded, ..fold.last }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::EventEvidence;

    fn blocked(time: Millis, key: &str) -> Event {
        Event::new(time, EventType::BannedRequestBlocked, Severity::Low, Some(Subject::key(key)))
    }

    fn counts(events: &[Event]) -> Vec<u64> {
        events.iter().map(|e| e.count).collect()
    }

    #[test]
    fn a_flood_becomes_its_first_event_and_one_with_a_count() {
        let outbox = EventOutbox::new(60, 100);
        for i in 0..1000 {
            outbox.push(blocked(i, "a"));
        }
        outbox.push(blocked(5, "b"));
        assert_eq!(counts(&outbox.take(1_000)), [1, 1]);
        assert!(outbox.take(59_999).is_empty());
        assert_eq!(counts(&outbox.take(60_000)), [999]);
        outbox.push(blocked(60_001, "a"));
        assert_eq!(counts(&outbox.take(60_001)), [1]);
    }

    #[test]
    fn a_fold_that_a_wrong_clock_began_ends_when_the_clock_is_right_again() {
        let outbox = EventOutbox::new(60, 100);
        for _ in 0..3 {
            outbox.push(blocked(7_200_000, "a"));
        }
        assert_eq!(counts(&outbox.take(7_200_000)), [1]);
        assert_eq!(counts(&outbox.take(0)), [2]);
        outbox.push(blocked(1, "a"));
        assert_eq!(counts(&outbox.take(1)), [1]);
    }

    #[test]
    fn what_is_enforced_and_what_is_only_observed_are_folded_apart() {
        let outbox = EventOutbox::new(60, 100);
        let would = Some(crate::domain::decision::Would::go_on(crate::domain::decision::Action::None));
        for i in 0..10 {
            outbox.push(blocked(i, "a"));
            outbox.push(Event { would, ..blocked(i, "a") });
        }
        assert_eq!(counts(&outbox.take(60_010)), [1, 1, 9, 9]);
    }

    #[test]
    fn each_mark_of_each_limit_goes_out_at_once() {
        let outbox = EventOutbox::new(60, 100);
        for (percent, window) in [(81, "day"), (82, "day"), (81, "1hour"), (81, "day")] {
            let part = serde_json::json!({"percent": percent, "window": window});
            let event = Event { kind: EventType::LimitUsed, ..blocked(1, "a") };
            outbox.push(Event { evidence: EventEvidence::truncated(part), ..event });
        }
        assert_eq!(counts(&outbox.take(2)), [1, 1, 1]);
    }

    #[test]
    fn the_buffer_is_bounded_and_a_loss_is_an_event() {
        let outbox = EventOutbox::new(0, 3);
        for i in 0..5 {
            outbox.push(blocked(i, "a"));
        }
        let events = outbox.take(9);
        assert_eq!(events.len(), 4);
        assert_eq!(events[3].kind, EventType::EventGap);
        assert_eq!(events[3].evidence["lost_events"], 2);
        outbox.put_back(events);
        assert_eq!(outbox.take(10).len(), 4);
    }

    #[test]
    fn every_lost_event_is_counted_before_the_log_can_tell_of_it() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let outbox = EventOutbox::new(0, 2);
            for i in 0..3 {
                outbox.push(blocked(i, "a"));
            }
            assert_eq!(outbox.waiting(), 2);
            outbox.put_back(vec![blocked(0, "b")]);
        });
        assert!(recorder.handle().render().contains("keyward_events_lost_total 2\n"));
    }

    #[test]
    fn open_folds_are_logged_at_shutdown() {
        let outbox = EventOutbox::new(60, 10);
        outbox.push(blocked(1, "a"));
        outbox.push(blocked(2, "a"));
        outbox.end_folds();
        assert_eq!(counts(&outbox.take(3)), [1, 1]);
    }
}
