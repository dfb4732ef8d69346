//! What the profiles of a key and of its project take of an admitted request.

use super::{decider::Decider, stages::Observed};
use crate::{
    domain::{
        HOUR,
        finding::Finding,
        observation::Observation,
        place::PlaceCore,
        profile::{Cell, PartSighting, Sample},
        window::{FIVE_MINUTES, ONE_MINUTE},
    },
    engine::policy::ActivePolicy,
};

impl Decider {
    /// Tells the profile of a request, and says whether it was flagged: then it taught nothing.
    pub(super) fn learn(
        &self,
        observed: &Observed<'_>,
        active: &ActivePolicy,
        findings: &[Finding],
        sighting: Option<&PartSighting>,
    ) -> bool {
        let record = observed.known.record;
        let core = observed
            .known
            .place
            .as_ref()
            .map(|p| p.core.precise(active.policy.detectors.impossible_travel.max_radius_km));
        let sample = Sample {
            now: observed.key.now,
            place: core.as_ref(),
            came_from: came_from(&observed.key),
            client: Some(&observed.known.features.client),
            endpoint: &observed.known.features.endpoint,
            model: record.model.as_deref(),
            tokens: record.tokens,
            fresh_tokens: record.fresh_tokens(),
            cost_nanos: record.cost().nanos,
            outcome: record.outcome(),
            peaks: (observed.key.counts[ONE_MINUTE].requests, observed.key.counts[FIVE_MINUTES].requests),
        };
        // What is stopped must not become the norm by what passes of it.
        let stopped = sighting.is_some_and(|sighting| sighting.is_stopped);
        let flagged = stopped || findings.iter().any(Finding::bars_learning);
        if flagged {
            self.profiles.count_flagged(&record.key, &observed.profile, &sample, findings, sighting);
        } else {
            let project = record.project.as_ref().zip(observed.prior.as_ref());
            let key = (&record.key, &observed.profile, sighting);
            let project = project.map(|(project, prior)| (project, prior, None));
            for (subject, profile, sighting) in [key].into_iter().chain(project) {
                if observed.completes() {
                    self.profiles.complete(subject, profile, &sample);
                } else {
                    self.profiles.learn(subject, profile, &sample, sighting);
                }
            }
        }
        flagged
    }
}

/// The cell the key was in last, within an hour.
fn came_from(key: &Observation) -> Option<Cell> {
    let recent = key.peers.first().filter(|seen| key.now - seen.last_seen <= HOUR)?;
    PlaceCore::unpack(&recent.peer.data).coordinates.as_ref().map(Cell::of)
}
