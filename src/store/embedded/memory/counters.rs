//! Subjects in memory: a sharded map of windows, peers and standings. Nothing in here waits or touches a disk.
//!
//! The embedded store counts with it, `replay` does, and so does the in-process limiter that takes over while
//! Redis does not answer. Durability is not its business: see the writer for that.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::{Mutex, MutexGuard};

use super::subject_state::{SavedState, SubjectState};
use crate::domain::{
    Millis,
    observation::{Charge, ChargeMode, Observation},
    standing::Standing,
    subject::Subject,
};
use crate::store::Refund;

/// Locks over which subjects are spread: enough that threads seldom meet, few enough to walk through.
const SHARDS: u16 = 64;

#[derive(Default)]
struct Shard {
    /// Boxed, so that a growing map moves pointers and not windows.
    subjects: HashMap<Subject, Box<SubjectState>>,
    /// Subjects that changed since the last [`Counters::take_dirty`]; each once.
    dirty: Vec<Subject>,
    /// The latest time this shard was told.
    latest: Millis,
}

/// Windows, peers and standings of every known subject. All operations on one subject are atomic.
pub struct Counters {
    shards: Vec<Mutex<Shard>>,
    len: AtomicUsize,
    max_subjects: usize,
    track_changes: bool,
}

impl Counters {
    /// Room for `max_subjects` subjects. When it is full, unknown subjects are no longer taken on by charges;
    /// standings are, because a ban must hold.
    pub fn new(max_subjects: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, len: AtomicUsize::new(0), max_subjects, track_changes: false }
    }

    /// The same, remembering which subjects changed, for snapshots.
    pub(in crate::store::embedded) fn tracking_changes(max_subjects: usize) -> Self {
        Self { track_changes: true, ..Self::new(max_subjects) }
    }

    fn shard(&self, subject: &Subject) -> MutexGuard<'_, Shard> {
        self.shards[usize::from(subject.partition(SHARDS))].lock()
    }

    /// Charges the windows of one subject, if they all admit it; says what they hold then.
    pub fn observe(&self, charge: &Charge) -> Observation {
        let mut guard = self.shard(&charge.subject);
        let shard = &mut *guard;
        shard.latest = shard.latest.max(charge.now);
        let Some(state) = shard.subjects.get_mut(&charge.subject) else {
            return self.observe_unknown(shard, charge);
        };
        let observation = state.observe(charge, charge.mode);
        let changed = match charge.mode {
            ChargeMode::Report => true,
            ChargeMode::Admit => observation.admitted,
            ChargeMode::Peek => false,
        };
        if self.track_changes && changed && !state.dirty {
            state.dirty = true;
            shard.dirty.push(charge.subject.clone());
        }
        observation
    }

    fn observe_unknown(&self, shard: &mut Shard, charge: &Charge) -> Observation {
        let mut state = SubjectState::default();
        let full = self.len.load(Ordering::Relaxed) >= self.max_subjects;
        if charge.mode == ChargeMode::Peek || !charge.may_create || full {
            return Observation { tracked: false, ..state.observe(charge, ChargeMode::Peek) };
        }
        let observation = state.observe(charge, charge.mode);
        if !observation.admitted && charge.mode == ChargeMode::Admit {
            return observation;
        }
        self.insert(shard, &charge.subject, state);
        Observation { created: true, ..observation }
    }

    fn insert(&self, shard: &mut Shard, subject: &Subject, mut state: SubjectState) {
        self.len.fetch_add(1, Ordering::Relaxed);
        if self.track_changes {
            state.dirty = true;
            shard.dirty.push(subject.clone());
        }
        shard.subjects.insert(subject.clone(), Box::new(state));
    }

    /// Puts a standing in force and takes charges back, in one step. The caller has compared versions.
    pub fn apply(&self, subject: &Subject, standing: Option<Standing>, refunds: &[Refund]) {
        let mut guard = self.shard(subject);
        let shard = &mut *guard;
        let Some(state) = shard.subjects.get_mut(subject) else {
            if let Some(standing) = standing {
                self.insert(shard, subject, SubjectState::with_standing(standing));
            }
            return;
        };
        state.standing = standing.unwrap_or(state.standing);
        for refund in refunds {
            state.refund(refund);
        }
        if self.track_changes && !refunds.is_empty() && !state.dirty {
            state.dirty = true;
            shard.dirty.push(subject.clone());
        }
    }

    /// The standing of a subject; version 0 if nothing was ever held against it.
    pub fn standing(&self, subject: &Subject) -> Standing {
        self.shard(subject).subjects.get(subject).map_or_else(Standing::default, |state| state.standing)
    }

    /// The windows and peers as of `now`, unchanged; `None` for an unknown subject.
    pub fn inspect(&self, subject: &Subject, now: Millis) -> Option<Observation> {
        self.shard(subject).subjects.get(subject).map(|state| state.inspect(now))
    }

    /// Forgets a subject. Says whether it was known.
    pub fn remove(&self, subject: &Subject) -> bool {
        let known = self.shard(subject).subjects.remove(subject).is_some();
        self.len.fetch_sub(usize::from(known), Ordering::Relaxed);
        known
    }

    /// Forgets subjects whose usage has left every window and whose standing no longer matters. Permanent bans
    /// stay. Returns those that had a standing.
    pub fn sweep(&self, now: Millis) -> Vec<Subject> {
        let mut ended = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.subjects.len();
            shard.subjects.retain(|subject, state| {
                let over = state.is_over(now);
                if over && state.standing.version > 0 {
                    ended.push(subject.clone());
                }
                !over
            });
            self.len.fetch_sub(before - shard.subjects.len(), Ordering::Relaxed);
        }
        ended
    }

    /// How many subjects are known.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether no subject is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The latest time any charge named.
    pub fn latest(&self) -> Millis {
        self.shards.iter().map(|shard| shard.lock().latest).max().unwrap_or(0)
    }

    /// The subjects that changed since the last call.
    pub(in crate::store::embedded) fn take_dirty(&self) -> Vec<Subject> {
        self.shards.iter().flat_map(|shard| std::mem::take(&mut shard.lock().dirty)).collect()
    }

    /// The time of the last charge and what a snapshot keeps of a subject that is still known; it counts as
    /// unchanged from here on.
    pub(in crate::store::embedded) fn save(&self, subject: &Subject) -> Option<(Millis, SavedState)> {
        self.shard(subject).subjects.get_mut(subject).map(|state| {
            state.dirty = false;
            (state.last_now(), state.save())
        })
    }

    /// Notes that a snapshot of the subject could not be kept. It may wait twice after this: whether it was
    /// reached before the failure, and has changed again since, makes no difference worth telling apart.
    pub(in crate::store::embedded) fn wait_again(&self, subject: &Subject) {
        let mut guard = self.shard(subject);
        let shard = &mut *guard;
        if let Some(state) = shard.subjects.get_mut(subject) {
            state.dirty = true;
            shard.dirty.push(subject.clone());
        }
    }

    /// Puts back what a snapshot kept; used before the first charge.
    pub(in crate::store::embedded) fn restore(&self, subject: Subject, saved: SavedState) {
        let state = SubjectState::restored(saved);
        let mut shard = self.shard(&subject);
        shard.latest = shard.latest.max(state.last_now());
        shard.subjects.insert(subject, Box::new(state));
        self.len.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        DAY, HOUR,
        standing::StandingState,
        window::{Counts, WindowLimits},
    };

    const START: Millis = 1_760_000_000_000;

    fn charge(id: usize, now: Millis) -> Charge {
        Charge {
            subject: Subject::key(&format!("k1:{id}")),
            now,
            counts: Counts { requests: 1, tokens: 10, ..Counts::default() },
            limits: WindowLimits {
                tokens: [Some(50_000), Some(200_000), None, None],
                ..WindowLimits::default()
            },
            mode: ChargeMode::Admit,
            peer: None,
            peer_capacity: 8,
            may_create: true,
            observing: false,
            counters: Vec::new(),
            entry: None,
        }
    }

    #[test]
    fn a_full_store_keeps_counting_whom_it_knows_and_takes_on_nobody() {
        let counters = Counters::new(2);
        assert!(counters.observe(&charge(1, START)).created);
        assert!(counters.observe(&charge(2, START)).created);
        let third = counters.observe(&charge(3, START));
        assert!(third.admitted && !third.tracked && !third.created);
        assert_eq!(counters.observe(&charge(1, START)).counts[0].requests, 2);
        assert_eq!(counters.len(), 2);
    }

    #[test]
    fn a_ban_holds_even_when_the_store_is_full() {
        let counters = Counters::new(0);
        let ban = Standing { version: 1, state: StandingState::PermanentlyBanned, ..Standing::default() };
        counters.apply(&charge(1, START).subject, Some(ban), &[]);
        assert!(!counters.observe(&charge(1, START)).admitted);
    }

    #[test]
    fn idle_subjects_are_forgotten_and_standings_are_not() {
        let counters = Counters::new(10);
        counters.observe(&charge(1, START));
        counters.observe(&charge(2, START));
        counters.observe(&charge(3, START + 2 * HOUR));
        let ban = Standing { version: 1, until: Some(START), since: START, ..Standing::default() };
        counters.apply(&charge(2, START).subject, Some(ban), &[]);
        assert!(counters.sweep(START + 26 * HOUR).is_empty());
        assert_eq!(counters.len(), 2);
        assert_eq!(counters.sweep(START + 30 * DAY), [charge(2, START).subject]);
        assert!(counters.is_empty());
    }

    #[test]
    fn each_changed_subject_is_snapshotted_once() {
        let counters = Counters::tracking_changes(10);
        for step in 0..5 {
            counters.observe(&charge(1, START + step));
        }
        assert_eq!(counters.take_dirty(), [charge(1, START).subject]);
        assert!(counters.save(&charge(1, START).subject).is_some());
        assert!(counters.take_dirty().is_empty());
        counters.observe(&charge(1, START + 9));
        assert_eq!(counters.take_dirty().len(), 1);
    }

    #[test]
    fn many_threads_never_over_admit() {
        let counters = Counters::new(10);
        let admitted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..3_000 {
                        let taken = counters.observe(&charge(1, START)).admitted;
                        admitted.fetch_add(usize::from(taken), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 5_000);
    }
}
