//! What is counted of one subject, and how a charge meets it: the pure rules, no locks and no disk.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::domain::{
    DAY, HOUR, Millis,
    observation::{Charge, ChargeMode, Claim, LimitRefusal, Observation, Peer, PeerSeen, Peers},
    place::PACKED_BYTES,
    standing::{Standing, StandingState},
    window::{Counts, SlidingWindow, Unit, WINDOW_COUNT, WINDOW_MILLIS, WindowLimits},
};
use crate::store::Refund;

/// A subject without a charge for this long has empty windows, whatever the slack.
const IDLE: Millis = 25 * HOUR;
/// A standing is remembered this long after it has ended, for the strikes and bans it counts.
const STANDING_KEPT: Millis = 30 * DAY;

type Windows = [SlidingWindow; WINDOW_COUNT];

/// All that the store holds of a subject while the process runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SubjectState {
    windows: Windows,
    peers: Peers,
    /// The time of the last charge; the subject's time never falls behind it.
    last_now: Millis,
    pub(super) standing: Standing,
    /// Whether it was charged since somebody looked who has to make room.
    pub(super) used: bool,
    /// Whether it waits for the next snapshot.
    pub(super) dirty: bool,
}

/// The part of a [`SubjectState`] that snapshots keep (standings have their own table).
#[derive(Serialize, Deserialize)]
pub(in crate::store::embedded) struct SavedState {
    windows: Windows,
    peers: Vec<(u64, [u8; PACKED_BYTES], Millis, Millis, u64)>,
    last_now: Millis,
}

/// When a standing may be forgotten; `None`: never.
pub(in crate::store::embedded) fn keep_until(standing: &Standing) -> Option<Millis> {
    if standing.state == StandingState::PermanentlyBanned {
        return None;
    }
    let ended = standing.until.unwrap_or(standing.since).max(standing.grace_until).max(standing.strikes_at);
    Some(ended.saturating_add(STANDING_KEPT))
}

impl SubjectState {
    /// A subject that is only known by its standing.
    pub(super) fn with_standing(standing: Standing) -> Self {
        Self { standing, ..Self::default() }
    }

    /// Whether nothing about the subject matters any more at `now`.
    pub(super) fn is_over(&self, now: Millis) -> bool {
        let idle = self.last_now.saturating_add(IDLE) <= now;
        let cleared = self.standing.version == 0 || keep_until(&self.standing).is_some_and(|t| t <= now);
        idle && cleared
    }

    /// Whether a request of it succeeded within the longest window.
    pub(super) fn has_succeeded(&self) -> bool {
        self.windows.last().is_some_and(|longest| {
            let sum = longest.sum();
            sum.requests > sum.auth_failures + sum.not_found
        })
    }

    /// One charge. Only a charge that the windows take changes anything, the subject's time included: a refused
    /// admission leaves no trace. A report is taken whatever limits and bans say, but its peer only where it fits.
    pub(super) fn observe(&mut self, charge: &Charge, mode: ChargeMode) -> Observation {
        let now = charge.now.max(self.last_now);
        let standing = self.standing.counting(charge.observing);
        let banned = standing.is_banned_at(now);
        let limits = charge.limits.at_share(standing.share_at(now));
        if let Some(at) = charge.counted_at().filter(|_| mode == ChargeMode::Report) {
            return self.take_late(charge, &limits, banned, (at, now));
        }
        if mode != ChargeMode::Peek && !banned && self.surely_fits(charge, &limits) {
            advance(&mut self.windows, now);
            return self.take(charge, now, true);
        }
        // The windows as they would be at `now`, on a copy: what follows may be refused.
        let mut windows = self.windows.clone();
        advance(&mut windows, now);
        let exceeded = if banned { Exceeded::new() } else { exceeded(&windows, &limits, &charge.counts) };
        let admitted = !banned && exceeded.is_empty();
        let taken = match mode {
            ChargeMode::Report => true,
            ChargeMode::Admit => admitted,
            ChargeMode::Peek => false,
        };
        if !taken {
            let refusal = longest(&windows, &exceeded, &charge.counts);
            return Observation { admitted, refusal, ..seen(&windows, self, now) };
        }
        self.windows = windows;
        let observation = self.take(charge, now, admitted);
        Observation { admitted, refusal: longest(&self.windows, &exceeded, &charge.counts), ..observation }
    }

