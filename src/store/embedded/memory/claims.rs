//! Claims of request ids, and which of them are still to be written: a retry is recognised after a restart, too.

use std::collections::{HashMap, HashSet, VecDeque};

use parking_lot::Mutex;

use crate::domain::{
    MINUTE, Millis,
    observation::{Charge, Claim},
    reservation::Reservation,
};

/// How long a piece of work is claimed by its name.
const LASTS: Millis = 2 * MINUTE;

/// A claim that was made.
struct Claimed {
    ends: Millis,
    /// Who made it ([`Charge::attempt`]); 0: somebody who does it once.
    by: u64,
    /// The reservation that was settled with it.
    kept: Option<Reservation>,
    answer: Option<Vec<u8>>,
}

impl Claimed {
    /// Whether a charge made it, and nobody has answered since.
    fn is_of(&self, charge: &Charge) -> bool {
        charge.attempt() > 0 && self.by == charge.attempt() && self.answer.is_none()
    }

    fn state(&self) -> Claim {
        self.answer.clone().map_or(Claim::InFlight, Claim::Answered)
    }
}

#[derive(Default)]
struct Held {
    claims: HashMap<String, Claimed>,
    /// Claims in the order they were made, with when they end.
    order: VecDeque<(Millis, String)>,
    /// Requests whose claims are not written as they are.
    dirty: HashSet<String>,
}

/// A claim of a request, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::embedded) struct SavedClaim {
    pub(in crate::store::embedded) name: String,
    pub(in crate::store::embedded) ends: Millis,
    /// `None`: nobody has answered.
    pub(in crate::store::embedded) answer: Option<Vec<u8>>,
}

/// The name under which a request is claimed.
pub(in crate::store::embedded) fn request_name(claim: u128) -> String {
    format!("{claim:032x}")
}

/// Requests that somebody works on or has answered.
pub(in crate::store::embedded) struct Claims {
    held: Mutex<Held>,
    capacity: usize,
    /// How long a request is claimed, ms.
    retry_span: Millis,
}

impl Claims {
    /// Remembers at most `capacity` requests; beyond that the oldest are forgotten early.
    pub(in crate::store::embedded) fn new(capacity: usize, retry_span: Millis) -> Self {
        Self { held: Mutex::default(), capacity: capacity.max(1), retry_span }
    }

    /// What became of a claim; fresh, where there is none.
    pub(in crate::store::embedded) fn look(&self, request: &str, now: Millis) -> Claim {
        let held = self.held.lock();
        let claimed = held.claims.get(request).filter(|claimed| claimed.ends > now);
        claimed.map_or(Claim::Fresh, Claimed::state)
    }

    /// What became of the claim of a charge. `Err`: the charge made it itself, when it was sent before; with the
    /// reservation that it settled then.
    pub(in crate::store::embedded) fn look_for(
        &self,
        charge: &Charge,
        claim: u128,
    ) -> Result<Claim, Option<Box<Reservation>>> {
        let held = self.held.lock();
        let claimed = held.claims.get(&request_name(claim)).filter(|claimed| claimed.ends > charge.now);
        match claimed {
            Some(claimed) if claimed.is_of(charge) => Err(claimed.kept.clone().map(Box::new)),
            claimed => Ok(claimed.map_or(Claim::Fresh, Claimed::state)),
        }
    }

    /// Claims a piece of work for two minutes, or says what became of the claim that is there.
    pub(in crate::store::embedded) fn claim(&self, name: &str, now: Millis) -> Claim {
        self.claim_until(
            name,
            now,
            Claimed { ends: now.saturating_add(LASTS), by: 0, kept: None, answer: None },
        )
    }

    /// Claims a request for as long as a retry of it is recognised, or says what became of the claim that is there.
    pub(in crate::store::embedded) fn claim_request(
        &self,
        charge: &Charge,
        claim: u128,
        kept: Option<Reservation>,
    ) -> Claim {
        let ends = charge.now.saturating_add(self.retry_span);
        let claimed = Claimed { ends, by: charge.attempt(), kept, answer: None };
        let name = request_name(claim);
        let found = self.claim_until(&name, charge.now, claimed);
        if found == Claim::Fresh {
            self.held.lock().dirty.insert(name);
        }
        found
    }

    /// Up to so many claims of requests that are not written as they are, taken.
    pub(in crate::store::embedded) fn take_dirty(&self, most: usize) -> Vec<SavedClaim> {
        let mut held = self.held.lock();
        let names: Vec<String> = held.dirty.iter().take(most).cloned().collect();
        let saved = names.into_iter().filter_map(|name| {
            held.dirty.remove(&name);
            let claimed = held.claims.get(&name)?;
            Some(SavedClaim { ends: claimed.ends, answer: claimed.answer.clone(), name })
        });
        saved.collect()
    }

