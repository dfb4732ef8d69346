//! Claims of request ids. In memory only: a retry after a restart is judged anew.

use std::collections::{HashMap, VecDeque};

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
    /// The reservation that was settled with it, where its estimate was kept.
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
    /// reservation that it settled then, if it kept the estimate.
    pub(in crate::store::embedded) fn look_for(
        &self,
        charge: &Charge,
        claim: u128,
    ) -> Result<Claim, Option<Reservation>> {
        let held = self.held.lock();
        let claimed = held.claims.get(&request_name(claim)).filter(|claimed| claimed.ends > charge.now);
        match claimed {
            Some(claimed) if claimed.is_of(charge) => Err(claimed.kept.clone()),
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
        self.claim_until(&request_name(claim), charge.now, claimed)
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
        if let Some(claimed) = self.held.lock().claims.get_mut(request)
            && claimed.ends > now
        {
            claimed.answer = Some(answer.to_vec());
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
}
