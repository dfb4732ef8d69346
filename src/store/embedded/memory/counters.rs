//! Subjects in memory: a sharded map of windows, peers and standings. Nothing in here waits or touches a disk.
//!
//! The embedded store counts with it, `replay` does, and so does the in-process limiter that takes over while
//! Redis does not answer. Durability is not its business: see the writer for that.

use std::{
    collections::{HashMap, VecDeque},
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

/// Subjects that are looked at to make room for one.
const LOOKS: usize = 32;
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
    /// Subjects in the order in which they leave where there is no room: those of whom no request succeeded, and
    /// others.
    unproven: VecDeque<Subject>,
    proven: VecDeque<Subject>,
}

impl Shard {
    /// Makes room for one subject, if any may leave: first one of whom no request succeeded, then one that was not used
    /// since it was looked at last. Never one with a standing: a ban must hold.
    fn make_room(&mut self) -> bool {
        for _ in 0..LOOKS.min(self.unproven.len()) {
            let Some(subject) = self.unproven.pop_front() else { break };
            match self.subjects.get(&subject) {
                None => {}
                Some(state) if state.standing.version > 0 || state.has_succeeded() => {
                    self.proven.push_back(subject)
                }
                Some(_) => return self.subjects.remove(&subject).is_some(),
            }
        }
        for _ in 0..LOOKS.min(self.proven.len()) {
            let Some(subject) = self.proven.pop_front() else { break };
            let Some(state) = self.subjects.get_mut(&subject) else { continue };
            if state.standing.version == 0 && !std::mem::take(&mut state.used) {
                return self.subjects.remove(&subject).is_some();
            }
            self.proven.push_back(subject);
        }
        false
    }

    /// Takes a subject in, behind those that are there.
    fn add(&mut self, subject: Subject, state: Box<SubjectState>) {
        if self.unproven.len() + self.proven.len() > 2 * self.subjects.len() + LOOKS {
            // Most have left by themselves.
            self.proven.clear();
            self.unproven = self.subjects.keys().cloned().collect();
        }
        self.unproven.push_back(subject.clone());
        self.subjects.insert(subject, state);
    }
}

/// Windows, peers and standings of every known subject. All operations on one subject are atomic.
pub struct Counters {
    shards: Vec<Mutex<Shard>>,
    len: AtomicUsize,
    max_subjects: usize,
    track_changes: bool,
}

impl Counters {
    /// Room for `max_subjects` subjects. When it is full, a charge of an unknown one makes room: first those of whom no
    /// request ever succeeded leave, then those that are not used, and none with a standing, because a ban must hold.
    /// Where none may leave, the unknown one is not taken on.
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
        if charge.mode == ChargeMode::Peek || !charge.may_create {
            return Observation { tracked: false, ..state.observe(charge, ChargeMode::Peek) };
        }
        let observation = state.observe(charge, charge.mode);
        if !observation.admitted && charge.mode == ChargeMode::Admit {
            return observation;
        }
        if !self.has_room(shard) {
            let nothing = SubjectState::default().observe(charge, ChargeMode::Peek);
            return Observation { tracked: false, ..nothing };
        }
        self.insert(shard, &charge.subject, state);
        Observation { created: true, ..observation }
    }

    /// Whether there is room for one more subject of a shard, if need be in the place of another.
    fn has_room(&self, shard: &mut Shard) -> bool {
        if self.len.load(Ordering::Relaxed) < self.max_subjects {
            return true;
        }
        let made = shard.make_room();
        self.len.fetch_sub(usize::from(made), Ordering::Relaxed);
        made
    }

    fn insert(&self, shard: &mut Shard, subject: &Subject, mut state: SubjectState) {
        self.len.fetch_add(1, Ordering::Relaxed);
        if self.track_changes {
            state.dirty = true;
            shard.dirty.push(subject.clone());
        }
        shard.add(subject.clone(), Box::new(state));
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

    /// Puts back what a snapshot kept, where there is room or one that was put back before makes some; used before the
    /// first charge.
    pub(in crate::store::embedded) fn restore(&self, subject: Subject, saved: SavedState) {
        let state = SubjectState::restored(saved);
        let mut shard = self.shard(&subject);
        shard.latest = shard.latest.max(state.last_now());
        if !self.has_room(&mut shard) {
            return;
        }
        shard.add(subject, Box::new(state));
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
    fn a_full_store_takes_on_nobody_where_nobody_may_leave() {
        let counters = Counters::new(64);
        let ban = Standing { version: 1, state: StandingState::PermanentlyBanned, ..Standing::default() };
        for id in 0..64 {
            counters.apply(&charge(id, START).subject, Some(ban), &[]);
        }
        let other = counters.observe(&charge(100, START));
        assert!(other.admitted && !other.tracked && !other.created);
        assert!((0..64).all(|id| counters.standing(&charge(id, START).subject) == ban));
        assert_eq!(counters.len(), 64);
    }

    /// A report that was refused by whom it was made to.
    fn failed(id: usize) -> Charge {
        let counts = Counts { requests: 1, auth_failures: 1, ..Counts::default() };
        Charge { counts, mode: ChargeMode::Report, ..charge(id, START) }
    }

    #[test]
    fn junk_makes_room_before_what_has_succeeded_and_a_new_key_is_seen_in_a_full_store() {
        const ROOM: usize = 4_000;
        let counters = Counters::new(ROOM);
        (0..1_000).for_each(|id| drop(counters.observe(&charge(id, START))));
        (10_000..20_000).for_each(|id| drop(counters.observe(&failed(id))));
        let known = (0..1_000).filter(|id| counters.inspect(&charge(*id, START).subject, START).is_some());
        assert_eq!(known.count(), 1_000, "junk displaces junk");
        assert!(counters.len() <= ROOM);
        let new = counters.observe(&charge(50_000, START));
        assert!(new.created && new.tracked);
        assert_eq!(counters.observe(&charge(50_000, START)).counts[0].requests, 2);
    }

    #[test]
    fn of_those_that_have_succeeded_the_used_ones_stay() {
        const ROOM: usize = 2_000;
        let counters = Counters::new(ROOM);
        for id in 0..10_000 {
            counters.observe(&charge(id, START));
            // A busy key, in between.
            counters.observe(&Charge { mode: ChargeMode::Report, ..charge(0, START) });
        }
        assert_eq!(counters.inspect(&charge(0, START).subject, START).unwrap().counts[3].requests, 10_001);
        assert!(counters.len() <= ROOM);
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
