//! Whom a ban of an address spares: keys that have long succeeded from there. Somebody behind the same address tries
//! made-up keys, and the others who work there must not be locked out by it.
//!
//! Bans by detectors alone spare anybody: a person who bans an address means all of it.

use quick_cache::sync::Cache;

use crate::{
    detect,
    domain::{place::Prefix, profile::Profile, record::Record, standing::Standing, subject::Subject},
    engine::{profile_entry::ProfileHandle, standings::can_spare},
};

/// Most keys remembered as logged: that a ban spares them.
const REMEMBERED: usize = 10_000;

/// The keys of which the log has that a ban of an address spares them: by address, version of its standing, and key.
#[derive(Debug)]
pub(super) struct Spared(Cache<(Subject, u64, Subject), ()>);

impl Spared {
    /// Whether that a ban spares a key has not been logged yet; from now on it has.
    pub(super) fn is_news(&self, address: &Subject, ban: &Standing, key: &Subject) -> bool {
        let case = (address.clone(), ban.version, key.clone());
        let is_news = self.0.get(&case).is_none();
        if is_news {
            self.0.insert(case, ());
        }
        is_news
    }
}

impl Default for Spared {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

/// Whether a ban of an address spares a key whose profile this is.
pub(super) fn spares(
    ban: &Standing,
    address: &Subject,
    record: &Record,
    profile: Option<ProfileHandle>,
) -> bool {
    let past = |profile: &Profile| detect::has_a_past_from(profile, Prefix::of(record.source_ip), ban.since);
    can_spare(ban, address) && profile.is_some_and(|profile| profile.with(past))
}
