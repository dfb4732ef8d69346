//! What the interfaces of providers look like. Pure: bytes in, bytes out.
//!
//! - `surface`: what all of them have in common. The rest: one each.
//! - `request`: what a request says, and how its model is changed without touching another byte. `members`: which of
//!   its members are read.
//! - `usage`: what an answer says that it used.
//! - `failure`: refusals and errors, as each dialect's clients read them.

mod caps;
mod chat;
mod completions;
mod embeddings;
pub(super) mod failure;
mod members;
mod messages;
pub(super) mod request;
mod responses;
pub(super) mod surface;
pub(super) mod usage;

pub(super) use self::{
    chat::CHAT,
    completions::COMPLETIONS,
    embeddings::EMBEDDINGS,
    messages::{COUNT_TOKENS, MESSAGES},
    responses::RESPONSES,
};
