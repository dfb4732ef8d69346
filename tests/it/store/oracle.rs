//! A naive store to compare with: it keeps every charge with its exact time and sums them up when asked.
//!
//! It shares no code with the stores but the arithmetic of buckets (when a charge leaves), and it knows two
//! truths of its own about limits that need no buckets at all: see [`Oracle::judge`].

use std::collections::{BTreeMap, BTreeSet};

use keyward::domain::{
    Millis,
    observation::{Charge, ChargeMode, LimitRefusal, Observation, PeerSeen, Peers},
    standing::Standing,
    subject::Subject,
    window::{Counts, Unit, WINDOW_COUNT, WINDOW_MILLIS, bucket_expires_at, bucket_millis},
};
use keyward::store::{Refund, Respond};

#[derive(Clone, Default)]
struct Known {
    /// Every charge that was taken and not taken back: when, how much.
    charges: Vec<(Millis, Counts)>,
    /// When each bucket of each window that was ever charged leaves. A closed bucket stays until then also when
    /// everything in it was taken back; an open one does not.
    leaving: [BTreeSet<Millis>; WINDOW_COUNT],
    peers: Vec<PeerSeen>,
    standing: Standing,
    last_now: Millis,
}

/// The naive store.
#[derive(Default)]
pub(super) struct Oracle {
    subjects: BTreeMap<Subject, Known>,
}

fn leaves_at(window: usize, at: Millis) -> Millis {
    let length = WINDOW_MILLIS[window];
    bucket_expires_at(length, at.div_euclid(bucket_millis(length)))
}

impl Known {
    fn sum(&self, window: usize, now: Millis) -> Counts {
        let mut sum = Counts::default();
        for (at, counts) in &self.charges {
            if leaves_at(window, *at) > now {
                sum.add(counts);
            }
        }
        sum
    }

    /// What was really charged since `from`, to the millisecond.
    fn since(&self, from: Millis, unit: Unit) -> u64 {
        self.charges.iter().filter(|(at, _)| *at > from).map(|(_, counts)| counts.of(unit)).sum()
    }

    /// When `amount` fits under `limit` if nothing else comes: tries every moment at which something leaves.
    fn fits_at(&self, window: usize, now: Millis, unit: Unit, amount: u64, limit: u64) -> Option<Millis> {
        let mut moments: Vec<_> = self.charges.iter().map(|(at, _)| leaves_at(window, *at)).collect();
        moments.sort_unstable();
        moments.into_iter().filter(|t| *t > now).find(|t| self.sum(window, *t).of(unit) + amount <= limit)
    }

    fn refusal(&self, charge: &Charge, now: Millis) -> Option<LimitRefusal> {
        self.longest(charge, &self.exceeded(charge, now), now)
    }

    /// Every limit that a charge exceeds.
    fn exceeded(&self, charge: &Charge, now: Millis) -> Vec<(usize, Unit, u64)> {
        let share = u128::from(self.standing.counting(charge.observing).share_at(now));
        let mut exceeded = Vec::new();
        for unit in [Unit::Tokens, Unit::Requests] {
            for window in 0..WINDOW_COUNT {
                let Some(limit) = charge.limits.of(window, unit) else { continue };
                let limit = (u128::from(limit) * share / 1000) as u64;
                let amount = charge.counts.of(unit);
                if self.sum(window, now).of(unit) + amount > limit {
                    exceeded.push((window, unit, limit));
                }
            }
        }
        exceeded
    }

    /// Of these limits the one that keeps the same charge out longest from here on.
    fn longest(&self, charge: &Charge, exceeded: &[(usize, Unit, u64)], now: Millis) -> Option<LimitRefusal> {
        let refusal = |&(window, unit, limit): &(usize, Unit, u64)| {
            let retry_at = self.fits_at(window, now, unit, charge.counts.of(unit), limit);
            LimitRefusal { window, unit, limit, retry_at }
        };
        let refusals: Vec<LimitRefusal> = exceeded.iter().map(refusal).collect();
        let longest = refusals.iter().map(|r| r.retry_at.unwrap_or(Millis::MAX)).max();
        refusals.into_iter().find(|r| r.retry_at.is_none() || r.retry_at == longest)
    }

    fn seen(&self, now: Millis) -> Observation {
        let mut counts = [Counts::default(); WINDOW_COUNT];
        let mut resets_at = [now; WINDOW_COUNT];
        for window in 0..WINDOW_COUNT {
            counts[window] = self.sum(window, now);
            resets_at[window] = self.leaving[window].range(now + 1..).next().copied().unwrap_or(now);
        }
        Observation {
            standing: self.standing,
            counts,
            resets_at,
            peers: Peers::from_slice(&self.peers),
            tracked: true,
            ..Observation::empty(now)
        }
    }

    fn take(&mut self, charge: &Charge, now: Millis) {
        self.last_now = now;
        self.charges.push((now, charge.counts));
        if !charge.counts.is_zero() {
            for (window, leaving) in self.leaving.iter_mut().enumerate() {
                leaving.insert(leaves_at(window, now));
            }
        }
        let Some(peer) = charge.peer else { return };
        let before = self.peers.iter().find(|seen| seen.peer.id == peer.id).copied();
        self.peers.retain(|seen| seen.peer.id != peer.id);
        let (first_seen, hits) = before.map_or((now, 0), |seen| (seen.first_seen, seen.hits));
        self.peers.insert(0, PeerSeen { peer, first_seen, last_seen: now, hits: hits + 1 });
        self.peers.truncate(charge.peer_capacity.into());
    }

