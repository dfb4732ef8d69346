//! How limits stand after a request, and which of them refused it: the four windows of its key, and what the registry
//! adds.

use super::stages::Observed;
use crate::{
    domain::{
        Millis,
        decision::LimitStatus,
        limit::Span,
        observation::{ChargeMode, Observation},
        registry::Applied,
        window::WINDOW_MILLIS,
    },
    engine::limit_status::{of_counter, of_windows},
};

/// A limit of the registry on a request, and what became of it there.
pub(super) struct Counted<'a> {
    pub applied: &'a Applied,
    /// What the counter holds now, the request included if it was charged.
    pub used: u64,
    /// What the request charged; 0 where it charged nothing.
    pub charged: u64,
    /// What the counter would hold with the request: [`Self::used`], where it was charged.
    pub asked: u64,
    /// When the oldest of it stops counting; `None` when nothing counts.
    pub resets_at: Option<Millis>,
}

/// The limits of the registry on a request, in the order of [`Known::limits`](super::stages::Known::limits).
pub(super) fn counted<'a>(observed: &'a Observed<'_>) -> impl Iterator<Item = Counted<'a>> {
    let (charge, key) = (&observed.charge, &observed.key);
    let charges = match charge.mode {
        // An estimate that is kept was charged when it was reserved.
        ChargeMode::Report => observed.kept_estimate().is_none(),
        ChargeMode::Admit => key.admitted,
        ChargeMode::Peek => false,
    };
    let is_charged = charges || charge.mode == ChargeMode::Report;
    let all = observed.known.limits.iter().zip(&charge.counters).zip(&key.counters);
    all.map(move |((applied, charge), count)| Counted {
        applied,
        used: count.used,
        charged: if charges { charge.amount } else { 0 },
        asked: count.used.saturating_add(if is_charged { 0 } else { charge.amount }),
        resets_at: count.resets_at,
    })
}

/// Every limit on a request: first those of its windows, then those of counters, in the order of their charges.
pub(super) fn statuses(observed: &Observed<'_>) -> Vec<LimitStatus> {
    let mut statuses = of_windows(&observed.key, &observed.charge.limits);
    let counters = observed.known.limits.iter().zip(&observed.key.counters);
    statuses.extend(counters.map(|(applied, count)| of_counter(applied, *count, observed.key.now)));
    statuses
}

/// The limit that refused a charge, as its place among [`statuses`], and when it would admit (`None`: never). Of a
/// window and a counter the one that keeps out longer.
pub(super) fn refusing(key: &Observation, statuses: &[LimitStatus]) -> Option<(usize, Option<Millis>)> {
    let of_windows = statuses.iter().take_while(|status| status.scope.is_none()).count();
    let window = key.refusal.as_ref().and_then(|refusal| {
        let span = Span::Sliding(WINDOW_MILLIS[refusal.window]);
        let is_it = |status: &LimitStatus| status.window == span && status.unit == refusal.unit;
        Some((statuses[..of_windows].iter().position(is_it)?, refusal.retry_at))
    });
    let counter = key.counter_refusal.map(|refusal| (of_windows + refusal.index, refusal.retry_at));
    let wait = |(_, at): &(usize, Option<Millis>)| at.unwrap_or(Millis::MAX);
    window.into_iter().chain(counter).reduce(|a, b| if wait(&b) > wait(&a) { b } else { a })
}
