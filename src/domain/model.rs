//! Names of models as people write them (one model, or a pattern such as `claude-*`) and the many names that one model
//! has. `bare` takes a name apart.

mod bare;

use std::sync::Arc;

use globset::{Glob, GlobMatcher};

pub use bare::{bare, forms, rank, unprefixed};

/// Longest name of a model or pattern, in bytes; records hold no longer one.
pub const LONGEST_MODEL: usize = 128;
/// What makes a name a pattern.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Which model a priced name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelIdentity {
    /// The bare name: without a provider's prefix, and without the date of a snapshot.
    pub name: Arc<str>,
    /// Other names that the price list gives it.
    pub aliases: Box<[Box<str>]>,
}

/// A name of one model, or of every model that fits it.
#[derive(Debug, Clone)]
pub struct ModelName {
    text: Box<str>,
    glob: Option<GlobMatcher>,
}

impl ModelName {
    /// Reads a name.
    ///
    /// # Errors
    /// What is wrong with a pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let glob = match text.contains(SPECIAL) {
            true => Some(Glob::new(text).map_err(|error| error.kind().to_string())?.compile_matcher()),
            false => None,
        };
        Ok(Self { text: text.into(), glob })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it may stand for many.
    pub fn is_pattern(&self) -> bool {
        self.glob.is_some()
    }

    /// Whether it is this very name, or a pattern that fits it.
    pub fn fits(&self, name: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(name),
            None => *self.text == *name,
        }
    }

    /// Whether it means the model that a request names: by whatever name of it. A pattern is held against the name that
    /// was reported and against the bare one. `identity` is what the price list knows about the reported name.
    pub fn means(&self, reported: &str, identity: Option<&ModelIdentity>) -> bool {
        if self.fits(reported) {
            return true;
        }
        let name = identity.map_or_else(|| bare(reported), |identity| &identity.name);
        match &self.glob {
            Some(glob) => glob.is_match(name),
            None => {
                let is_alias = |identity: &ModelIdentity| identity.aliases.iter().any(|a| **a == *self.text);
                bare(&self.text) == name || identity.is_some_and(is_alias)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(written: &str, reported: &str) -> bool {
        ModelName::parse(written).unwrap().means(reported, None)
    }

    #[test]
    fn a_name_means_its_model_by_every_prefix_and_date_and_no_other_model() {
        for reported in ["gpt-4.1", "gpt-4.1-2025-04-14", "openai/gpt-4.1", "azure/eu/gpt-4.1-2025-04-14"] {
            for written in ["gpt-4.1", "gpt-4.1-2025-04-14", "openai/gpt-4.1", "gpt-4.*"] {
                assert!(means(written, reported), "{written} {reported}");
            }
        }
        for (written, reported) in [
            ("gpt-4.1", "gpt-4.1-mini"),
            ("gpt-4.1", "gpt-4.1-mini-2025-04-14"),
            ("gpt-4o", "gpt-4o-mini"),
            ("gpt-4o", "openai/gpt-4o-mini-2024-07-18"),
            ("gpt-4", "gpt-4.1"),
            ("claude-*", "openai/gpt-4.1"),
            ("gpt-4.1", "GPT-4.1"),
        ] {
            assert!(!means(written, reported), "{written} {reported}");
        }
    }

    #[test]
    fn a_pattern_is_held_against_the_reported_name_and_the_bare_one() {
        for reported in ["claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"] {
            assert!(means("claude-*", reported), "{reported}");
            assert!(means("claude-sonnet-4-?", reported), "{reported}");
        }
        assert!(means("anthropic/*", "anthropic/claude-sonnet-4-5"));
        assert!(!means("anthropic/*", "claude-sonnet-4-5"), "who names no provider may be with any");
    }

    #[test]
    fn what_the_price_list_calls_an_alias_is_the_model_whichever_of_the_two_was_written() {
        let identity = ModelIdentity { name: "gpt-4.1".into(), aliases: ["fast".into()].into() };
        for written in ["fast", "gpt-4.1", "openai/gpt-4.1", "gpt-*"] {
            for reported in ["fast", "gpt-4.1-2025-04-14"] {
                let name = ModelName::parse(written).unwrap();
                assert!(name.means(reported, Some(&identity)), "{written} {reported}");
            }
        }
        assert!(!ModelName::parse("slow").unwrap().means("fast", Some(&identity)));
    }
}
