//! Tests of the stores through their trait.

mod backend;
mod cases;
mod conformance;
mod durability;
mod model;
mod oracle;
#[allow(dead_code, reason = "shared with another test binary, which uses more of it")]
#[path = "../../it_support/redis.rs"]
mod redis_server;
mod support;
