//! What people do: ban and lift, change the policy, the allowlist and the registry, say what an event was, decide on
//! dead letters, forget a subject. Never acknowledged unless written: while the store does not answer, each of these
//! fails and says so. Each is a type that has what it uses and nothing else.

use std::sync::Arc;

mod bans;
mod dead_letters;
mod feedback;
mod limits;
mod policy;
mod registry;
mod subjects;
mod succession;
mod tokens;

pub use bans::Bans;
pub use dead_letters::DeadLetters;
pub use feedback::Feedback;
pub use limits::{LimitView, Limits};
pub use policy::PolicyChanges;
pub use registry::RegistryChanges;
pub use subjects::{SubjectPage, SubjectQuery, SubjectRow, SubjectView, Subjects};
pub use succession::Successions;
pub use tokens::{MOST_TOKENS, NewToken, TokenChange, TokenChanges, is_token};

/// What people do, by what it is about.
pub(in crate::engine) struct Operator {
    pub(in crate::engine) bans: Bans,
    pub(in crate::engine) policy: PolicyChanges,
    pub(in crate::engine) registry: Arc<RegistryChanges>,
    pub(in crate::engine) successions: Successions,
    pub(in crate::engine) feedback: Feedback,
    pub(in crate::engine) subjects: Subjects,
    pub(in crate::engine) limits: Limits,
    pub(in crate::engine) dead_letters: DeadLetters,
    pub(in crate::engine) tokens: TokenChanges,
}