    fn take_back(&mut self, refund: &Refund) {
        let charge = self.charges.iter().position(|c| *c == (refund.charged_at, refund.counts));
        if let Some(index) = charge {
            self.charges.remove(index);
        }
        for window in 0..WINDOW_COUNT {
            let bucket = leaves_at(window, refund.charged_at);
            let left = self.charges.iter().any(|(at, c)| leaves_at(window, *at) == bucket && !c.is_zero());
            if bucket == leaves_at(window, self.last_now) && !left {
                self.leaving[window].remove(&bucket);
            }
        }
        for seen in self.peers.iter_mut().filter(|seen| Some(seen.peer.id) == refund.peer) {
            seen.hits -= 1;
        }
        self.peers.retain(|seen| seen.hits > 0);
    }
}

impl Oracle {
    /// See [`keyward::store::Store::observe`].
    pub(super) fn observe(&mut self, charge: &Charge) -> Observation {
        let found = self.subjects.get(&charge.subject);
        let unknown = found.is_none();
        let known = found.cloned().unwrap_or_default();
        let untracked = unknown && (charge.mode == ChargeMode::Peek || !charge.may_create);
        let mode = if untracked { ChargeMode::Peek } else { charge.mode };
        let now = charge.now.max(known.last_now);
        let banned = known.standing.counting(charge.observing).is_banned_at(now);
        let mut refusal = if banned { None } else { known.refusal(charge, now) };
        let admitted = !banned && refusal.is_none();
        let charged = mode == ChargeMode::Report || admitted && mode == ChargeMode::Admit;
        let mut after = known.clone();
        if charged {
            // What does not fit leaves its place unseen.
            let peer = charge.peer.filter(|_| admitted);
            after.take(&Charge { peer, ..charge.clone() }, now);
            self.subjects.insert(charge.subject.clone(), after.clone());
        }
        if charged && refusal.is_some() {
            let exceeded = known.exceeded(charge, now);
            refusal = after.longest(charge, &exceeded, now);
        }
        Observation {
            admitted,
            refusal,
            peers: Peers::from_slice(&known.peers),
            created: unknown && charged,
            tracked: !untracked,
            ..after.seen(now)
        }
    }

    /// See [`keyward::store::Store::inspect`].
    pub(super) fn inspect(&self, subject: &Subject, now: Millis) -> Option<Observation> {
        let known = self.subjects.get(subject)?;
        let now = now.max(known.last_now);
        Some(Observation { admitted: !known.standing.is_banned_at(now), ..known.seen(now) })
    }

    /// See [`keyward::store::Store::respond`]; the standing in force when the version is not the next one.
    pub(super) fn respond(&mut self, respond: &Respond) -> Result<(), Standing> {
        if let Some((standing, _)) = &respond.standing {
            let current = self.standing(&respond.subject);
            if standing.version != current.version + 1 {
                return Err(current);
            }
            self.subjects.entry(respond.subject.clone()).or_default().standing = *standing;
        }
        if let Some(known) = self.subjects.get_mut(&respond.subject) {
            respond.refunds.iter().for_each(|refund| known.take_back(refund));
        }
        Ok(())
    }

    /// The standing of a subject.
    pub(super) fn standing(&self, subject: &Subject) -> Standing {
        self.subjects.get(subject).map(|known| known.standing).unwrap_or_default()
    }

    /// Judges a store's answer to a charge by exact usage, without buckets: what was admitted under a limit
    /// never makes the usage of a true span exceed it, and what was refused would have exceeded it within a
    /// span longer by a sixtieth.
    ///
    /// To be called after [`Oracle::observe`] with the same charge.
    pub(super) fn judge(&self, charge: &Charge, answer: &Observation) -> Result<(), String> {
        let empty = Known::default();
        let known = self.subjects.get(&charge.subject).unwrap_or(&empty);
        if answer.admitted && answer.tracked && charge.mode == ChargeMode::Admit {
            let standing = known.standing.counting(charge.observing);
            let limits = charge.limits.at_share(standing.share_at(answer.now));
            for (window, unit, limit) in limits.set() {
                let used = known.since(answer.now - WINDOW_MILLIS[window], unit);
                if used > limit {
                    return Err(format!("over-admitted: {used} {unit:?} in window {window}, limit {limit}"));
                }
            }
        }
        if let Some(refusal) = answer.refusal {
            let length = WINDOW_MILLIS[refusal.window];
            let used = known.since(answer.now - length - length / 60, refusal.unit);
            // A report is in what was used already.
            let own = if charge.mode == ChargeMode::Report && answer.tracked {
                0
            } else {
                charge.counts.of(refusal.unit)
            };
            let wanted = used + own;
            if wanted <= refusal.limit {
                return Err(format!("refused in vain: {wanted} wanted, {refusal:?}"));
            }
        }
        Ok(())
    }
}
