//! The integration tests, in one binary.

mod api;
mod bad_input;
mod concurrency;
mod durability;
mod failures;
mod invariants;
mod propagation;
#[allow(dead_code, reason = "shared with another test binary, which uses more of it")]
#[path = "../it_support/redis.rs"]
mod redis_server;
mod secrets;
mod store;
mod support;
