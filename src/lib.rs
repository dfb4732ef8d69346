//! Keyward watches API keys. The map of the code is in `docs/ARCHITECTURE.md`.

pub mod answer;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod intake;
pub mod store;
