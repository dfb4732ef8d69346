//! Whether a request that is being made must stop: what was decided about its key, address or project meanwhile.

use super::decider::Decider;
use crate::{
    domain::{Millis, decision::Reason, record::Record, registry::NotAllowed},
    engine::bans,
};

impl Decider {
    /// Why a request that was admitted may not go on; `None` while it may. Asks nobody, counts nothing, tells nobody.
    pub(in crate::engine) fn stops(&self, record: &Record, now: Millis) -> Option<Reason> {
        let active = self.in_force.policy();
        if active.observes() {
            return None;
        }
        let banned = self.quiet_ban_on(record, &active, now).map(|(subject, _)| bans::reason(&subject));
        banned.or_else(|| match self.terms_of(record, &active, now).refusal? {
            NotAllowed::UnknownKey => Some(Reason::UnknownKey),
            _ => Some(Reason::KeyNotAllowed),
        })
    }
}
