//! Who did an operator's act: as the event of the act and the log name them, never with a secret.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest id of a token, and name of a user, in bytes.
const MOST_BYTES: usize = 64;
/// Whoever calls while no token is configured.
const LOCAL: &str = "local";
/// The command line, where it acts by itself.
const COMMAND_LINE: &str = "cli";

/// Who acts: the id of a token, `local` where no token is configured, `cli` (`cli:<user>` where the system's name of
/// the user is known) for the command line without a service, or `hook:<sink>` for an emergency hook. An id cannot be
/// taken for another of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Actor(Arc<str>);

impl Actor {
    /// Whoever holds the token of this id, which must be a valid one (see [`valid_token_id`]).
    pub fn token(id: &str) -> Self {
        Self(id.into())
    }

    /// Whoever calls while no token is configured.
    pub fn local() -> Self {
        Self(LOCAL.into())
    }

    /// The command line, used by a user of the system. A name is left out that is no plain word of at most 64 bytes.
    pub fn command_line(user: Option<&str>) -> Self {
        let plain = |user: &&str| is_short(user) && user.bytes().all(|byte| byte.is_ascii_graphic());
        match user.filter(plain) {
            Some(user) => Self(format!("{COMMAND_LINE}:{user}").into()),
            None => Self(COMMAND_LINE.into()),
        }
    }

    /// An emergency hook, by the name of its sink.
    pub fn hook(sink: &str) -> Self {
        Self(format!("hook:{sink}").into())
    }

    /// The text as it stands in events.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Actor {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Actor> for String {
    fn from(actor: Actor) -> Self {
        actor.0.as_ref().to_owned()
    }
}

/// Whether `id` may name a token: 1 to 64 letters, digits, `-` and `_`, and not what stands for acts without one.
pub fn valid_token_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let reserved = |word: &&str| word.eq_ignore_ascii_case(id);
    is_short(id) && id.bytes().all(fits) && ![LOCAL, COMMAND_LINE].iter().any(reserved)
}

fn is_short(text: &str) -> bool {
    (1..=MOST_BYTES).contains(&text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_taken_for_somebody_without_one() {
        for id in ["ops", "4f9a00c1d2e3", "ci_deploy-2", &"x".repeat(64)] {
            assert!(valid_token_id(id), "{id}");
        }
        for id in ["", "local", "cli", "CLI", "cli:anna", "a.b", "a b", "a\nb", "\u{e9}", &"x".repeat(65)] {
            assert!(!valid_token_id(id), "{id}");
        }
    }

    #[test]
    fn the_command_line_is_named_with_its_user_where_that_is_a_plain_name() {
        assert_eq!(Actor::command_line(Some("anna.smith")).as_str(), "cli:anna.smith");
        for user in [None, Some(""), Some("a b"), Some("\u{1b}[31m"), Some("\u{e9}va")] {
            assert_eq!(Actor::command_line(user).as_str(), "cli");
        }
    }

    #[test]
    fn it_is_kept_as_its_text() {
        let actor = Actor::token("ops");
        assert_eq!(serde_json::to_value(&actor).unwrap(), "ops");
        assert_eq!(serde_json::from_str::<Actor>("\"ops\"").unwrap(), actor);
    }
}
