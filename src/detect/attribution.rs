//! Whose a request is that was answered 401 or 403: refused credentials accuse the source that sent them, never the key
//! in whose name they came. Anybody can send a wrong secret in another's name.

use crate::domain::{
    DAY, HOUR, Millis,
    place::Prefix,
    profile::{Mass, Profile},
};

/// Requests that a key must have made from its first network, beside an hour there, for that to be its own.
const SETTLED_REQUESTS: u64 = 10;

/// Whom a request is judged as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Attribution {
    /// The key's: it is judged, and learned.
    #[default]
    Key,
    /// Refused credentials from a network from which the key succeeds: a revoked key, or an outage. Nobody is accused.
    Nobody,
    /// Refused credentials from elsewhere: the source alone is accused.
    Source,
}

impl Attribution {
    /// Whom a request with this status is judged as. A 403 is the key's where the key also succeeds from that
    /// network: a permission is missing. A 401 is never the key's: the secret was wrong.
    pub fn of(status: u16, profile: Option<&Profile>, source: Prefix) -> Self {
        // Of a request that was only seen on its way nobody knows whether it succeeded.
        let has_succeeded = |profile: &Profile| profile.outcomes.success != Mass::default();
        let knows = |profile: &Profile| profile.prefixes.get(&source.0).is_some();
        let succeeds_there = || profile.is_some_and(|profile| knows(profile) && has_succeeded(profile));
        match status {
            401 if succeeds_there() => Self::Nobody,
            403 if succeeds_there() => Self::Key,
            401 | 403 => Self::Source,
            _ => Self::Key,
        }
    }

    /// The same for a request that was not counted as the key's when the store observed it: then it stays nobody's.
    pub fn or_nobody(self) -> Self {
        if self == Self::Key { Self::Nobody } else { self }
    }
}

/// Whether a key has a past from a network: it was first accepted from there a day before `since` or more. For the
/// network in which the key began, an hour and ten requests are enough. What happens to that network's addresses from
/// `since` on is another's doing.
pub fn has_a_past_from(profile: &Profile, source: Prefix, since: Millis) -> bool {
    let Some(row) = profile.prefixes.get(&source.0) else { return false };
    let age = since - row.first_seen;
    let began_there = profile.first_seen == Some(row.first_seen);
    age >= DAY || began_there && age >= HOUR && row.count >= SETTLED_REQUESTS
}

/// Whether any request of the key ever succeeded, as far as the profile remembers.
pub fn has_succeeded(profile: &Profile, now: Millis) -> bool {
    profile.outcomes.success.at(now) > 0.0
}
