//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy's own exception covers only functions marked as tests"
)]

mod app;
mod scenarios;
mod store;
