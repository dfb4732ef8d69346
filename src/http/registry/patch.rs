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

use super::{body, kind::Resource};
use crate::{domain::registry::Registry, http::error::ApiError, intake::FieldError, settings::field_names};

/// Most bytes of a name that an error repeats.
const LONGEST_NAME: usize = 32;

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
    /// What is wrong with the names that it has for an entry of this kind: those that such an entry does not have, and
    /// those that are there twice. A null would take away nothing there, and nobody would be told.
    fn wrong_names<R: Resource>(&self) -> Vec<FieldError> {
        let known = field_names::<R>();
        let names = self.0.iter().enumerate();
        let wrong = names.filter_map(|(index, (name, _))| {
            let detail = if !known.contains(&name.as_str()) {
                "is not a field that is known here"
            } else if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                "is given twice"
            } else {
                return None;
            };
            Some(FieldError::new(pointer(name), detail))
        });
        wrong.collect()
    }

    /// The entry that it makes of another.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn apply<R: Resource>(&self, entry: &R, registry: &Registry) -> Result<R, ApiError> {
        let mut wrong = self.wrong_names::<R>();
        match body::read(&self.onto(entry)?, registry) {
            Ok(body) if wrong.is_empty() => Ok(body),
            Ok(_) => Err(ApiError::Fields(wrong)),
            Err(ApiError::Fields(errors)) => {
                let is_named = |error: &FieldError| wrong.iter().any(|other| other.pointer == error.pointer);
                let fresh: Vec<FieldError> = errors.into_iter().filter(|error| !is_named(error)).collect();
                wrong.extend(fresh);
                Err(ApiError::Fields(wrong))
            }
            Err(error) => Err(error),
        }
    }

    /// The document that it makes of an entry.
    ///
    /// # Errors
    /// When the entry cannot be written as JSON.
    fn onto<R: Resource>(&self, entry: &R) -> Result<Vec<u8>, ApiError> {
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

/// A JSON pointer to a member. A name longer than any field's may be a secret in the wrong place.
fn pointer(name: &str) -> String {
    let shown = if name.len() > LONGEST_NAME { "…" } else { name };
    format!("/{}", shown.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::registry::{KeyEntry, Project};

    fn patch(text: &str) -> Patch {
        serde_json::from_str(text).unwrap()
    }

    fn patched(entry: &str, text: &str) -> String {
        let entry: Project = serde_json::from_str(entry).unwrap();
        let merged = patch(text).onto(&entry).unwrap();
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
        let wrong = |text: &str| -> Vec<String> {
            patch(text).wrong_names::<KeyEntry>().into_iter().map(|error| error.pointer).collect()
        };
        assert_eq!(wrong(r#"{"lable":null,"a/b":1,"plan":"x"}"#), ["/lable", "/a~1b"]);
        assert_eq!(wrong(r#"{"plan":"x","plan":null}"#), ["/plan"]);
        assert_eq!(wrong(&format!(r#"{{"{}":null}}"#, "k".repeat(40))), ["/…"], "it may be a secret");
        assert!(serde_json::from_str::<Patch>("[]").is_err());
    }
}
