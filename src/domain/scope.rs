//! What the holder of a token may do.

use std::str::FromStr;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Report and ask about requests.
    Record,
    /// Read bans, subjects, events, policy and allowlist.
    Read,
    /// Ban, lift, and give a verdict.
    BansWrite,
    /// Everything that the API can do.
    Admin,
    /// Read the metrics, and nothing else.
    Metrics,
}

impl Scope {
    /// Every scope that a token can have.
    pub const ALL: [Self; 5] = [Self::Record, Self::Read, Self::BansWrite, Self::Admin, Self::Metrics];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Read => "read",
            Self::BansWrite => "bans:write",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }

    /// Whether a token with this scope may do what `needed` is needed for. Who may read all else may read metrics.
    pub fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Admin || (self == Self::Read && needed == Self::Metrics)
    }
}

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        Self::ALL.into_iter().find(|scope| scope.name() == text).ok_or(NoScope)
    }
}

/// A text that names no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of record, read, bans:write, admin, metrics")]
pub struct NoScope;
