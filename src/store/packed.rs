//! Profiles as bytes, the same in every store: postcard, with later parts behind the first ones, so that what an
//! earlier version wrote can be read.

use crate::domain::profile::{FormerProfile, Lag, Later, Mass, Parts, Profile};

/// What a profile whose hours are packed begins with; before, the first byte was 0 or 1.
const HOURS_PACKED: u8 = 2;

/// Writes a profile behind `bytes`.
///
/// # Errors
/// When there is no room.
pub(crate) fn pack(profile: &Profile, mut bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    bytes.push(HOURS_PACKED);
    let bytes = postcard::to_extend(&profile.later, postcard::to_extend(profile, bytes)?)?;
    postcard::to_extend(&(&profile.later.parts, profile.later.repeats, profile.later.lag), bytes)
}

/// Reads what [`pack`] wrote, now or before there were later parts.
///
/// # Errors
/// When it is no profile.
pub(crate) fn unpack(bytes: &[u8]) -> postcard::Result<Profile> {
    let (profile, rest) = match bytes.split_first() {
        Some((&HOURS_PACKED, bytes)) => postcard::take_from_bytes::<Profile>(bytes)?,
        _ => {
            let (former, rest) = postcard::take_from_bytes::<FormerProfile>(bytes)?;
            (former.into(), rest)
        }
    };
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

    /// What an earlier version stored of a key with three requests.
    const FORMER: &str = concat!(
        "01e299988ec56801ec9e988ec56803b2a2010101c3b91e03d804809f49030301b2a20103d804809f49031ab9a088cc165334",
        "4b1e753465f41653344b20cdeb090c1753344b037ee07b66a27c4e4b401e026560d3734b355749493ffb994b7ee07b66a27c",
        "4e4b00000000000000000000000000000000000000000000000001f180ac868080808004037ee07b66a27c4e4be299988ec5",
        "68ec9e988ec568b2a2010101d8f803037ee07b66a27c4e4be299988ec568ec9e988ec568b2a20101015347037ee07b66a27c",
        "4e4be299988ec568ec9e988ec568b2a20101010066037ee07b66a27c4e4be299988ec568ec9e988ec568b2a2010100010d6f",
        "70656e61692d707974686f6e037ee07b66a27c4e4be299988ec568ec9e988ec568b2a2010101142f76312f636861742f636f",
        "6d706c6574696f6e73037ee07b66a27c4e4be299988ec568ec9e988ec568b2a2010101076770742d342e31037ee07b66a27c",
        "4e4be299988ec568ec9e988ec568b2a20101000002b7e6a6b509037ee07b66a27c4e4b401e026560d3734b355749493ffb99",
        "4ba4d1a8ea0c037ee07b66a27c4e4b401e026560d3734b355749493ffb994b01d8f8035347037ee07b66a27c4e4be299988e",
        "c568ec9e988ec568b2a201010186e8d59601e299988ec568ec9e988ec568000000000000000000000000000059f2d0a48a79",
        "594b086bf33300205b4b",
    );

    #[test]
    fn a_profile_that_an_earlier_version_stored_is_read() {
        let former = hex::decode(FORMER).unwrap();
        let profile = unpack(&former).unwrap();
        let hours: Vec<_> = profile.history.hours().map(|(_, row)| (row.requests, row.tokens)).collect();
        assert_eq!((profile.requests, hours), (3, vec![(3, 600)]));
        assert_eq!(
            profile.clients.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["openai-python"]
        );
        assert_eq!((profile.later.contexts.len(), profile.later.parts.len()), (2, 1));
        assert_eq!(
            unpack(&pack(&profile, Vec::new()).unwrap()).unwrap(),
            profile,
            "and written in the new form"
        );
    }

    #[test]
    fn a_profile_written_before_there_were_later_parts_is_read_without_them() {
        let former = hex::decode(FORMER).unwrap();
        let whole = unpack(&former).unwrap();
        let (_, later) = postcard::take_from_bytes::<FormerProfile>(&former).unwrap();
        let early = &former[..former.len() - later.len()];
        assert_eq!(unpack(early).unwrap(), Profile { later: Later::default(), ..whole.clone() });
        let (_, parts) = postcard::take_from_bytes::<Later>(later).unwrap();
        let early = &former[..former.len() - parts.len()];
        let (parts, repeats, lag) = Default::default();
        assert_eq!(
            unpack(early).unwrap(),
            Profile { later: Later { parts, repeats, lag, ..whole.later.clone() }, ..whole }
        );
    }

    #[test]
    fn half_a_profile_is_none() {
        let bytes = pack(&profile(), Vec::new()).unwrap();
        assert!(unpack(&bytes[..bytes.len() - 1]).is_err());
    }
}
