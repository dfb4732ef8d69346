//! By which call of the API a request came.

use serde::{Deserialize, Serialize};

/// By which call a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// It was asked whether the request may be made.
    Check,
    /// The request was reported.
    Record,
}
