//! What a replay, a score or a week came to, as one HTML file: it holds all that it shows, runs nothing and asks
//! nobody for anything, so that it can be shared, kept and printed.
//!
//! `page` is what such a file is made of, whatever it is about; each report is a file that makes one of figures. Who
//! gathers these, and where the file goes, is for `cli`.

mod page;
mod replay;
mod score;
#[cfg(test)]
mod tests;
mod week;

pub use page::Page;
pub use replay::{Decided, of_replay};
pub use score::of_score;
pub use week::of_week;
