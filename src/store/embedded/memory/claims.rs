//! Claims of request ids. In memory only: a retry after a restart is judged anew.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::domain::{MINUTE, Millis, observation::Claim};

/// How long a piece of work is claimed by its name.
const LASTS: Millis = 2 * MINUTE;

#[derive(Default)]
struct Held {
    /// When it ends, and the answer once there is one.
    claims: HashMap<String, (Millis, Option<Vec<u8>>)>,
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
        match self.held.lock().claims.get(request) {
            Some((ends, None)) if *ends > now => Claim::InFlight,
            Some((ends, Some(answer))) if *ends > now => Claim::Answered(answer.clone()),
            _ => Claim::Fresh,
        }
    }

    /// Claims a piece of work for two minutes, or says what became of the claim that is there.
    pub(in crate::store::embedded) fn claim(&self, name: &str, now: Millis) -> Claim {
        self.claim_until(name, now, now.saturating_add(LASTS))
    }

    /// Claims a request for as long as a retry of it is recognised, or says what became of the claim that is there.
    pub(in crate::store::embedded) fn claim_request(&self, request: &str, now: Millis) -> Claim {
        self.claim_until(request, now, now.saturating_add(self.retry_span))
    }

    fn claim_until(&self, request: &str, now: Millis, ends: Millis) -> Claim {
        let mut held = self.held.lock();
        held.forget_ended(now, self.capacity);
        match held.claims.get(request) {
            Some((ends, None)) if *ends > now => Claim::InFlight,
            Some((ends, Some(answer))) if *ends > now => Claim::Answered(answer.clone()),
            _ => {
                held.claims.insert(request.to_owned(), (ends, None));
                held.order.push_back((ends, request.to_owned()));
                Claim::Fresh
            }
        }
    }

    /// Keeps the answer to a claimed request. An answer that comes after the end of its claim is dropped.
    pub(in crate::store::embedded) fn finish(&self, request: &str, answer: &[u8], now: Millis) {
        if let Some((ends, kept)) = self.held.lock().claims.get_mut(request)
            && *ends > now
        {
            *kept = Some(answer.to_vec());
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
            if self.claims.get(request).is_some_and(|(current, _)| current == ends) {
                self.claims.remove(request);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(claims.claim_request("a", 0), Claim::Fresh);
        assert_eq!(claims.claim_request("a", 5 * LASTS - 1), Claim::InFlight);
        assert_eq!(claims.claim_request("a", 5 * LASTS), Claim::Fresh);
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
