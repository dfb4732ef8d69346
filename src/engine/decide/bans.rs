//! The ban that refuses a request, and whom it spares.

use super::{decider::Decider, frame::Frame, spared::spares, stages::Purpose};
use crate::{
    domain::{Millis, record::Record, standing::Standing, subject::Subject},
    engine::{policy::ActivePolicy, profile_entry::ProfileHandle, standings::can_spare},
};

impl Decider {
    /// The ban that refuses a request. Tells of a key that a ban of its address spares, once per ban.
    pub(super) fn ban_on(
        &self,
        record: &Record,
        active: &ActivePolicy,
        purpose: Purpose,
        now: Millis,
    ) -> Option<(Subject, Standing)> {
        let profile = || self.profiles.get(&record.key);
        self.bans.find(record, now, active.observes(), |address, ban| {
            let spared = spares(ban, address, record, profile());
            if spared {
                self.report_spared(record, (address, ban), active, purpose, now);
            }
            spared
        })
    }

    /// The ban that refuses a request, without an event.
    pub(super) fn quiet_ban_on(
        &self,
        record: &Record,
        active: &ActivePolicy,
        now: Millis,
    ) -> Option<(Subject, Standing)> {
        let profile = || self.profiles.get(&record.key);
        self.bans.find(record, now, active.observes(), |address, ban| spares(ban, address, record, profile()))
    }

    /// Brings the profile of a key at hand that a ban of its address may spare: a check asks for it first, since what
    /// it would charge cannot be charged and refused.
    pub(super) async fn load_spared(&self, record: &Record, active: &ActivePolicy, now: Millis) {
        if !self.may_be_spared(record, active, now) {
            return;
        }
        for (subject, profile) in self.load_profiles(std::slice::from_ref(&record.key)).await {
            if profile.as_ref().is_some_and(|stored| !stored.profile.is_empty()) {
                self.profiles.put(&subject, ProfileHandle::stored(profile));
            }
        }
    }

    /// Whether only the key's profile, which is not at hand, can say if a ban of its address spares it: then it is
    /// asked for, with the trip of a record. So many new ones per minute and address: a flood of made-up keys asks the
    /// store no more often.
    pub(super) fn may_be_spared(&self, record: &Record, active: &ActivePolicy, now: Millis) -> bool {
        let found = self.bans.find(record, now, active.observes(), |_, _| false);
        let by_address = found.is_some_and(|(subject, ban)| can_spare(&ban, &subject));
        by_address
            && self.profiles.get(&record.key).is_none()
            && self.remembers.spared_lookups.take(&record.address, now)
    }

    fn report_spared(
        &self,
        record: &Record,
        (address, ban): (&Subject, &Standing),
        active: &ActivePolicy,
        purpose: Purpose,
        now: Millis,
    ) {
        if !self.shared.outbox.is_open() || !self.remembers.spared.is_news(address, ban, &record.key) {
            return;
        }
        let place = self.geo.lookup(record.source_ip);
        let frame = Frame::new(record, place.as_deref(), active, purpose, now);
        self.shared.outbox.push_apart(frame.spared(address, ban));
    }
}
