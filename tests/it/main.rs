//! The integration tests, in one binary.

mod app;
mod store;
