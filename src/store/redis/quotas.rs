//! Charges beyond the windows of a subject, and reservations.
//!
//! On one server (and behind Sentinel) a charge of windows and counters is one script, whoever the counters belong to. On
//! a cluster a script reaches one slot, so counters elsewhere are charged first, for a moment: an amount that is not
//! confirmed ends by itself. Then the subject's own are charged, and the others are confirmed or given back.

use std::collections::BTreeMap;

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    packing,
    scripts::{COUNTERS, Call, END_LEASE, LEASE, QUOTA},
};
use crate::{
    domain::{
        Millis, SECOND,
        observation::{Charge, ChargeMode, Observation},
        quota::{Counter, Lease, QuotaChange, QuotaCharge, QuotaCount, QuotaRefusal, Scope},
        subject::Subject,
    },
    store::{Refund, Respond, StoreError},
};

/// A charge of a counter in another slot that is not confirmed by then is no more.
const UNCONFIRMED: Millis = 5 * SECOND;

/// What the counters of a charge answered.
struct Counted {
    refusal: Option<QuotaRefusal>,
    counts: Vec<QuotaCount>,
}

impl RedisStore {
    fn partition_of(&self, scope: &Scope) -> u16 {
        match scope {
            Scope::Subject(subject) => self.keys.partition(Some(subject)),
            Scope::Everything => self.keys.partition(None),
        }
    }

    fn counter_key(&self, counter: &Counter) -> String {
        self.keys.counter(self.partition_of(&counter.scope), counter.scope.as_str(), counter.id)
    }

    /// Whether a charge needs more than one script.
    pub(super) fn is_spread(&self, charge: &Charge) -> bool {
        let home = self.keys.partition(Some(&charge.subject));
        self.cluster && charge.quotas.iter().any(|quota| self.partition_of(&quota.counter.scope) != home)
    }

