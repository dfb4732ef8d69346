//! The engine: what every request, every person and the background do, over one store.
//!
//! Three rooms, and what they share at the top. `decide` is the way of one request. `background` is what goes on beside
//! it. `operator` is what people do. `shared` is what all use: the store, the time, whether the store answers, events
//! on their way to the log (`outbox`) and their wording (`events`). Some use the bans in force (`bans`) and all
//! standings (`standings`), profiles at hand (`profiles`), what is in force (`in_force`, `policy`, `documents`), and
//! what is owed to the store (`fallback`). `parts` makes them, and [`Engine`] is the door to the rooms.

mod answer_health;
mod background;
mod bans;
mod breaker;
mod decide;
mod documents;
mod events;
mod fallback;
mod in_force;
mod kept_file;
mod limit_reports;
mod limit_status;
mod metrics;
mod new_subject_limiter;
mod operator;
mod options;
mod outbox;
mod parts;
mod places;
mod policy;
mod profile_entry;
mod profile_queue;
mod profiles;
mod service_events;
mod shared;
mod standings;
#[cfg(test)]
mod tests;
mod upkeep_health;

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use answer_health::AnswerShare;
pub use background::{
    alert_status::AlertStatus,
    event_counts::{EventCounts, EventSummary},
    reservations::Reservations,
    stopped::Stopped,
    usage::Usage,
};
pub use decide::{
    explain::{Climb, Course, Explanation, Learned, RecentPlace},
    reservations::LEASE,
};
pub use operator::{
    Bans, DeadLetters, Feedback, LimitView, Limits, MOST_TOKENS, NewToken, PolicyChanges, RegistryChanges,
    SubjectPage, SubjectQuery, SubjectRow, SubjectView, Subjects, Successions, TokenChange, TokenChanges,
    is_token,
};
pub use options::{DataDirectory, EngineOptions};
pub use places::KnownPlace;
pub use policy::{ActivePolicy, Base};
pub use shared::Health;
pub use standings::Standings;
pub use upkeep_health::UpkeepFailure;

use background::upkeep::Upkeep;
use bans::BanIndex;
use decide::Decider;
use in_force::InForce;
use operator::Operator;
use parts::Parts;
use shared::Shared;

use crate::{
    clock,
    domain::{
        Millis,
        decision::{Decision, Reason},
        event::Event,
        place::{PlaceCore, PlaceSummary},
        profile::Profile,
        record::Record,
        reservation::HoldTerms,
        standing::Standing,
    },
    geo::Geo,
    store::{Document, LogPage, LogPosition, Store, StoreError},
};

/// Answers that are given to no retry any more are forgotten this often.
const FORGET_EVERY: Duration = Duration::from_secs(30);

/// The engine: one per process.
pub struct Engine {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    geo: Arc<Geo>,
    options: EngineOptions,
    bans: Arc<BanIndex>,
    standings: Arc<Standings>,
    usage: Arc<Usage>,
    decider: Decider,
    upkeep: Upkeep,
    operator: Operator,
}

