//! What people do: ban and lift, change the policy, the allowlist and the registry, say what an event was, decide on
//! dead letters, forget a subject. Never acknowledged unless written: while the store does not answer, each of these
//! fails and says so.

mod dead_letters;
mod feedback;
mod policy;
mod registry;
mod standings;
mod subjects;

pub use subjects::SubjectView;
