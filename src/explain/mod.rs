//! What is known of a subject, and why a request was decided as it was, told to people: as JSON, as text, in a
//! sentence.
//!
//! Nothing is judged in here: the engine's [`crate::engine::Explanation`] and what the store keeps are put into words.

mod account;
mod ban_status;
mod profile_view;
mod sentence;
mod text;

pub use account::{Account, Located, Met};
pub use ban_status::BanStatus;
pub use profile_view::{FamiliarView, ProfileView, StoppedPartView};
pub use sentence::of_subject;
