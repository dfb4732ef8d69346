//! Profiles: a packed value per subject, merged here and written back if nobody else was faster.

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    scripts::{Call, PROFILE},
};
use crate::{
    domain::{Millis, profile::Profile, subject::Subject},
    store::{ProfileStore, SeenSubject, StoreError, StoreFault, StoreResult, packed},
};

/// Version of the packed form, the byte behind the counter.
const FORMAT: u8 = 1;
const COUNTER_BYTES: usize = 8;
/// Instances flush one subject's deltas about once a second; this many collisions in a row mean something else.
const ATTEMPTS: usize = 16;

/// The counter that changes with every write, as it is stored; `None`: there was no profile.
type WriteCounter = Option<[u8; COUNTER_BYTES]>;

impl ProfileStore for RedisStore {
    fn profile<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<Profile>> {
        Box::pin(async move { Ok(self.stored_profile(subject).await?.map(|(_, profile)| profile)) })
    }

    /// A lost race is only tried again.
    fn merge_profile<'a>(&'a self, subject: &'a Subject, delta: &'a Profile) -> StoreResult<'a, Profile> {
        Box::pin(async move {
            for _ in 0..ATTEMPTS {
                let (counter, mut profile) = self.stored_profile(subject).await?.unzip();
                let profile = profile.get_or_insert_default();
                profile.merge(delta);
                if self.write_profile(subject, counter, profile).await? {
                    return Ok(std::mem::take(profile));
                }
            }
            Err(StoreError::Unavailable("others keep changing the same profile".into()))
        })
    }

    fn subjects_seen<'a>(
        &'a self,
        after: Option<&'a SeenSubject>,
        limit: usize,
    ) -> StoreResult<'a, Vec<SeenSubject>> {
        Box::pin(super::seen::page(self, after, limit))
    }
}

impl RedisStore {
    async fn stored_profile(
        &self,
        subject: &Subject,
    ) -> Result<Option<([u8; COUNTER_BYTES], Profile)>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.subject(subject).profile);
        match self.link.command(command).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => unpack(&bytes).map(Some),
            _ => Err(unreadable("a profile")),
        }
    }

    /// Says whether it was written: not if somebody else has written since the counter was read.
    async fn write_profile(
        &self,
        subject: &Subject,
        read: WriteCounter,
        profile: &Profile,
    ) -> Result<bool, StoreError> {
        let kept = Millis::try_from(self.options.profile_retention.as_millis()).unwrap_or(Millis::MAX);
        let last_seen = profile.last_seen.unwrap_or_default();
        let call = Call::new(&PROFILE)
            .key(self.keys.subject(subject).profile)
            .key(self.keys.seen(self.keys.partition(Some(subject))))
            .arg(read.map_or_else(Vec::new, Vec::from))
            .arg(pack(read, profile)?)
            .arg(kept.to_string())
            .arg(subject.as_str())
            .arg(last_seen.to_string())
            .arg(last_seen.saturating_sub(kept).to_string());
        Ok(self.link.call(call).await? == Value::Int(1))
    }
}

fn pack(read: WriteCounter, profile: &Profile) -> Result<Vec<u8>, StoreError> {
    let counter = read.map_or(0, u64::from_le_bytes).wrapping_add(1);
    let mut bytes = counter.to_le_bytes().to_vec();
    bytes.push(FORMAT);
    let full = |error| StoreError::Refused(StoreFault::because("a profile cannot be packed", error));
    packed::pack(profile, bytes).map_err(full)
}

fn unpack(bytes: &[u8]) -> Result<([u8; COUNTER_BYTES], Profile), StoreError> {
    let (counter, rest) =
        bytes.split_first_chunk::<COUNTER_BYTES>().ok_or_else(|| unreadable("a profile"))?;
    match rest.split_first() {
        Some((&FORMAT, bytes)) => {
            Ok((*counter, packed::unpack(bytes).map_err(unreadable_because("a profile"))?))
        }
        _ => Err(unreadable("a profile of another version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_profile_comes_back_and_a_newer_format_does_not() {
        let profile = Profile { requests: 3, first_seen: Some(5), ..Profile::default() };
        let mut bytes = pack(Some(7u64.to_le_bytes()), &profile).unwrap();
        let (counter, back) = unpack(&bytes).unwrap();
        assert_eq!((u64::from_le_bytes(counter), back), (8, profile));
        bytes[COUNTER_BYTES] = FORMAT + 1;
        assert!(matches!(unpack(&bytes), Err(StoreError::Incompatible(_))));
    }
}