impl Engine {
    /// An engine over a store, with `base` (a policy, or a whole configuration's) in force where the store holds
    /// nothing else. Reads what must be known before the first decision: the policy, the allowlist, the registry and
    /// every ban.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start(
        store: Arc<dyn Store>,
        geo: Arc<Geo>,
        base: impl Into<Base>,
        options: EngineOptions,
    ) -> Result<Arc<Self>, StoreError> {
        let begin = store.log_end().await?;
        let engine = Self::assemble(store, geo, base.into(), options, Some(begin))?;
        engine.shared.follow_clock().await?;
        let known = engine.upkeep.known.read().unwrap_or_default();
        let now = engine.now();
        known.bans.iter().for_each(|(subject, ban)| engine.bans.set(subject, ban, now));
        let bans_known = engine.bans.len();
        engine.upkeep.take_journals().await;
        engine.upkeep.assert_journals().await?;
        let changes = engine.in_force.begin(known.revision, known.documents).await?;
        let lost = engine.standings.reload(now).await?;
        engine.upkeep.known.tell_missing(lost, bans_known, changes, now);
        Ok(engine)
    }

    /// An engine over a store that does not answer yet, which knows what a former run knew: bans in force, policy,
    /// allowlist and registry. `None` where there was none over the same store.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub async fn start_without_store(
        store: Arc<dyn Store>,
        geo: Arc<Geo>,
        base: impl Into<Base>,
        options: EngineOptions,
        why: &StoreError,
    ) -> Result<Option<Arc<Self>>, StoreError> {
        let engine = Self::assemble(store, geo, base.into(), options, None)?;
        let Some(known) = engine.upkeep.known.read() else { return Ok(None) };
        let now = engine.now();
        known.bans.iter().for_each(|(subject, ban)| engine.bans.set(subject, ban, now));
        engine.in_force.restore(known.revision, known.documents);
        engine.upkeep.take_journals().await;
        engine.shared.begin_without_store(why, now);
        Ok(Some(engine))
    }

    fn assemble(
        store: Arc<dyn Store>,
        geo: Arc<Geo>,
        base: Base,
        options: EngineOptions,
        begin: Option<LogPosition>,
    ) -> Result<Arc<Self>, StoreError> {
        let parts = Parts::new(store, geo, base, &options)?;
        let upkeep = parts.upkeep(begin, options.directory.clone());
        let (operator, decider) = (parts.operator(), parts.decider(&options));
        let Parts { shared, in_force, geo, bans, standings, usage, .. } = parts;
        Ok(Arc::new(Self {
            shared,
            in_force,
            geo,
            options,
            bans,
            standings,
            usage,
            decider,
            upkeep,
            operator,
        }))
    }

    /// Decides about finished requests, in order, and learns from them. Waits for the store once if nothing is found.
    pub async fn record(&self, records: &[Record], now: Millis) -> Vec<Decision> {
        self.decider.record(records, now).await
    }

    /// Decides about a request before it is made (its tokens and cost are the estimate). Counts nothing; a refusal is
    /// an event. With `reserve` the estimate is held until the record settles it, or for as long as the settings say.
    pub async fn check(&self, record: &Record, reserve: bool, now: Millis) -> Decision {
        self.decider.check(record, reserve, now).await
    }

    /// The same, and holds the estimate as the terms say.
    pub async fn reserve(&self, record: &Record, terms: HoldTerms, now: Millis) -> Decision {
        self.decider.reserve(record, terms, now).await
    }

    /// Why a request that was admitted may not go on: its key, address or project was banned, or its key may no longer
    /// make it. `None` while it may, and while the policy observes. Answers from memory.
    pub fn stops(&self, record: &Record, now: Millis) -> Option<Reason> {
        self.decider.stops(record, now)
    }

    /// Decides about one finished request as [`Engine::record`] does, and tells what led to it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn explain(&self, record: &Record, now: Millis) -> Result<Explanation, StoreError> {
        self.decider.explain(record, now).await
    }

    /// Runs the background until `shutdown`, then writes what is left, and says what became of it.
    pub async fn upkeep(self: Arc<Self>, shutdown: CancellationToken) -> Stopped {
        tokio::select! {
            stopped = self.upkeep.run(&shutdown) => stopped,
            stopped = self.forget_answers() => stopped,
        }
    }

    /// Forgets answers that are given to no retry any more, for as long as it runs, which has no end of its own.
    async fn forget_answers(&self) -> Stopped {
        let mut ticks = clock::ticks(FORGET_EVERY);
        loop {
            ticks.tick().await;
            self.decider.forget_old_answers(self.now());
        }
    }

    /// The standings of all subjects.
    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Where each alert rule stands, as this instance saw it at its last pass.
    pub fn alerts(&self) -> Vec<AlertStatus> {
        self.upkeep.alerts.list()
    }

    /// How many events there were, by the hour.
    pub fn event_counts(&self) -> &EventCounts {
        &self.upkeep.event_counts
    }

    /// Usage over all instances.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Reservations that are open.
    pub fn reservations(&self) -> &Reservations {
        &self.upkeep.reservations
    }

    /// What people ban and lift.
    pub fn bans(&self) -> &Bans {
        &self.operator.bans
    }

    /// Policy and allowlist, as people change them.
    pub fn policy_changes(&self) -> &PolicyChanges {
        &self.operator.policy
    }

    /// The registry, as people change it.
    pub fn registry_changes(&self) -> &RegistryChanges {
        &self.operator.registry
    }

    /// Keys that take the place of others.
    pub fn successions(&self) -> &Successions {
        &self.operator.successions
    }

    /// What analysts say about events.
    pub fn feedback(&self) -> &Feedback {
        &self.operator.feedback
    }

    /// All that is known of subjects.
    pub fn subjects(&self) -> &Subjects {
        &self.operator.subjects
    }

    /// How the limits of keys and projects stand.
    pub fn limits(&self) -> &Limits {
        &self.operator.limits
    }

    /// What sinks did not take.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.operator.dead_letters
    }

    /// A place with its names.
    pub fn describe(&self, core: &PlaceCore) -> PlaceSummary {
        places::describe(&self.geo, core)
    }

    /// The places that a profile knows, by the networks of which the geo database knows the place today; most requests
    /// first.
    pub fn known_places(&self, profile: &Profile) -> Vec<KnownPlace> {
        places::known_places(&self.geo, profile)
    }

    /// The time that decisions are made by: the machine's clock corrected by its offset to the store's.
    pub fn now(&self) -> Millis {
        self.shared.now()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<ActivePolicy> {
        self.in_force.policy()
    }

    /// Whether a key is registered under this public id.
    pub fn is_registered(&self, key_id: &str) -> bool {
        self.in_force.is_registered(key_id)
    }

    /// Every allowlist entry: its name is the entry, its body `{"reason","expires","created"}`.
    pub fn allowlist(&self) -> Arc<Vec<Document>> {
        self.in_force.allowlist()
    }

    /// Puts another base in force here: what the store holds goes on to lie over it.
    ///
    /// # Errors
    /// When it could not be worked out: the former one is in force then.
    pub async fn set_base(&self, base: impl Into<Base>) -> Result<(), StoreError> {
        self.in_force.set_base(base.into()).await
    }

    /// Tells the log that settings were read again: which of them have changed, and which want a restart to hold.
    pub fn tell_settings_reloaded(&self, changed: Vec<String>, wants_restart: Vec<String>) {
        let event = service_events::settings_reloaded(changed, wants_restart, self.now());
        self.shared.outbox.push_apart(event);
    }

    /// Tells the log that settings were read again and are wrong, so that those before stay in force.
    pub fn tell_reload_failed(&self, mistakes: Vec<String>) {
        self.shared.outbox.push_apart(service_events::reload_failed(mistakes, self.now()));
    }

    /// Every token of the store, now and as they change on any instance (each within about a second): its name is its
    /// id, its body `{"hash","scopes","expires","created"}`; of those that were revoked there may be one with
    /// `{"revoked"}`.
    pub fn stored_tokens(&self) -> watch::Receiver<Arc<Vec<Document>>> {
        self.in_force.tokens()
    }

    /// Tokens of the store, as people make and revoke them.
    pub fn token_changes(&self) -> &TokenChanges {
        &self.operator.tokens
    }

    /// The same store, for what goes on beside the engine.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        self.shared.store.clone()
    }

    /// Puts an event into the log, with the next that are written.
    pub fn tell(&self, event: Event) {
        self.shared.outbox.push(event);
    }

    /// The store, for queries.
    pub fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    /// New events of every instance as they are appended (each within about a second).
    pub fn follow(&self) -> broadcast::Receiver<Arc<Event>> {
        self.upkeep.log.follow()
    }

    /// The page of the log behind a position: oldest first, empty at its end. All that ask from one position share it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn log_page(&self, position: &LogPosition) -> Result<Arc<LogPage>, StoreError> {
        self.upkeep.log.page(position).await
    }

    /// Changes whenever events of any instance came into the log, for those who read it themselves.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.upkeep.log.news()
    }

    /// The ban in force on an address or a network around it, where bans are enforced.
    pub fn ban_of_address(&self, address: IpAddr, now: Millis) -> Option<Standing> {
        if self.policy().observes() { None } else { self.bans.on_address(address, now) }
    }

    /// Whether the store answers.
    pub fn health(&self) -> Health {
        self.shared.health()
    }

    /// The deadline for an answer to a record.
    pub fn deadline(&self) -> Duration {
        self.options.deadline
    }

    /// How many bans this instance holds.
    pub fn bans_held(&self) -> usize {
        self.bans.len()
    }
}
