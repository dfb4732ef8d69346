//! The way of one request through the gateway. The only room of the gateway that knows the engine.
//!
//! - `entry`: a request comes in. `door`: whose it is, and from where. `bodies`: its body, within the bounds of memory.
//! - `call`: what is known of it, and the record that is made of it.
//! - `admit`: the estimate, and the reservation that holds it. `lease`: it goes on meanwhile.
//! - `settle`: what it used, exactly once.
//! - `attempt`: one upstream is asked. `checked`: whether what it answered is an answer. `exchange`: one after
//!   another, until there is one; `pause`: who is next, and when.
//! - `models`: which models there are.
//! - `relay`: a stream on its way. `running`: what it has cost so far.
//! - `cache`: answers that are given again.
//! - `reply`: answers, with the headers that Keyward adds.

mod admit;
mod attempt;
mod bodies;
mod cache;
mod call;
mod checked;
mod door;
mod entry;
mod exchange;
mod gateway;
mod lease;
mod models;
mod pause;
mod relay;
mod reply;
mod running;
mod settle;

pub use self::gateway::{Gateway, Upstreams};
pub(super) use self::{exchange::serve, models::models, reply::failed};
