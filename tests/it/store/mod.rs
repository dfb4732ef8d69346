//! Tests of the stores through their trait.

mod backend;
mod cases;
mod conformance;
mod durability;
mod model;
mod oracle;
#[path = "../../it_support/redis.rs"]
mod redis_server;
mod support;
