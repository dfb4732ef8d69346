//! A charge on a cluster whose counters are in several slots.
//!
//! A script reaches one slot. So counters elsewhere are charged first, for a moment: an amount that is not confirmed
//! ends by itself. Then the subject's own are charged, and the others are confirmed or given back.

use super::RedisStore;
use crate::{
    domain::{
        Millis, SECOND,
        observation::{Charge, ChargeMode, Observation},
        quota::{QuotaChange, QuotaCharge, QuotaCount, QuotaRefusal},
    },
    store::{CounterStore, StoreError},
};

/// A charge of a counter in another slot that is not confirmed by then, in milliseconds, is no more.
const UNCONFIRMED: Millis = 5 * SECOND;

/// A counter in another slot, and what it answered.
struct Away {
    /// Which of the charge's counters it is.
    index: usize,
    /// Until when the amount counts if it is not confirmed.
    until: Millis,
    count: QuotaCount,
    refusal: Option<QuotaRefusal>,
}

impl RedisStore {
    /// Whether a charge needs more than one script.
    pub(super) fn is_spread(&self, charge: &Charge) -> bool {
        let home = self.keys.partition(Some(&charge.subject));
        self.cluster && charge.quotas.iter().any(|quota| self.partition_of(&quota.counter.scope) != home)
    }

    /// One charge whose counters are in several slots.
    pub(super) async fn observe_spread(&self, charge: &Charge) -> Result<Observation, StoreError> {
        let home = self.keys.partition(Some(&charge.subject));
        let is_here = |index: &usize| self.partition_of(&charge.quotas[*index].counter.scope) == home;
        let (here, away): (Vec<usize>, Vec<usize>) = (0..charge.quotas.len()).partition(is_here);
        let away = self.charge_away(charge, &away).await?;
        let refusal = away.iter().find_map(|away| away.refusal);
        let own = here.iter().map(|index| charge.quotas[*index].clone()).collect();
        let mode = if refusal.is_some() { ChargeMode::Peek } else { charge.mode };
        let local = Charge { quotas: own, mode, ..charge.clone() };
        let reply = self.link.call(self.quota_call(&local)?).await;
        let observed = reply.and_then(|reply| self.read_quota(&reply, &local));
        if charge.mode == ChargeMode::Admit {
            let admitted = refusal.is_none() && observed.as_ref().is_ok_and(|observed| observed.admitted);
            self.settle_away(charge, &away, admitted).await?;
        }
        Ok(with_away(observed?, charge, &here, &away))
    }

    /// Charges the counters in other slots: for a moment, where the charge may still be refused here.
    async fn charge_away(&self, charge: &Charge, indices: &[usize]) -> Result<Vec<Away>, StoreError> {
        let passing = |index: &usize| {
            let quota = &charge.quotas[*index];
            let unconfirmed = quota.until.min(charge.now + UNCONFIRMED);
            let until = if charge.mode == ChargeMode::Admit { unconfirmed } else { quota.until };
            QuotaCharge { until, ..quota.clone() }
        };
        let first: Vec<QuotaCharge> = indices.iter().map(passing).collect();
        let (asked, changes) = (charge.mode != ChargeMode::Force, charge.mode != ChargeMode::Peek);
        let counted = self.count(&first, charge.now, asked, changes).await?;
        let answered = indices.iter().zip(&first).zip(counted);
        let away = answered.map(|((index, first), (count, refusal))| {
            let refusal = refusal.map(|refusal| QuotaRefusal { index: indices[refusal.index], ..refusal });
            Away { index: *index, until: first.until, count, refusal }
        });
        Ok(away.collect())
    }

    /// Confirms what was charged elsewhere for a moment, or takes it back.
    async fn settle_away(&self, charge: &Charge, away: &[Away], admitted: bool) -> Result<(), StoreError> {
        let charged = away.iter().filter(|away| away.refusal.is_none());
        let changes = charged.map(|away| {
            let quota = &charge.quotas[away.index];
            let add = if admitted { Some((quota.amount, quota.until)) } else { quota.held };
            QuotaChange { counter: quota.counter.clone(), back: Some((quota.amount, away.until)), add }
        });
        self.change_quotas(&changes.collect::<Vec<_>>(), charge.now).await
    }
}

/// What was observed here, with what was counted elsewhere.
fn with_away(observed: Observation, charge: &Charge, here: &[usize], away: &[Away]) -> Observation {
    let refusal = away.iter().find_map(|away| away.refusal);
    let own = observed.quota_refusal.map(|refusal| QuotaRefusal { index: here[refusal.index], ..refusal });
    let mut quotas = vec![QuotaCount::default(); charge.quotas.len()];
    for (index, count) in here.iter().zip(&observed.quotas) {
        quotas[*index] = *count;
    }
    for away in away {
        quotas[away.index] = away.count;
    }
    Observation {
        admitted: observed.admitted && refusal.is_none(),
        quota_refusal: refusal.or(own),
        quotas,
        ..observed
    }
}
