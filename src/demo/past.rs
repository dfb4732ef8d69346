//! The days before the play: everybody's history through the production engine, at its own time, into the store.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Cast, end_of_past};
use crate::{
    domain::{Millis, policy::Policy, record::Record},
    engine::{Engine, EngineOptions, LEASE},
    geo::Geo,
    intake::{InputError, Intake, Peppers, WireRecord, parse},
    pricing::{PriceError, Prices},
    store::{Store, StoreError},
};

/// Keys have public names in the demo, so that nothing is ever hashed under this.
pub(super) const NO_PEPPER: &str = "k1:the demo hashes no key";

/// Why the past could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A generated record that the service would refuse.
    #[error("a generated record is none: {0}")]
    Record(#[from] InputError),
    /// A generated record could not be written.
    #[error("a generated record cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// The prices cannot be used.
    #[error("{0}")]
    Prices(#[from] PriceError),
    /// The pepper is not one.
    #[error("{0}")]
    Pepper(#[from] crate::intake::PepperError),
}

/// What was learned of the keys' past before the play begins.
#[derive(Debug, Default)]
pub struct Past {
    /// How many requests were learned.
    pub requests: usize,
    /// Keys that were refused in their own, rightful past. They still bear its marks and are no longer like the others.
    pub suspects: BTreeSet<Arc<str>>,
}

/// Plays the past of a cast into a store and closes it; `prices`: the price list, without one the built-in one.
///
/// # Errors
/// When the store does not take it.
pub async fn teach(
    cast: &Cast,
    now: Millis,
    store: Arc<dyn Store>,
    geo: Arc<Geo>,
    policy: Policy,
    prices: Option<&Path>,
) -> Result<Past, PastError> {
    let engine = Engine::start(store, geo, policy, options()).await?;
    let mut past = Past::default();
    for (time, record) in records(cast, now, prices)? {
        past.requests += 1;
        let decisions = engine.record(std::slice::from_ref(&record), time).await;
        if decisions.iter().any(|decision| !decision.allowed) {
            past.suspects.insert(record.key_id.clone());
        }
    }
    // Upkeep that is told to end at once writes what is in memory and closes the store.
    let over = CancellationToken::new();
    over.cancel();
    let _stored = engine.upkeep(over).await;
    Ok(past)
}

/// Everybody's requests before now, in order of time.
fn records(cast: &Cast, now: Millis, prices: Option<&Path>) -> Result<Vec<(Millis, Record)>, PastError> {
    let intake = Intake::replay(Peppers::parse(NO_PEPPER)?, Arc::new(Prices::open(prices)?));
    let requests = cast.players.iter().flat_map(|player| &player.life.records);
    let mut before: Vec<_> = requests.filter(|request| request.timestamp < end_of_past(now)).collect();
    before.sort_by_key(|request| request.timestamp);
    let read = |(request, id): (&crate::simulate::WireRecord, u64)| {
        let request = crate::simulate::WireRecord { request_id: id, ..request.clone() };
        let wire = parse::<WireRecord>(&serde_json::to_vec(&request)?)?;
        Ok((request.timestamp, intake.record(wire, request.timestamp)?))
    };
    before.into_iter().zip(1..).map(read).collect()
}

pub(super) fn options() -> EngineOptions {
    EngineOptions {
        deadline: Duration::from_secs(3600),
        idempotency_capacity: 1,
        retry_span: crate::domain::record::RETRY_SPAN,
        shares_store: false,
        profile_capacity: 10_000,
        new_subjects_per_minute: u32::MAX,
        new_subjects_per_minute_per_address: u32::MAX,
        fold_seconds: 60,
        // What happened before the curtain rose is no news.
        event_buffer: 0,
        flushes: true,
        usage_series: 0,
        usage_by_user: false,
        lease: LEASE,
        directory: None,
    }
}
