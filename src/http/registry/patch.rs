//! JSON merge patches (RFC 7396) of plans, projects and keys.
//!
//! No member of an entry is an object, so a member that is patched is replaced as a whole, and `null` takes it away.
//! Numbers stay as they are written.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::resource::Resource;
use crate::{
    http::error::ApiError,
    intake::{FieldError, parse},
    settings::field_names,
};

/// The members of a patch, in their order.
#[derive(Debug)]
pub(super) struct Patch(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Patch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Patch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Patch, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Patch(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Patch {
    /// Reads a patch of an entry of this kind.
    ///
    /// # Errors
    /// It is no object, or names what such an entry does not have, or something twice.
    pub(super) fn read<R: Resource>(bytes: &[u8]) -> Result<Self, ApiError> {
        let patch: Self = parse(bytes)?;
        let known = field_names::<R>();
        let mut errors = Vec::new();
        for (index, (name, _)) in patch.0.iter().enumerate() {
            let pointer = || format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            if !known.contains(&name.as_str()) {
                // A null would take away nothing, and nobody would be told.
                errors.push(FieldError::new(pointer(), "is not a field that is known here"));
            } else if patch.0[..index].iter().any(|(earlier, _)| earlier == name) {
                errors.push(FieldError::new(pointer(), "is given twice"));
            }
        }
        if errors.is_empty() { Ok(patch) } else { Err(ApiError::Fields(errors)) }
    }

    /// The document that it makes of an entry.
    ///
    /// # Errors
    /// When the entry cannot be written as JSON.
    pub(super) fn onto<R: Resource>(&self, entry: &R) -> Result<Vec<u8>, ApiError> {
        let written = serde_json::to_string(entry).map_err(|_| ApiError::Internal)?;
        let mut members: BTreeMap<&str, &RawValue> =
            serde_json::from_str(&written).map_err(|_| ApiError::Internal)?;
        for (name, value) in &self.0 {
            if value.get() == "null" {
                members.remove(name.as_str());
            } else {
                members.insert(name, value);
            }
        }
        serde_json::to_vec(&members).map_err(|_| ApiError::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registry::{KeyEntry, Project};

    fn patched(entry: &str, patch: &str) -> String {
        let entry: Project = serde_json::from_str(entry).unwrap();
        let patch = Patch::read::<Project>(patch.as_bytes()).unwrap();
        let merged = patch.onto(&entry).unwrap();
        serde_json::to_string(&serde_json::from_slice::<Project>(&merged).unwrap()).unwrap()
    }

    #[test]
    fn a_member_is_replaced_as_a_whole_a_null_takes_it_away_and_the_rest_stays() {
        let before = r#"{"limits":[{"unit":"tokens","window":"day","limit":5}],"owner":"Ada","plan":"free"}"#;
        let after =
            patched(before, r#"{"owner":null,"budget_usd":9000000.000000001,"plan":"gold","limits":[]}"#);
        let wanted: Project =
            serde_json::from_str(r#"{"plan":"gold","budget_usd":"9000000.000000001","limits":[]}"#).unwrap();
        assert_eq!(after, serde_json::to_string(&wanted).unwrap(), "to the last digit");
        assert_eq!(patched(before, "{}"), patched(before, r#"{"timezone":null}"#));
    }

    #[test]
    fn what_an_entry_does_not_have_and_what_is_said_twice_is_named() {
        let error = |patch: &str| match Patch::read::<KeyEntry>(patch.as_bytes()) {
            Err(ApiError::Fields(errors)) => {
                errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(error(r#"{"lable":null,"a/b":1,"plan":"x"}"#), ["/lable", "/a~1b"]);
        assert_eq!(error(r#"{"plan":"x","plan":null}"#), ["/plan"]);
        assert!(Patch::read::<KeyEntry>(b"[]").is_err() && Patch::read::<KeyEntry>(b"{").is_err());
    }
}
