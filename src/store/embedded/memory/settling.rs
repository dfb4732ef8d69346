//! What windows hold of a reservation, given back or put against what was used.

use super::counters::Counters;
use crate::{
    domain::{
        counter::CounterCharge,
        observation::Charge,
        reservation::{Reservation, Stage},
        window::Counts,
    },
    store::Refund,
};

/// Takes back what windows hold of a reservation.
pub(super) fn give_windows_back(reservation: &Reservation, windows: &Counters) {
    let refund = Refund { charged_at: reservation.charged_at, counts: reservation.counts, peer: None };
    windows.apply(&reservation.subject(), None, &[refund]);
}

/// A charge that settles a reservation, without what the windows hold of it already. What they hold too much of is
/// taken back from them.
pub(super) fn settling(
    charge: &Charge,
    reservation: &Reservation,
    keeps: bool,
    windows: &Counters,
) -> Charge {
    let held = reservation.counts;
    let used = if keeps { held } else { charge.counts };
    let over = |used: u64, held: u64| used.saturating_sub(held);
    // One that is told late counts at its own time: what is held is given back whole.
    let is_apart = charge.counted_at().is_some() && !keeps && reservation.stage != Stage::Observed;
    let stays = if is_apart { Counts::default() } else { used };
    let spare = Counts {
        requests: over(held.requests, stays.requests),
        tokens: over(held.tokens, stays.tokens),
        ..Counts::default()
    };
    if !spare.is_zero() {
        let refund = Refund { charged_at: reservation.charged_at, counts: spare, peer: None };
        windows.apply(&charge.subject, None, &[refund]);
    }
    let held = if is_apart { Counts::default() } else { held };
    let (requests, tokens) = (over(used.requests, held.requests), over(used.tokens, held.tokens));
    let counters = if keeps {
        charge.counters.iter().map(CounterCharge::of_nothing).collect()
    } else {
        charge.counters.clone()
    };
    // Where a request came from that was seen on its way was seen then.
    let peer = charge.peer.filter(|_| reservation.stage != Stage::Observed);
    Charge { counts: Counts { requests, tokens, ..charge.counts }, counters, peer, ..charge.clone() }
}
