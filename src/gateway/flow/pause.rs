//! Who is asked next, and how long is waited before.

use std::time::Duration;

use super::{super::route::Candidate, attempt::Fault};
use crate::clock::Instant;

/// The pause before the second attempt at most; twice as long before each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause that a provider may ask for, so that the client is not kept from trying by itself.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What candidates of one request asked for.
#[derive(Default)]
pub(super) struct Pauses(Vec<(Candidate, Instant)>);

impl Pauses {
    /// Notes for how long a candidate asks to be left alone. It is of this model alone: limits of providers are.
    pub(super) fn note(&mut self, candidate: &Candidate, fault: &Fault, now: Instant) {
        self.0.retain(|(other, _)| other != candidate);
        self.0.extend(fault.wait.map(|wait| (candidate.clone(), now + wait)));
    }

    /// The position of the candidate that is asked next, and how long is waited before: of those that are not left
    /// alone the one that can be asked first, and in their order. `None` where nobody can be asked before `by`, or
    /// within a pause that a client waits for.
    pub(super) fn next(
        &self,
        open: &[Candidate],
        (last, fault): (&Candidate, &Fault),
        attempt: usize,
        is_up: impl Fn(&Candidate) -> bool,
        (now, by): (Instant, Instant),
    ) -> Option<(usize, Duration)> {
        let pauses = open.iter().map(|candidate| self.before(candidate, (last, fault), attempt, now));
        let may_wait = |pause: Duration| pause <= LONGEST_PAUSE && now + pause < by;
        let asked = pauses.enumerate().filter(|(_, pause)| may_wait(*pause));
        asked.min_by_key(|(at, pause)| (open.get(*at).is_none_or(|candidate| !is_up(candidate)), *pause))
    }

    /// As long as it asked for; before the one that failed last else a random time that grows, and before any other
    /// no time. An upstream that failed itself has failed for all models.
    fn before(
        &self,
        candidate: &Candidate,
        (last, fault): (&Candidate, &Fault),
        attempt: usize,
        now: Instant,
    ) -> Duration {
        if let Some((_, until)) = self.0.iter().find(|(other, _)| other == candidate) {
            return until.saturating_duration_since(now);
        }
        if candidate != last && !(fault.counts && candidate.upstream == last.upstream) {
            return Duration::ZERO;
        }
        let longest = FIRST_PAUSE * (1 << attempt.saturating_sub(1).min(6));
        longest.mul_f64(jitter())
    }
}

/// A random share from a half to 1.
fn jitter() -> f64 {
    let mut byte = [0; 1];
    let _ = getrandom::fill(&mut byte);
    0.5 + f64::from(byte[0]) / 510.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        gateway::dialect::failure::{Failure, Kind},
    };

    fn candidate(upstream: usize, model: &str) -> Candidate {
        Candidate { upstream, model: model.into() }
    }

    fn fault(counts: bool, wait: Option<u64>) -> Fault {
        let answer = Box::new(Err(Failure::new(Kind::UpstreamFailed, "x")));
        let wait = wait.map(Duration::from_secs);
        Fault { outcome: "error", may_be_billed: false, counts, same_again: true, wait, answer }
    }

    #[test]
    fn a_candidate_that_asked_to_be_left_alone_is_so_also_after_another_has_failed() {
        let (a, b, now) = (candidate(0, "m"), candidate(1, "m"), clock::instant());
        let by = now + Duration::from_secs(60);
        let mut pauses = Pauses::default();
        pauses.note(&a, &fault(false, Some(8)), now);
        let failed = fault(true, None);
        let open = [a.clone(), b.clone()];
        let next = pauses.next(&open, (&b, &failed), 2, |_| true, (now, by));
        assert!(next.is_some_and(|(at, pause)| at == 1 && pause < Duration::from_secs(1)), "{next:?}");
        let alone = pauses.next(&open[..1], (&b, &failed), 2, |_| true, (now, by));
        assert_eq!(alone, Some((0, Duration::from_secs(8))));
        assert_eq!(pauses.next(&open[..1], (&b, &failed), 2, |_| true, (now, now + FIRST_PAUSE)), None);
        pauses.note(&a, &failed, now);
        assert_eq!(pauses.next(&open[..1], (&b, &failed), 2, |_| true, (now, by)), Some((0, Duration::ZERO)));
    }

    #[test]
    fn another_model_of_an_upstream_is_asked_although_the_first_has_no_room_for_longer_than_a_client_waits() {
        let (large, small, now) = (candidate(0, "large"), candidate(0, "small"), clock::instant());
        let by = now + Duration::from_secs(600);
        let (mut pauses, limited) = (Pauses::default(), fault(false, Some(60)));
        pauses.note(&large, &limited, now);
        let open = [large.clone(), small];
        let next = |open: &[Candidate]| pauses.next(open, (&large, &limited), 1, |_| true, (now, by));
        assert_eq!(next(&open), Some((1, Duration::ZERO)));
        assert_eq!(next(&open[..1]), None);
    }

    #[test]
    fn an_upstream_that_is_left_alone_is_asked_after_all_others() {
        let (a, b, now) = (candidate(0, "m"), candidate(1, "m"), clock::instant());
        let by = now + Duration::from_secs(60);
        let open = [a.clone(), b.clone()];
        let is_up = |candidate: &Candidate| candidate.upstream == 1;
        let next = Pauses::default().next(&open, (&b, &fault(true, None)), 1, is_up, (now, by));
        assert_eq!(next.map(|(at, _)| at), Some(1));
    }
}
