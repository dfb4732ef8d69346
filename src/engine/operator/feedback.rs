//! An analyst's word about an event: what it does, and how the log keeps it so that `replay` can do it again.

use std::sync::Arc;

use super::bans::{detector, lifted};
use crate::{
    domain::{
        HOUR, Millis,
        actor::Actor,
        address,
        event::{BanLifted, Event, EventType, FeedbackGiven, RequestFeatures, Verdict},
        finding::{AnomalyKind, Severity},
        ladder,
        place::{Coordinates, PlaceSummary},
        profile::{Cell, Part, Profile, Sample},
        record::Outcome,
        standing::{Origin, Standing, StandingDetail, StandingState},
        subject::Subject,
    },
    engine::{events, in_force::InForce, profiles::ProfileBook, shared::Shared, standings::Standings},
    geo::Geo,
    store::{EventQuery, StandingRecord, StoreError},
};

/// Verdicts on one subject among which the same one is looked for.
const EARLIER: usize = 100;

/// What analysts say about events.
pub struct Feedback {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    standings: Arc<Standings>,
    profiles: Arc<ProfileBook>,
    geo: Arc<Geo>,
}

impl Feedback {
    /// What is called benign is lifted in `standings`, and taught to `profiles`.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        standings: Arc<Standings>,
        profiles: Arc<ProfileBook>,
        geo: Arc<Geo>,
    ) -> Self {
        Self { shared, in_force, standings, profiles, geo }
    }

    /// An analyst's word about an event; `None` when there is no such event. Each change of mind is in the log; the
    /// last word again changes nothing.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn give(
        &self,
        event_id: &str,
        verdict: Verdict,
        note: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<Option<Event>, StoreError> {
        self.shared.answering()?;
        let Some(event) = self.shared.store.event(event_id).await? else { return Ok(None) };
        let feedback = FeedbackGiven::new(event.clone(), verdict, note, by);
        if self.is_last_word(&feedback).await? {
            return Ok(Some(event));
        }
        self.carry_out(&feedback, now).await?;
        // Last, so that a verdict that could not be carried out can be given again.
        let (kind, subject) = (EventType::FeedbackGiven, event.subject.as_ref());
        let logged = events::operator(now, kind, Severity::Low, subject).with(&feedback);
        self.shared.store.append(&[logged]).await?;
        self.shared.metrics.events_written.increment(1);
        Ok(Some(event))
    }

    async fn is_last_word(&self, feedback: &FeedbackGiven) -> Result<bool, StoreError> {
        let query = EventQuery {
            kind: Some(EventType::FeedbackGiven),
            subject: feedback.judged.subject.clone(),
            limit: EARLIER,
            ..EventQuery::default()
        };
        let words = self.shared.store.events(&query).await?.items;
        let mut words = words.iter().filter_map(Event::read::<FeedbackGiven>);
        let last = words.find(|word| word.event == feedback.event);
        Ok(last.is_some_and(|word| word.verdict == feedback.verdict))
    }

    /// Does what a verdict says, without a word in the log. A benign one lifts the ban or throttle that the event led
    /// to, undoes its strike, teaches the profile, and leaves the detector alone for the policy's grace period; one
    /// about an attack changes nothing. Where nothing was ever held against the subject, or what is in force has
    /// another reason (an operator's ban always has), there is nothing to lift and the profile learns all the same.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn carry_out(&self, feedback: &FeedbackGiven, now: Millis) -> Result<(), StoreError> {
        let (Verdict::Benign, Some(subject)) = (feedback.verdict, &feedback.judged.subject) else {
            return Ok(());
        };
        let policy = self.in_force.policy();
        let note =
            if feedback.note.is_empty() { "benign by an analyst's word" } else { feedback.note.as_str() };
        self.standings
            .change(subject, note, now, |current| {
                let in_force = current.standing.state_at(now) != StandingState::Clear;
                if current.standing.version == 0 || in_force && !led_to(&feedback.judged, current) {
                    return None;
                }
                let fired = detector(&current.detail).or_else(|| kind_of(&feedback.judged));
                let lifted_standing = ladder::lift(&current.standing, fired, &policy.policy.ladder, now);
                let strikes = (current.standing.strikes - 1.0).max(0.0);
                let bans = current.standing.bans.saturating_sub(1);
                let undone = u32::from(current.standing.unenforced);
                let unenforced_bans = current.standing.unenforced_bans.saturating_sub(undone).min(bans);
                let unenforced_strikes =
                    (current.standing.unenforced_strikes - f64::from(undone)).clamp(0.0, strikes);
                let details = BanLifted {
                    reason: note.to_owned(),
                    verdict: Some(Verdict::Benign),
                    event: Some(feedback.event.clone()),
                    by: feedback.by.clone(),
                };
                let logged = lifted(subject, &details, now);
                let standing =
                    Standing { strikes, bans, unenforced_strikes, unenforced_bans, ..lifted_standing };
                Some((standing, logged))
            })
            .await?;
        self.teach(&feedback.judged, now).await
    }

    /// What an analyst calls benign is learned: the place of the event, the way there, and what was called. The part of
    /// the key's traffic that the event accused is cleared.
    async fn teach(&self, event: &Event, now: Millis) -> Result<(), StoreError> {
        let source = event.source_ip.as_deref().and_then(|ip| address::parse(ip).ok());
        let (Some(key_id), Some(source)) = (&event.key_id, source) else { return Ok(()) };
        let RequestFeatures { client, endpoint, model, previous, client_of_part } = event.evidence.features();
        let place = self.geo.place_core(source);
        let sample = Sample {
            // As if it had been in use for long enough to be vouched for.
            now: event.time.min(now - 2 * HOUR),
            place: Some(&place),
            came_from: previous.as_ref().and_then(cell),
            client,
            endpoint: endpoint.unwrap_or_default(),
            model,
            tokens: 0,
            fresh_tokens: 0,
            cost_nanos: 0,
            outcome: Outcome::Success,
            peaks: (0, 0),
        };
        let mut delta = Profile::default();
        delta.learn_features(&sample);
        // Only the part that the event is about: whoever else uses the key is not vouched for.
        if let Some(client) = client_of_part.or(client) {
            delta.later.parts.clear_part(Part::of(client, &place), event.time, now);
        }
        self.profiles.add(&*self.shared.store, &Subject::key(key_id), &delta).await
    }
}

/// Whether an event is what led to the standing in force, or tells of it. An operator's ban is only contested by the
/// event that tells of it.
fn led_to(event: &Event, current: &StandingRecord) -> bool {
    let by_detector = current.standing.origin == Origin::Detector;
    let same_request = current.detail.request_id.is_some() && current.detail.request_id == event.request_id;
    let same_detector = detector(&current.detail).is_some_and(|fired| kind_of(event) == Some(fired));
    match event.kind {
        EventType::Anomaly(_) => by_detector && (same_request || same_detector),
        EventType::TemporaryBan | EventType::PermanentBan => {
            by_detector || event.time >= current.standing.since
        }
        _ => by_detector,
    }
}

/// The grid cell of a place as evidence shows it.
fn cell(place: &PlaceSummary) -> Option<Cell> {
    let (latitude, longitude) = (place.latitude?, place.longitude?);
    Some(Cell::of(&Coordinates { latitude, longitude, radius_km: 0 }))
}

fn kind_of(event: &Event) -> Option<AnomalyKind> {
    match event.kind {
        EventType::Anomaly(kind) => Some(kind),
        _ => detector(&StandingDetail { detector: event.detector.clone(), ..StandingDetail::default() }),
    }
}
