//! A stand-in for a provider: both interfaces, plain and streamed, with usage, errors, delays and cuts as a prompt asks
//! for them. It needs no key, costs nothing, and lets a configuration of the gateway be tried out.
//!
//! - `directives`: what a prompt asks for, as `[mock output=50 cut=3]`.
//! - `asked`: what a request says.
//! - `openai`, `anthropic`: the answers, in the form of each.
//! - `bill`: what was used, as a provider would bill it, and what was seen.
//! - `serve`: the routes, and how an answer goes out.

mod anthropic;
mod asked;
mod bill;
mod directives;
mod openai;
mod serve;

pub use self::{
    bill::{Bill, Seen, Totals},
    serve::router,
};