    /// The call that charges windows and counters.
    pub(super) fn quota_call(&self, charge: &Charge) -> Result<Call, StoreError> {
        let keys = self.keys.subject(&charge.subject);
        let partition = self.keys.partition(Some(&charge.subject));
        let (id, content, until) = match &charge.lease {
            None => (String::new(), Vec::new(), 0),
            Some(lease) => {
                let content = serde_json::to_vec(lease).map_err(|_| unreadable("a reservation"))?;
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

    /// What the reply to it says.
    pub(super) fn read_quota(&self, reply: &Value, charge: &Charge) -> Result<Observation, StoreError> {
        let Value::Array(parts) = reply else { return Err(unreadable("the reply to a charge")) };
        let [Value::BulkString(windows), Value::BulkString(counters)] = parts.as_slice() else {
            return Err(unreadable("the reply to a charge"));
        };
        let counted = read_counts(counters)?;
        let observation = packing::read_observation(windows, charge)?;
        Ok(together(observation, counted, charge))
    }

    /// A charge on a cluster whose counters are in several slots.
    pub(super) async fn observe_spread(&self, charge: &Charge) -> Result<Observation, StoreError> {
        let home = self.keys.partition(Some(&charge.subject));
        let is_here = |quota: &QuotaCharge| self.partition_of(&quota.counter.scope) == home;
        let (here, away): (Vec<usize>, Vec<usize>) =
            (0..charge.quotas.len()).partition(|index| is_here(&charge.quotas[*index]));
        let admits = charge.mode == ChargeMode::Admit;
        // Until it is confirmed, it counts for a moment.
        let passing = |quota: &QuotaCharge| quota.until.min(charge.now + UNCONFIRMED);
        let first: Vec<QuotaCharge> = away
            .iter()
            .map(|index| {
                let quota = &charge.quotas[*index];
                QuotaCharge { until: if admits { passing(quota) } else { quota.until }, ..quota.clone() }
            })
            .collect();
        let counted =
            self.count(&first, charge.now, charge.mode != ChargeMode::Force, charge.mode != ChargeMode::Peek);
        let counted = counted.await?;
        let charged = |change: &dyn Fn(&QuotaCharge, Millis) -> QuotaChange| -> Vec<QuotaChange> {
            let charged = away.iter().zip(&first).zip(&counted);
            let charged = charged.filter(|(_, (_, refused))| refused.is_none());
            charged.map(|((index, first), _)| change(&charge.quotas[*index], first.until)).collect()
        };
        let undone = |quota: &QuotaCharge, until: Millis| QuotaChange {
            counter: quota.counter.clone(),
            back: Some((quota.amount, until)),
            add: quota.held,
        };
        let refusal = counted.iter().find_map(|(_, refused)| *refused);
        let refusal = refusal.map(|refusal| QuotaRefusal { index: away[refusal.index], ..refusal });
        let mode = if refusal.is_some() { ChargeMode::Peek } else { charge.mode };
        let own = here.iter().map(|index| charge.quotas[*index].clone()).collect();
        let local = Charge { quotas: own, mode, ..charge.clone() };
        let reply = self.link.call(self.quota_call(&local)?).await;
        let observed = reply.and_then(|reply| self.read_quota(&reply, &local));
        let admitted = refusal.is_none() && observed.as_ref().is_ok_and(|o| o.admitted);
        if admits {
            let changes = if admitted {
                charged(&|quota, until| QuotaChange {
                    counter: quota.counter.clone(),
                    back: Some((quota.amount, until)),
                    add: Some((quota.amount, quota.until)),
                })
            } else {
                charged(&undone)
            };
            self.change_counters(&changes, charge.now).await?;
        }
        let mut observation = observed?;
        let mut counts = vec![QuotaCount::default(); charge.quotas.len()];
        for (index, count) in here.iter().zip(&observation.quotas) {
            counts[*index] = *count;
        }
        for (index, (count, _)) in away.iter().zip(&counted) {
            counts[*index] = *count;
        }
        let own_refusal = observation.quota_refusal.map(|r| QuotaRefusal { index: here[r.index], ..r });
        observation.quota_refusal = refusal.or(own_refusal);
        observation.admitted &= refusal.is_none();
        observation.quotas = counts;
        Ok(observation)
    }

    /// Charges counters, those of one partition together: what each holds then, and whether its partition refused.
    async fn count(
        &self,
        quotas: &[QuotaCharge],
        now: Millis,
        asked: bool,
        changes: bool,
    ) -> Result<Vec<(QuotaCount, Option<QuotaRefusal>)>, StoreError> {
        let mut by_partition: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (index, quota) in quotas.iter().enumerate() {
            by_partition.entry(self.partition_of(&quota.counter.scope)).or_default().push(index);
        }
        let groups: Vec<Vec<usize>> = by_partition.into_values().collect();
        let flags = [now as f64, f64::from(u8::from(asked)), f64::from(u8::from(changes))];
        let call = |group: &Vec<usize>| {
            let of = |index: &usize| &quotas[*index];
            let call =
                Call::new(&COUNTERS).keys(group.iter().map(|index| self.counter_key(&of(index).counter)));
            let numbers = group.iter().flat_map(|index| numbers(of(index)));
            vec![call.arg(packing::doubles(flags)).arg(packing::doubles(numbers))]
        };
        let calls: Vec<Vec<Call>> = groups.iter().map(call).collect();
        let replies = self.link.call_all(&calls).await?;
        let mut all = vec![(QuotaCount::default(), None); quotas.len()];
        for (group, reply) in groups.iter().zip(replies.into_iter().flatten()) {
            let reply = reply.map_err(|e| self.link.translate(&e))?;
            let Value::BulkString(bytes) = &reply else { return Err(unreadable("counters")) };
            let counted = read_counts(bytes)?;
            for (index, count) in group.iter().zip(counted.counts) {
                let refusal = counted.refusal.map(|r| QuotaRefusal { index: group[r.index], ..r });
                all[*index] = (count, refusal);
            }
        }
        Ok(all)
    }

    pub(super) async fn change_counters(
        &self,
        changes: &[QuotaChange],
        now: Millis,
    ) -> Result<(), StoreError> {
        let as_charge = |change: &QuotaChange| {
            let (amount, until) = change.add.unwrap_or((0, 0));
            QuotaCharge { counter: change.counter.clone(), amount, most: u64::MAX, until, held: change.back }
        };
        let charges: Vec<QuotaCharge> = changes.iter().map(as_charge).collect();
        if charges.is_empty() { Ok(()) } else { self.count(&charges, now, false, true).await.map(drop) }
    }

    pub(super) async fn read_counters(
        &self,
        counters: &[Counter],
        now: Millis,
    ) -> Result<Vec<QuotaCount>, StoreError> {
        let look = |counter: &Counter| QuotaCharge {
            counter: counter.clone(),
            amount: 0,
            most: u64::MAX,
            until: 0,
            held: None,
        };
        let looks: Vec<QuotaCharge> = counters.iter().map(look).collect();
        Ok(self.count(&looks, now, false, false).await?.into_iter().map(|(count, _)| count).collect())
    }

    pub(super) async fn take_one_lease(&self, key: &Subject, id: &str) -> Result<Option<Lease>, StoreError> {
        let partition = self.keys.partition(Some(key));
        let reply = self.link.call(self.lease_call(partition, id, 0, 0)).await?;
        Ok(read_leases(&reply)?.pop())
    }

    /// Those that have ended in every partition, all asked at once.
    pub(super) async fn leases_until(&self, now: Millis, limit: usize) -> Result<Vec<Lease>, StoreError> {
        let calls: Vec<Vec<Call>> = (0..self.keys.partitions())
            .map(|partition| vec![self.lease_call(partition, "", now, limit)])
            .collect();
        let mut leases = Vec::new();
        for reply in self.link.call_all(&calls).await?.into_iter().flatten() {
            leases.extend(read_leases(&reply.map_err(|e| self.link.translate(&e))?)?);
        }
        Ok(leases)
    }

    /// One script: it is taken and given back, or neither.
    pub(super) async fn end_one_lease(&self, lease: &Lease, now: Millis) -> Result<bool, StoreError> {
        let partition = self.keys.partition(Some(&lease.subject()));
        let refund = Refund { charged_at: lease.charged_at, counts: lease.counts, peer: None };
        let respond = Respond {
            subject: lease.subject(),
            now,
            standing: None,
            refunds: vec![refund],
            events: Vec::new(),
        };
        let call = self.respond_call(Call::new(&END_LEASE).arg(lease.id.as_bytes()), &respond)?;
        let call = call.key(self.keys.leases(partition)).key(self.keys.lease_ends(partition));
        Ok(self.link.call(call).await? == Value::Int(1))
    }

    fn lease_call(&self, partition: u16, id: &str, now: Millis, limit: usize) -> Call {
        Call::new(&LEASE)
            .key(self.keys.leases(partition))
            .key(self.keys.lease_ends(partition))
            .arg(id)
            .arg(now.to_string())
            .arg(limit.to_string())
    }
}

fn numbers(quota: &QuotaCharge) -> [f64; 5] {
    let (held, held_until) = quota.held.unwrap_or((0, 0));
    let exact = packing::exact;
    [exact(quota.amount), exact(quota.most), quota.until as f64, exact(held), held_until as f64]
}

fn together(observation: Observation, counted: Counted, charge: &Charge) -> Observation {
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
    let number = |chunk: &[u8]| chunk.try_into().map(f64::from_le_bytes).unwrap_or(f64::NAN);
    let numbers: Vec<f64> = bytes.chunks_exact(8).map(number).collect();
    let [refused, retry, rest @ ..] = numbers.as_slice() else { return Err(unreadable("counters")) };
    let moment = |at: f64| (at >= 0.0).then_some(at as Millis);
    let refusal =
        (*refused >= 1.0).then(|| QuotaRefusal { index: *refused as usize - 1, retry_at: moment(*retry) });
    let count = |pair: &[f64]| QuotaCount { used: pair[0].max(0.0) as u64, resets_at: moment(pair[1]) };
    Ok(Counted { refusal, counts: rest.chunks_exact(2).map(count).collect() })
}

fn read_leases(reply: &Value) -> Result<Vec<Lease>, StoreError> {
    let Value::Array(items) = reply else { return Err(unreadable("reservations")) };
    let read = |item: &Value| {
        let Value::BulkString(bytes) = item else { return None };
        let (charged_at, content) = bytes.split_first_chunk::<8>()?;
        let lease: Lease = serde_json::from_slice(content).ok()?;
        Some(Lease { charged_at: f64::from_le_bytes(*charged_at) as Millis, ..lease })
    };
    items.iter().map(|item| read(item).ok_or_else(|| unreadable("a reservation"))).collect()
}