    /// A report of what was used at an earlier moment: each window counts it whose span holds that.
    fn take_late(
        &mut self,
        charge: &Charge,
        limits: &WindowLimits,
        banned: bool,
        (at, now): (Millis, Millis),
    ) -> Observation {
        self.last_now = now;
        advance(&mut self.windows, now);
        for (window, length) in self.windows.iter_mut().zip(WINDOW_MILLIS) {
            window.charge_at(length, at, &charge.counts, now);
        }
        let none = Counts::default();
        let exceeded = if banned { Exceeded::new() } else { exceeded(&self.windows, limits, &none) };
        let refusal = longest(&self.windows, &exceeded, &none);
        Observation { admitted: !banned && refusal.is_none(), refusal, ..seen(&self.windows, self, now) }
    }

    /// Whether the charge fits even if nothing has left the windows since the last one: true for nearly every
    /// charge, and then no copy of the windows is needed.
    fn surely_fits(&self, charge: &Charge, limits: &WindowLimits) -> bool {
        limits.set().all(|(window, unit, limit)| {
            self.windows[window].sum().of(unit).saturating_add(charge.counts.of(unit)) <= limit
        })
    }

    fn take(&mut self, charge: &Charge, now: Millis, touches: bool) -> Observation {
        self.used = self.last_now > 0;
        self.last_now = now;
        for window in &mut self.windows {
            window.charge(&charge.counts);
        }
        let observation = seen(&self.windows, self, now);
        if let Some(peer) = charge.peer.filter(|_| touches) {
            self.touch(peer, now, usize::from(charge.peer_capacity.clamp(1, 64)));
        }
        observation
    }

    fn touch(&mut self, peer: Peer, now: Millis, capacity: usize) {
        let known = self.peers.iter().position(|seen| seen.peer.id == peer.id);
        let known = known.map(|index| self.peers.remove(index));
        let (first_seen, hits) = known.map_or((now, 0), |seen| (seen.first_seen, seen.hits));
        self.make_room(capacity - 1);
        self.peers.insert(0, PeerSeen { peer, first_seen, last_seen: now, hits: hits + 1 });
    }

    /// Leaves at most `capacity` peers.
    fn make_room(&mut self, capacity: usize) {
        while self.peers.len() > capacity {
            let leaves = self.peers.iter().rposition(|seen| seen.peer.leaves_first());
            self.peers.remove(leaves.unwrap_or(self.peers.len() - 1));
        }
    }

    /// Takes a charge back, and the sighting of its peer.
    pub(super) fn refund(&mut self, refund: &Refund) {
        for (window, length) in self.windows.iter_mut().zip(WINDOW_MILLIS) {
            window.refund(length, refund.charged_at, &refund.counts);
        }
        let peer = refund.peer.and_then(|id| self.peers.iter().position(|seen| seen.peer.id == id));
        if let Some(index) = peer {
            self.peers[index].hits = self.peers[index].hits.saturating_sub(1);
            if self.peers[index].hits == 0 {
                self.peers.remove(index);
            }
        }
    }

    /// The windows and peers as of `now`, unchanged.
    pub(super) fn inspect(&self, now: Millis) -> Observation {
        let now = now.max(self.last_now);
        let mut windows = self.windows.clone();
        advance(&mut windows, now);
        Observation { admitted: !self.standing.is_banned_at(now), ..seen(&windows, self, now) }
    }

    /// The part that a snapshot keeps: windows, peers and the time of the last charge.
    pub(super) fn save(&self) -> SavedState {
        let flat = |s: &PeerSeen| (s.peer.id, s.peer.data, s.first_seen, s.last_seen, s.hits);
        SavedState {
            windows: self.windows.clone(),
            peers: self.peers.iter().map(flat).collect(),
            last_now: self.last_now,
        }
    }

    /// The state that a snapshot kept; its standing comes from the table.
    pub(super) fn restored(saved: SavedState) -> Self {
        let full = |(id, data, first_seen, last_seen, hits)| {
            let peer = Peer { id, data };
            PeerSeen { peer, first_seen, last_seen, hits }
        };
        Self {
            windows: saved.windows,
            peers: saved.peers.into_iter().map(full).collect(),
            last_now: saved.last_now,
            ..Self::default()
        }
    }

    /// The time of the last charge.
    pub(super) fn last_now(&self) -> Millis {
        self.last_now
    }
}

fn advance(windows: &mut Windows, now: Millis) {
    for (window, length) in windows.iter_mut().zip(WINDOW_MILLIS) {
        window.advance(length, now);
    }
}

fn seen(windows: &Windows, state: &SubjectState, now: Millis) -> Observation {
    let mut counts = [Counts::default(); WINDOW_COUNT];
    let mut resets_at = [now; WINDOW_COUNT];
    for (index, window) in windows.iter().enumerate() {
        counts[index] = window.sum();
        resets_at[index] = window.resets_at(WINDOW_MILLIS[index], now);
    }
    Observation {
        now,
        standing: state.standing,
        admitted: true,
        refusal: None,
        counter_refusal: None,
        counters: Vec::new(),
        counts,
        resets_at,
        peers: state.peers.clone(),
        created: false,
        tracked: true,
        claim: Claim::Fresh,
        settled: None,
        lapsed: false,
        owed: Vec::new(),
        unfinished: false,
    }
}

