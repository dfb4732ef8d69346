//! Whom a ban of an address spares: keys that have long succeeded from there. Somebody behind the same address tries
//! made-up keys, and the others who work there must not be locked out by it.
//!
//! Bans by detectors alone spare anybody: a person who bans an address means all of it.

use quick_cache::sync::Cache;

use super::{frame::Frame, prepare::Purpose};
use crate::{
    detect,
    domain::{Millis, place::Prefix, profile::Profile, record::Record, standing::Standing, subject::Subject},
    engine::{ActivePolicy, Engine, profiles::ProfileHandle, standings::can_spare},
};

/// Most keys remembered as logged: that a ban spares them.
const REMEMBERED: usize = 10_000;

/// The keys of which the log has that a ban of an address spares them: by address, version of its standing, and key.
#[derive(Debug)]
pub(in crate::engine) struct Spared(Cache<(Subject, u64, Subject), ()>);

impl Default for Spared {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

impl Engine {
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
            if !profile.is_empty() {
                self.profiles.put(&subject, profile);
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
            && self.spared_lookups.take(&record.address, now)
    }

    fn report_spared(
        &self,
        record: &Record,
        (address, ban): (&Subject, &Standing),
        active: &ActivePolicy,
        purpose: Purpose,
        now: Millis,
    ) {
        let case = (address.clone(), ban.version, record.key.clone());
        if self.spared.0.get(&case).is_some() || !self.shared.outbox.is_open() {
            return;
        }
        self.spared.0.insert(case, ());
        let place = self.geo.lookup(record.source_ip);
        let frame = Frame::new(record, place.as_deref(), active, purpose, now);
        self.shared.outbox.push_apart(frame.spared(address, ban));
    }
}

fn spares(ban: &Standing, address: &Subject, record: &Record, profile: Option<ProfileHandle>) -> bool {
    let past = |profile: &Profile| detect::has_a_past_from(profile, Prefix::of(record.source_ip), ban.since);
    can_spare(ban, address) && profile.is_some_and(|profile| profile.with(past))
}
