//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails; clippy's own exception covers only functions marked as tests"
)]

mod api;
mod app;
mod bad_input;
mod bouncer;
#[path = "../it_support/browser.rs"]
mod browser;
mod children;
mod clients;
mod concurrency;
mod costs;
mod denials;
mod deploy;
mod door;
mod durability;
mod examples;
mod failures;
mod forward;
#[cfg(feature = "kafka")]
mod forward_kafka;
mod forward_notify;
mod forward_run;
mod forward_siem;
mod forward_syslog;
mod gateway;
mod histories;
mod invariants;
mod monitoring;
mod page;
mod propagation;
mod proxies;
#[path = "../it_support/redis.rs"]
mod redis_server;
mod reservations;
mod roles;
mod round_trips;
mod scenarios;
mod secrets;
mod spelling;
mod spend;
mod store;
mod support;
#[path = "../it_support/syslog.rs"]
mod syslog_receiver;
mod usage;