/// Limits that a charge goes beyond: window, unit and limit.
type Exceeded = SmallVec<[(usize, Unit, u64); 2]>;

fn exceeded(windows: &Windows, limits: &WindowLimits, counts: &Counts) -> Exceeded {
    let goes_beyond = |(window, unit, limit): &(usize, Unit, u64)| {
        windows[*window].sum().of(*unit).saturating_add(counts.of(*unit)) > *limit
    };
    limits.set().filter(goes_beyond).collect()
}

/// Of these limits the one that keeps the charge out longest; the first of equals.
fn longest(windows: &Windows, exceeded: &Exceeded, counts: &Counts) -> Option<LimitRefusal> {
    let wait = |refusal: &LimitRefusal| refusal.retry_at.unwrap_or(Millis::MAX);
    let refusals = exceeded.iter().map(|&(window, unit, limit)| {
        let retry_at = windows[window].admits_at(WINDOW_MILLIS[window], unit, counts.of(unit), limit);
        LimitRefusal { window, unit, limit, retry_at }
    });
    refusals.reduce(|longest, other| if wait(&other) > wait(&longest) { other } else { longest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::Subject;

    const START: Millis = 1_760_000_000_000;

    fn charge(now: Millis, tokens: u64, peer: u64) -> Charge {
        Charge {
            subject: Subject::key("k1:1"),
            now,
            counts: Counts { requests: 1, tokens, ..Counts::default() },
            limits: WindowLimits { tokens: [Some(100), None, None, None], ..WindowLimits::default() },
            mode: ChargeMode::Admit,
            peer: Some(Peer { id: peer, data: [7; PACKED_BYTES] }),
            peer_capacity: 3,
            may_create: true,
            observing: false,
            counters: Vec::new(),
            entry: None,
        }
    }

    #[test]
    fn a_refused_charge_leaves_no_trace() {
        let mut state = SubjectState::default();
        assert!(state.observe(&charge(START, 90, 1), ChargeMode::Admit).admitted);
        let before = state.clone();
        let refused = state.observe(&charge(START + 30_000, 11, 2), ChargeMode::Admit);
        assert!(!refused.admitted);
        assert_eq!(refused.now, START + 30_000);
        assert_eq!(state, before);
    }

    #[test]
    fn a_charge_that_fits_only_after_old_usage_left_is_admitted() {
        let mut state = SubjectState::default();
        state.observe(&charge(START, 90, 1), ChargeMode::Admit);
        let later = state.observe(&charge(START + 70_000, 90, 1), ChargeMode::Admit);
        assert!(later.admitted);
        assert_eq!(later.counts[0].tokens, 90);
    }

    #[test]
    fn the_most_recent_peer_is_first_and_the_oldest_leaves() {
        let mut state = SubjectState::default();
        for (step, peer) in [1, 2, 3, 1, 4].into_iter().enumerate() {
            state.observe(&charge(START + step as i64, 1, peer), ChargeMode::Admit);
        }
        let ids: Vec<_> = state.peers.iter().map(|seen| (seen.peer.id, seen.hits)).collect();
        assert_eq!(ids, [(4, 1), (1, 2), (3, 1)]);
    }

    #[test]
    fn a_snapshot_loses_nothing() {
        let mut state = SubjectState::default();
        for step in 0..50 {
            state.observe(&charge(START + step * 40_000, 1, step as u64 % 4), ChargeMode::Admit);
        }
        let bytes = postcard::to_stdvec(&state.save()).unwrap();
        let restored = SubjectState::restored(postcard::from_bytes(&bytes).unwrap());
        assert_eq!(restored, SubjectState { used: false, ..state }, "nobody has used it since");
    }

    #[test]
    fn a_permanent_ban_is_never_over_and_a_temporary_one_is_after_thirty_days() {
        let mut state = SubjectState { last_now: START, ..SubjectState::default() };
        assert!(state.is_over(START + IDLE));
        state.standing =
            Standing { version: 1, state: StandingState::PermanentlyBanned, ..Standing::default() };
        assert!(!state.is_over(Millis::MAX));
        state.standing.state = StandingState::TemporarilyBanned;
        state.standing.until = Some(START);
        assert!(!state.is_over(START + STANDING_KEPT - 1));
        assert!(state.is_over(START + STANDING_KEPT));
    }
}
