//! What another policy would have made of what was found in a span: findings that are in the log, held against its
//! modes and its ladder, beside the policy in force.
//!
//! `figures` is the form in which the API gives it; `happening` is what an event tells of that two policies may answer
//! otherwise; `side` is one policy on its way through them; `gather` reads the log. Nothing is judged anew: what a
//! threshold of a detector or a limit would change is not in the log, and `figures::Preview::not_covered` says so.

mod figures;
mod gather;
mod happening;
mod side;

pub use figures::{Acts, Preview, Ruled, SubjectRow, TypeRow};
pub use gather::preview;
