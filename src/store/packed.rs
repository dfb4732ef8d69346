//! Profiles as bytes, the same in every store: postcard, with later parts behind the first ones, so that what an
//! earlier version wrote can be read.

use crate::domain::profile::{Lag, Later, Mass, Parts, Profile};

/// Writes a profile behind `bytes`.
///
/// # Errors
/// When there is no room.
pub(crate) fn pack(profile: &Profile, bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    let bytes = postcard::to_extend(&profile.later, postcard::to_extend(profile, bytes)?)?;
    postcard::to_extend(&(&profile.later.parts, profile.later.repeats, profile.later.lag), bytes)
}

/// Reads what [`pack`] wrote, now or before there were later parts.
///
/// # Errors
/// When it is no profile.
pub(crate) fn unpack(bytes: &[u8]) -> postcard::Result<Profile> {
    let (profile, rest) = postcard::take_from_bytes::<Profile>(bytes)?;
    if rest.is_empty() {
        return Ok(profile);
    }
    let (later, rest) = postcard::take_from_bytes::<Later>(rest)?;
    let (parts, repeats, lag): (Parts, Mass, Lag) =
        if rest.is_empty() { Default::default() } else { postcard::from_bytes(rest)? };
    Ok(Profile { later: Later { parts, repeats, lag, ..later }, ..profile })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile { requests: 3, first_seen: Some(5), ..Profile::default() };
        profile.count_flagged(1_760_000_000_000, 7, 9);
        profile
    }

    #[test]
    fn a_profile_comes_back() {
        assert_eq!(unpack(&pack(&profile(), Vec::new()).unwrap()).unwrap(), profile());
    }

    #[test]
    fn a_profile_written_before_there_were_later_parts_is_read_without_them() {
        let old = postcard::to_allocvec(&profile()).unwrap();
        assert_eq!(unpack(&old).unwrap(), Profile { later: Later::default(), ..profile() });
    }

    #[test]
    fn a_profile_written_before_parts_were_remembered_is_read_without_them() {
        let mut new = profile();
        new.later.parts.clear(7);
        let old = postcard::to_extend(&new.later, postcard::to_allocvec(&new).unwrap()).unwrap();
        assert_eq!(unpack(&old).unwrap(), profile());
        assert_eq!(unpack(&pack(&new, Vec::new()).unwrap()).unwrap(), new);
    }

    #[test]
    fn half_a_profile_is_none() {
        let bytes = pack(&profile(), Vec::new()).unwrap();
        assert!(unpack(&bytes[..bytes.len() - 1]).is_err());
    }
}
