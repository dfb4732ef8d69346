//! What is wrong with an entry of the registry, and where in it.

/// What is wrong with a plan, a project or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer} {hint}")]
pub struct Wrong {
    /// JSON pointer to it.
    pub pointer: String,
    /// What it must be.
    pub hint: String,
}

impl Wrong {
    /// Something that is wrong at `pointer`.
    pub fn new(pointer: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), hint: hint.into() }
    }
}
