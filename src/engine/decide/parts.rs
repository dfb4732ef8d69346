//! The limit on a part of a key's traffic that is held back: one more counter, charged with the others in the one trip.

use super::decider::Decider;
use crate::{
    detect::{self, Features},
    domain::{
        Millis,
        place::PlaceCore,
        profile::{Held, Part, PartName},
        record::Record,
        registry::Applied,
    },
    engine::{policy::ActivePolicy, profiles::ProfileHandle},
};

impl Decider {
    /// The limit on the part that a request belongs to; `None` where it is not held back, the allowlist covers the
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
        let (part, most) = profile?.with(|profile| {
            if !profile.later.parts.holds_any(now) {
                return None;
            }
            let part = Part::of(&features.client, origin);
            // What is only slowed may be the owner on the way: of the keys of ordinary services that move, three in a
            // hundred had requests refused by it. So it is noted, and only what is stopped is refused.
            let is_stopped = profile.later.parts.held(part, now) == Some(Held::Stopped);
            Some((part, detect::most_an_hour(profile, part, now).filter(|_| is_stopped)?))
        })?;
        if active.allowlist.covers(&record.key, record.source_ip, Some(origin), now) {
            return None;
        }
        let name = PartName { client: &features.client, place: origin }.to_string();
        Some(Applied::on_part(&record.key, (part.number(), name.into()), most))
    }
}
