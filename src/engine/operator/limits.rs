//! How the limits of one key or project stand, for people.

use std::sync::Arc;

use crate::{
    domain::{
        Millis,
        counter::{Counter, CounterCount},
        decision::LimitStatus,
        limit::Span,
        observation::Observation,
        registry::Applied,
        reservation::Reservation,
        subject::{Subject, SubjectKind},
    },
    engine::{
        in_force::InForce,
        limit_status::{of_counter, of_windows},
        shared::Shared,
    },
    store::StoreError,
};

/// Most open reservations that are added up, over all keys.
const MOST_ADDED_UP: usize = 1_000;

/// How one limit stands.
#[derive(Debug)]
pub struct LimitView {
    /// What it allows, and what is used of it.
    pub status: LimitStatus,
    /// The part of `used` that open reservations hold, in the unit of the limit; `None`: there are too many to add up.
    pub held: Option<u64>,
    /// Until when it refuses everything, because it was exceeded.
    pub blocked_until: Option<Millis>,
}

/// The limits of keys and projects.
pub struct Limits {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
}

impl Limits {
    /// Limits that are in force, with what the store counts.
    pub(in crate::engine) fn new(shared: Arc<Shared>, in_force: Arc<InForce>) -> Self {
        Self { shared, in_force }
    }

    /// Every limit that requests of a key or of a project are held to, whatever their model: of a key its windows
    /// first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn of(&self, subject: &Subject, now: Millis) -> Result<Vec<LimitView>, StoreError> {
        self.shared.answering()?;
        let active = self.in_force.policy();
        let limits = active.registry.limits_on(subject);
        let counters: Vec<Counter> = limits
            .iter()
            .flat_map(|limit| [limit.counter.clone(), limit.counter.of_block(limit.most)])
            .collect();
        let store = &self.shared.store;
        let (windows, counts, held) = tokio::try_join!(
            store.inspect(subject, now),
            store.counters(&counters, now),
            store.reservations(MOST_ADDED_UP + 1),
        )?;
        let held = (held.len() <= MOST_ADDED_UP).then(|| open(held, now));
        let held = held.as_deref();
        let mut views = Vec::new();
        if subject.kind() == SubjectKind::Key {
            let seen = windows.unwrap_or_else(|| Observation::empty(now));
            let seen = Observation { standing: seen.standing.counting(active.observes()), ..seen };
            let of_key = of_windows(&seen, &active.limits).into_iter();
            views.extend(of_key.map(|status| LimitView {
                held: held.map(|held| held_by_window(held, subject, &status, now)),
                status,
                blocked_until: None,
            }));
        }
        let (counts, _) = counts.as_chunks::<2>();
        views.extend(limits.iter().zip(counts).map(|(limit, counts)| of_limit(limit, *counts, held, now)));
        Ok(views)
    }
}

fn of_limit(
    limit: &Applied,
    [count, block]: [CounterCount; 2],
    held: Option<&[Reservation]>,
    now: Millis,
) -> LimitView {
    let blocks = limit.block(now).is_some();
    LimitView {
        status: of_counter(limit, count, now),
        held: held.map(|held| held_by_counter(held, &limit.counter, now)),
        blocked_until: block.resets_at.filter(|_| blocks),
    }
}

fn open(reservations: Vec<Reservation>, now: Millis) -> Vec<Reservation> {
    reservations.into_iter().filter(|held| held.stage.is_open() && held.until > now).collect()
}

/// What a window holds of a key's reservations: of those whose charge is still in it.
fn held_by_window(held: &[Reservation], key: &Subject, status: &LimitStatus, now: Millis) -> u64 {
    let Span::Sliding(length) = status.window else { return 0 };
    let counts = |one: &&Reservation| one.subject() == *key && one.charged_at + length > now;
    held.iter().filter(counts).map(|one| one.counts.of(status.unit)).fold(0, u64::saturating_add)
}

fn held_by_counter(held: &[Reservation], counter: &Counter, now: Millis) -> u64 {
    let amounts = held.iter().flat_map(|reservation| &reservation.counters);
    let there = amounts.filter(|amount| {
        amount.id == counter.id && *amount.scope == *counter.scope.as_str() && amount.until > now
    });
    there.map(|amount| amount.amount).fold(0, u64::saturating_add)
}