    /// Notes that what was taken could not be written.
    pub(in crate::store::embedded) fn wait_again(&self, claims: &[SavedClaim]) {
        self.held.lock().dirty.extend(claims.iter().map(|claim| claim.name.clone()));
    }

    /// Puts back what was written, the oldest first; used before the first claim.
    pub(in crate::store::embedded) fn restore(&self, claims: Vec<SavedClaim>) {
        for SavedClaim { name, ends, answer } in claims {
            let claimed = Claimed { ends, by: 0, kept: None, answer };
            self.claim_until(&name, Millis::MIN, claimed);
        }
    }

    fn claim_until(&self, request: &str, now: Millis, claimed: Claimed) -> Claim {
        let mut held = self.held.lock();
        held.forget_ended(now, self.capacity);
        if let Some(there) = held.claims.get(request).filter(|there| there.ends > now) {
            return there.state();
        }
        held.order.push_back((claimed.ends, request.to_owned()));
        held.claims.insert(request.to_owned(), claimed);
        Claim::Fresh
    }

    /// Keeps the answer to a claimed request. An answer that comes after the end of its claim is dropped.
    pub(in crate::store::embedded) fn finish(&self, request: &str, answer: &[u8], now: Millis) {
        let mut held = self.held.lock();
        if let Some(claimed) = held.claims.get_mut(request)
            && claimed.ends > now
        {
            claimed.answer = Some(answer.to_vec());
            held.dirty.insert(request.to_owned());
        }
    }
}

impl Held {
    fn forget_ended(&mut self, now: Millis, capacity: usize) {
        while let Some((ends, request)) = self.order.front() {
            if *ends > now && self.order.len() < capacity {
                break;
            }
            // A request that was claimed again has a later end, and a later place in the order.
            if self.claims.get(request).is_some_and(|current| current.ends == *ends) {
                self.claims.remove(request);
                self.dirty.remove(request);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::subject::Subject;

    #[test]
    fn a_claim_lasts_two_minutes_from_when_it_was_made() {
        let claims = Claims::new(10, 5 * LASTS);
        assert_eq!(claims.claim("a", 0), Claim::Fresh);
        claims.finish("a", b"yes", LASTS - 2);
        assert_eq!(claims.claim("a", LASTS - 1), Claim::Answered(b"yes".to_vec()));
        assert_eq!(claims.claim("a", LASTS), Claim::Fresh);
        claims.finish("a", b"late", 3 * LASTS);
        assert_eq!(claims.claim("a", LASTS + 1), Claim::InFlight);
    }

    #[test]
    fn a_request_is_claimed_for_as_long_as_its_retries_are_recognised() {
        let claims = Claims::new(10, 5 * LASTS);
        let claim = |now| claims.claim_request(&Charge::look(Subject::key("a"), now), 7, None);
        assert_eq!(claim(0), Claim::Fresh);
        assert_eq!(claim(5 * LASTS - 1), Claim::InFlight);
        assert_eq!(claim(5 * LASTS), Claim::Fresh);
    }

    #[test]
    fn a_flood_of_requests_takes_bounded_memory() {
        let claims = Claims::new(10, 5 * LASTS);
        for request in 0..1_000 {
            claims.claim(&request.to_string(), 0);
        }
        let held = claims.held.lock();
        assert_eq!((held.claims.len(), held.order.len()), (10, 10));
    }

    #[test]
    fn what_was_written_is_known_again_and_what_changed_since_is_written_again() {
        let claims = Claims::new(10, 5 * LASTS);
        for claim in [7, 8] {
            claims.claim_request(&Charge::look(Subject::key("a"), 0), claim, None);
        }
        claims.claim("a piece of work", 0);
        claims.finish(&request_name(7), b"yes", 1);
        let saved = claims.take_dirty(9);
        assert_eq!(
            (saved.len(), claims.take_dirty(9).len()),
            (2, 0),
            "each once, and no work of an instance"
        );
        claims.finish(&request_name(8), b"no", 1);
        let changed = claims.take_dirty(9);
        assert_eq!(
            changed.iter().map(|claim| claim.answer.as_deref()).collect::<Vec<_>>(),
            [Some(&b"no"[..])]
        );
        claims.wait_again(&changed);
        assert_eq!(claims.take_dirty(9), changed);
        let again = Claims::new(10, 5 * LASTS);
        again.restore(saved);
        assert_eq!(again.look(&request_name(7), 5 * LASTS - 1), Claim::Answered(b"yes".to_vec()));
        assert_eq!(again.look(&request_name(8), 2), Claim::InFlight, "as it was written");
        assert_eq!(again.look(&request_name(7), 5 * LASTS), Claim::Fresh);
    }
}
