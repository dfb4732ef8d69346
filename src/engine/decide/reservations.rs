//! Reservations on the way of a request: made by a check, settled by a record.

use uuid::Uuid;

use super::{decider::Decider, stages::Observed};
use crate::{
    clock,
    domain::{
        MINUTE, Millis, SECOND,
        counter::{CounterChange, CounterCharge},
        decision::{Reserved, Settlement},
        observation::Charge,
        record::Record,
        reservation::{EstimatedUsage, HeldAmount, Reservation, ReservationId, Settles, Stage},
        usage::Totals,
    },
};

/// How long an estimate is held where nothing else is set.
pub const LEASE: Millis = MINUTE;

/// Makes a charge one that holds its estimate until `until`, and the reservation of it: where it would count for
/// longer, it counts as long as that, unless the request has left for the provider.
pub(super) fn reserve(charge: &mut Charge, record: &Record, dispatched: bool, until: Millis) -> Reservation {
    let stage = if dispatched { Stage::Dispatched } else { Stage::Held };
    let id = ReservationId::new(&record.key, Uuid::now_v7().as_u128());
    let reservation = of_charge(charge, record, &id, until).at(stage, until);
    let counters = charge.counters.iter_mut().filter(|counter| counter.block.is_none());
    for (counter, held) in counters.zip(&reservation.counters) {
        counter.until = held.until;
    }
    reservation
}

/// What makes a request that is counted when it is seen on its way one that its record completes.
pub(super) fn observation(charge: &Charge, record: &Record, until: Millis) -> Reservation {
    let id = ReservationId::of_observation(&record.key, &record.request_id);
    of_charge(charge, record, &id, until).at(Stage::Observed, until)
}

/// What a record completes, if its request was seen on its way: found by key and id.
pub(super) fn completes(record: &Record) -> Option<Settles> {
    let may = record.request_id_given
        && record.reservation_id.is_none()
        && !(record.observes || record.admit || record.refused_by_keyward);
    let id = || ReservationId::of_observation(&record.key, &record.request_id).as_str().into();
    may.then(|| Settles { id: id(), keeps_estimate: false })
}

/// The reservation of all that a charge charges.
fn of_charge(charge: &Charge, record: &Record, id: &ReservationId, until: Millis) -> Reservation {
    let counters = charge.counters.iter().filter(|counter| counter.block.is_none());
    let held = counters.map(|counter| HeldAmount {
        scope: counter.counter.scope.as_str().into(),
        id: counter.counter.id,
        amount: counter.amount,
        until: counter.until,
        counts_until: counter.until,
    });
    Reservation {
        id: id.as_str().into(),
        key: record.key_id.clone(),
        charged_at: charge.now,
        stage: Stage::Held,
        counts: charge.counts,
        cost_nanos: record.cost().nanos,
        counters: held.collect(),
        until,
        usage: estimated_usage(record),
    }
}

/// What usage counts of a record's estimate, should it be charged.
fn estimated_usage(record: &Record) -> EstimatedUsage {
    let totals = Totals::of(record, false);
    EstimatedUsage {
        project: record.project.as_ref().map(|project| project.id().into()),
        model: record.counted_model().cloned(),
        input_tokens: totals.input_tokens,
        output_tokens: totals.output_tokens,
    }
}

/// Whether a reservation's id is one that was made for the key of a record.
pub(super) fn is_of(id: &str, record: &Record) -> bool {
    ReservationId::parse(id).is_some_and(|id| id.is_of(&record.key))
}

/// What takes charges of counters back.
pub(super) fn back(charges: &[CounterCharge]) -> impl Iterator<Item = CounterChange> {
    charges.iter().map(|charge| CounterChange {
        counter: charge.counter.clone(),
        back: Some((charge.amount, charge.until)),
        add: None,
    })
}

/// What has an estimate of a subject without windows end with its lease: there is no reservation of it that anybody
/// could settle or end.
pub(super) fn without_windows(charge: &Charge) -> impl Iterator<Item = CounterChange> + '_ {
    let reservation = charge.reserves().filter(|reservation| reservation.stage == Stage::Dispatched);
    let held = reservation.map(|held| held.clone().at(Stage::Held, held.until));
    let moves = |held: Reservation| held.moves_from(reservation.unwrap_or(&held)).collect::<Vec<_>>();
    held.map(moves).into_iter().flatten()
}

impl Observed<'_> {
    /// The reservation whose estimate is charged as used, because the record does not say what was.
    pub(super) fn kept_estimate(&self) -> Option<&Reservation> {
        self.key.kept(&self.charge)
    }

    /// Whether the record completes a request that was counted when it was seen on its way.
    pub(super) fn completes(&self) -> bool {
        self.key.completes()
    }

    /// What became of the reservation that the record names; `None` when it names none, or the store did not say.
    pub(super) fn settlement(&self) -> Option<Settlement> {
        self.known.record.reservation_id.as_ref()?;
        match (self.charge.settles(), &self.key.settled) {
            _ if self.degraded => None,
            (None, _) => Some(Settlement::Unknown),
            (Some(_), Some(was)) if was.is_charged(self.key.now) => Some(Settlement::Corrected),
            (Some(_), Some(_)) => Some(Settlement::Settled),
            (Some(_), None) if self.key.lapsed => Some(Settlement::Expired),
            (Some(_), None) => Some(Settlement::Unknown),
        }
    }

    /// What is held for the caller.
    pub(super) fn reserved(&self) -> Option<Reserved> {
        let is_held = self.key.admitted && self.key.tracked && !self.degraded;
        let reservation = self.charge.reserves().filter(|_| is_held)?;
        let seconds = (reservation.until - self.charge.now).max(0) / SECOND;
        Some(Reserved { id: reservation.id.clone(), lease_seconds: seconds.unsigned_abs() })
    }
}

impl Decider {
    /// Takes back what an admission that is refused after all charged to counters.
    pub(super) async fn give_counters_back(&self, observed: &Observed<'_>) {
        let changes: Vec<CounterChange> = back(&observed.charge.counters).collect();
        self.change_counters(&changes, observed.key.now).await;
    }

    pub(in crate::engine) async fn change_counters(&self, changes: &[CounterChange], now: Millis) {
        if changes.is_empty() || !self.shared.is_answering() {
            return;
        }
        let changed = clock::timeout(self.patience(1), self.shared.store.change_counters(changes, now)).await;
        if let Ok(Err(error)) = changed {
            self.shared.store_failed(&error, now);
        }
    }
}
