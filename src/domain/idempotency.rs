//! How far a request id reaches.

use serde::{Deserialize, Serialize};

/// Where the answer to an earlier request with the same id is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdempotencyScope {
    /// Each instance remembers its own answers.
    Instance,
    /// Answers are shared through the store.
    Store,
}
