//! How limits stand after a request, and which of them refused it: the four windows of its key, and what the registry
//! adds.

use super::observe::Observed;
use crate::domain::{
    Millis, SECOND,
    counter::{Counter, CounterCharge, CounterCount, CounterRefusal},
    decision::LimitStatus,
    limit::{LimitMode, Scope, Span},
    observation::{Charge, ChargeMode, Observation},
    registry::Applied,
    subject::SubjectKind,
    window::{WINDOW_MILLIS, WindowLimits},
};

/// A charge and what was observed of it, without the blocks of limits: a refusal by a block is one by its limit.
pub(super) fn without_blocks(charge: Charge, key: Observation) -> (Charge, Observation) {
    if charge.counters.iter().all(|counter| counter.block.is_none()) {
        return (charge, key);
    }
    let is_limit = |(_, counter): &(usize, &CounterCharge)| counter.block.is_none();
    let limits: Vec<usize> = charge.counters.iter().enumerate().filter(is_limit).map(|(n, _)| n).collect();
    let of = |refusal: CounterRefusal| {
        let index = limits.iter().rposition(|limit| *limit <= refusal.index)?;
        Some(CounterRefusal { index, ..refusal })
    };
    let counter_refusal = key.counter_refusal.and_then(of);
    let counters = limits.iter().filter_map(|n| key.counters.get(*n).copied()).collect();
    let charged = charge.counters.into_iter().filter(|counter| counter.block.is_none()).collect();
    (Charge { counters: charged, ..charge }, Observation { counter_refusal, counters, ..key })
}

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

/// The limits of the registry on a request, in the order of [`Known::limits`](super::prepare::Known::limits).
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

/// A limit of the registry, of which a counter holds so much.
pub(in crate::engine) fn of_counter(applied: &Applied, count: CounterCount, now: Millis) -> LimitStatus {
    let limit = &applied.rule.limit;
    // An empty counter is as its span would leave it.
    let reset_at = count.resets_at.unwrap_or(now);
    // What slides leaves within its span; a calendar period ends when it ends, also on a day of 25 hours.
    let reset_at = match limit.span {
        Span::Sliding(length) => reset_at.min(now + length),
        Span::Calendar(_) => reset_at,
    };
    LimitStatus {
        scope: Some(scope_name(&applied.counter).into()),
        model: limit.model.clone(),
        window: limit.span,
        unit: limit.unit,
        limit: applied.most,
        used: count.used,
        reset_seconds: seconds_until(reset_at, now),
        mode: limit.mode,
        block_seconds: limit.block.map(|length| seconds_until(length, 0)),
    }
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

fn scope_name(counter: &Counter) -> &'static str {
    match &counter.scope {
        Scope::Everything => "everything",
        Scope::Subject(subject) if subject.kind() == SubjectKind::Key => "key",
        Scope::Subject(_) => "project",
    }
}

/// The limits of the four windows of a key, as its standing cuts them.
pub(in crate::engine) fn of_windows(key: &Observation, limits: &WindowLimits) -> Vec<LimitStatus> {
    let limits = limits.at_share(key.standing.share_at(key.now));
    limits
        .set()
        .map(|(window, unit, limit)| LimitStatus {
            scope: None,
            model: None,
            window: Span::Sliding(WINDOW_MILLIS[window]),
            unit,
            limit,
            used: key.counts[window].of(unit),
            reset_seconds: seconds_until(key.resets_at[window].min(key.now + WINDOW_MILLIS[window]), key.now),
            mode: LimitMode::Enforce,
            block_seconds: None,
        })
        .collect()
}

fn seconds_until(at: Millis, now: Millis) -> u64 {
    ((at - now).max(0) as u64).div_ceil(SECOND as u64)
}
