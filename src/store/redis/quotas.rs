//! Counters of limits beyond the windows of a subject: their keys, and the scripts that charge them.
//!
//! On one server (and behind Sentinel) a charge of windows and counters is one script, whoever the counters belong to.
//! On a cluster a script reaches one slot: see [`super::spread`].

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    keys::by_partition,
    packing,
    scripts::{COUNTERS, Call, QUOTA},
};
use crate::{
    domain::{
        Millis,
        observation::{Charge, Observation},
        quota::{Counter, QuotaCharge, QuotaCount, QuotaRefusal, Scope},
    },
    store::StoreError,
};

/// What the counters of a charge answered.
struct Counted {
    refusal: Option<QuotaRefusal>,
    counts: Vec<QuotaCount>,
}

impl RedisStore {
    /// The partition that the counters of a scope are in.
    pub(super) fn partition_of(&self, scope: &Scope) -> u16 {
        match scope {
            Scope::Subject(subject) => self.keys.partition(Some(subject)),
            Scope::Everything => self.keys.partition(None),
        }
    }

    fn counter_key(&self, counter: &Counter) -> String {
        self.keys.counter(self.partition_of(&counter.scope), counter.scope.as_str(), counter.id)
    }

    /// The call that charges windows and counters.
    pub(super) fn quota_call(&self, charge: &Charge) -> Result<Call, StoreError> {
        let keys = self.keys.subject(&charge.subject);
        let partition = self.keys.partition(Some(&charge.subject));
        let (id, content, until) = match &charge.lease {
            None => (String::new(), Vec::new(), 0),
            Some(lease) => {
                let content = serde_json::to_vec(lease).map_err(unreadable_because("a reservation"))?;
                (lease.id.to_string(), content, lease.until)
            }
        };
        let numbers = charge.quotas.iter().flat_map(numbers);
        Ok(Call::new(&QUOTA)
            .key(keys.state)
            .keys(keys.windows)
            .key(self.keys.leases(partition))
            .key(self.keys.lease_ends(partition))
            .keys(charge.quotas.iter().map(|quota| self.counter_key(&quota.counter)))
            .arg(packing::charge(charge))
            .arg(packing::peer(charge.peer.as_ref()))
            .arg(packing::doubles(numbers))
            .arg(id)
            .arg(content)
            .arg(until.to_string()))
    }

    /// What the reply to [`RedisStore::quota_call`] says.
    pub(super) fn read_quota(&self, reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
        let Value::Array(parts) = reply else { return Err(unreadable("the reply to a charge")) };
        let [Value::BulkString(windows), Value::BulkString(counters)] = parts.as_slice() else {
            return Err(unreadable("the reply to a charge"));
        };
        let counted = read_counts(counters)?;
        let observation = packing::read_observation(windows, charge)?;
        Ok(with_counters(observation, counted, charge))
    }

    /// Charges counters, those of one partition together: what each holds then, and whether its partition refused.
    /// Their limits are looked at where `asked`; nothing is written unless it `changes`.
    pub(super) async fn count(
        &self,
        quotas: &[QuotaCharge],
        now: Millis,
        asked: bool,
        changes: bool,
    ) -> Result<Vec<(QuotaCount, Option<QuotaRefusal>)>, StoreError> {
        let placed = quotas.iter().map(|quota| self.partition_of(&quota.counter.scope));
        let groups = by_partition(placed.zip(0..));
        let flags = [now as f64, f64::from(u8::from(asked)), f64::from(u8::from(changes))];
        let call = |group: &Vec<usize>| {
            let keys = group.iter().map(|index| self.counter_key(&quotas[*index].counter));
            let numbers = group.iter().flat_map(|index| numbers(&quotas[*index]));
            vec![Call::new(&COUNTERS).keys(keys).arg(packing::doubles(flags)).arg(packing::doubles(numbers))]
        };
        let calls: Vec<Vec<Call>> = groups.values().map(call).collect();
        let mut all = vec![(QuotaCount::default(), None); quotas.len()];
        if calls.is_empty() {
            return Ok(all);
        }
        let replies = self.link.call_all(&calls).await?;
        for (group, reply) in groups.values().zip(replies.into_iter().flatten()) {
            let bytes: Vec<u8> = self.read(reply)?;
            let counted = read_counts(&bytes)?;
            for (index, count) in group.iter().zip(counted.counts) {
                let refusal = counted.refusal.map(|r| QuotaRefusal { index: group[r.index], ..r });
                all[*index] = (count, refusal);
            }
        }
        Ok(all)
    }
}

/// A charge of a counter, as `parts/counters.lua` reads it.
fn numbers(quota: &QuotaCharge) -> [f64; 5] {
    let (held, held_until) = quota.held.unwrap_or((0, 0));
    let exact = packing::exact;
    [exact(quota.amount), exact(quota.most), quota.until as f64, exact(held), held_until as f64]
}

fn with_counters(observation: Observation, counted: Counted, charge: &Charge) -> Observation {
    let refused = counted.refusal.is_some();
    Observation {
        admitted: observation.admitted && !refused,
        // Where a counter refused, the windows were only looked at.
        tracked: observation.tracked || refused && charge.may_create,
        quota_refusal: counted.refusal,
        quotas: counted.counts,
        ..observation
    }
}

fn read_counts(bytes: &[u8]) -> Result<Counted, StoreError> {
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<f64> = numbers.iter().map(|number| f64::from_le_bytes(*number)).collect();
    let [refused, retry, rest @ ..] = numbers.as_slice() else { return Err(unreadable("counters")) };
    let moment = |at: f64| (at >= 0.0).then_some(at as Millis);
    let refusal =
        (*refused >= 1.0).then(|| QuotaRefusal { index: *refused as usize - 1, retry_at: moment(*retry) });
    let count = |pair: &[f64; 2]| QuotaCount { used: pair[0].max(0.0) as u64, resets_at: moment(pair[1]) };
    Ok(Counted { refusal, counts: rest.as_chunks().0.iter().map(count).collect() })
}
