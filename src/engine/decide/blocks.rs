//! Blocks of limits in what the store answers: each stands behind the charge of its limit, and is told apart from it
//! here.

use crate::domain::{
    counter::{CounterCharge, CounterRefusal},
    observation::{Charge, Observation},
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
