//! Profiles: a packed value per subject, merged here and written back if nobody else was faster.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    scripts::{Call, PROFILE},
};
use crate::{
    domain::{profile::Profile, subject::Subject},
    store::{StoreError, packed},
};

/// Version of the packed form, the byte behind the counter.
const FORMAT: u8 = 1;
const COUNTER_BYTES: usize = 8;
/// Instances flush one subject's deltas about once a second; this many collisions in a row mean something else.
const ATTEMPTS: usize = 16;

impl RedisStore {
    /// What was learned of `subject`.
    pub(super) async fn read_profile(&self, subject: &Subject) -> Result<Option<Profile>, StoreError> {
        Ok(self.stored_profile(subject).await?.map(|(_, profile)| profile))
    }

    /// Adds what was learned since; merging is commutative, so a lost race is only tried again.
    pub(super) async fn merge_into_profile(
        &self,
        subject: &Subject,
        delta: &Profile,
    ) -> Result<Profile, StoreError> {
        for _ in 0..ATTEMPTS {
            let (counter, mut profile) = match self.stored_profile(subject).await? {
                Some((counter, profile)) => (Some(counter), profile),
                None => (None, Profile::default()),
            };
            profile.merge(delta);
            if self.write_profile(subject, counter, &profile).await? {
                return Ok(profile);
            }
        }
        Err(StoreError::Unavailable("others keep changing the same profile".into()))
    }

    async fn stored_profile(
        &self,
        subject: &Subject,
    ) -> Result<Option<([u8; COUNTER_BYTES], Profile)>, StoreError> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.subject(subject).profile);
        match self.link.command(command).await? {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => unpack(&bytes).map(Some).ok_or_else(|| unreadable("a profile")),
            _ => Err(unreadable("a profile")),
        }
    }

    async fn write_profile(
        &self,
        subject: &Subject,
        read: Option<[u8; COUNTER_BYTES]>,
        profile: &Profile,
    ) -> Result<bool, StoreError> {
        let call = Call::new(&PROFILE)
            .key(self.keys.subject(subject).profile)
            .arg(read.unwrap_or_default()[..read.map_or(0, |c| c.len())].to_vec())
            .arg(pack(read, profile)?)
            .arg(self.options.profile_retention.as_millis().to_string());
        Ok(self.link.call(call).await? == Value::Int(1))
    }
}

fn pack(read: Option<[u8; COUNTER_BYTES]>, profile: &Profile) -> Result<Vec<u8>, StoreError> {
    let counter = read.map_or(0, u64::from_le_bytes).wrapping_add(1);
    let mut bytes = counter.to_le_bytes().to_vec();
    bytes.push(FORMAT);
    let full = |e| StoreError::Refused(format!("a profile cannot be packed: {e}"));
    packed::pack(profile, bytes).map_err(full)
}

fn unpack(bytes: &[u8]) -> Option<([u8; COUNTER_BYTES], Profile)> {
    let (counter, rest) = bytes.split_first_chunk::<COUNTER_BYTES>()?;
    let (format, bytes) = rest.split_first()?;
    let profile = (*format == FORMAT).then(|| packed::unpack(bytes).ok())??;
    Some((*counter, profile))
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
        assert!(unpack(&bytes).is_none());
    }
}
