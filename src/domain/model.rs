//! Names of models as people write them: one model, or a pattern such as `claude-*`.

use globset::{Glob, GlobMatcher};

/// Longest name of a model or pattern, in bytes; records hold no longer one.
pub const LONGEST_MODEL: usize = 128;
/// What makes a name a pattern.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

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

    /// Whether it stands for a model.
    pub fn fits(&self, model: &str) -> bool {
        match &self.glob {
            Some(glob) => glob.is_match(model),
            None => *self.text == *model,
        }
    }
}
