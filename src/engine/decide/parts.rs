//! The limit on a part of a key's traffic that is stopped: one more counter, charged with the others in the one trip.

use super::decider::Decider;
use crate::{
    detect::Features,
    domain::{
        Millis,
        place::PlaceCore,
        profile::{Part, PartName},
        record::Record,
        registry::Applied,
    },
    engine::{policy::ActivePolicy, profile_entry::ProfileHandle},
};

impl Decider {
    /// The limit on the part that a request belongs to; `None` where it is not stopped, the allowlist covers the
    /// request, or the key's profile is not at hand.
    pub(super) fn limit_of_part(
        &self,
        record: &Record,
        profile: Option<&ProfileHandle>,
        features: &Features,
        origin: &PlaceCore,
        active: &ActivePolicy,
        now: Millis,
    ) -> Option<Applied> {
        // What is only noted may be the owner on the way: of the keys of ordinary services that move, three in a
        // hundred had requests refused when it was slowed.
        let part = profile?.with(|profile| {
            let parts = &profile.later.parts;
            let part = parts.stops_any(now).then(|| Part::of(&features.client, origin))?;
            parts.is_stopped(part, now).then_some(part)
        })?;
        if active.allowlist.covers(&record.key, record.source_ip, Some(origin), now) {
            return None;
        }
        let name = PartName { client: &features.client, place: origin }.to_string();
        Some(Applied::on_part(&record.key, (part.number(), name.into())))
    }
}
