//! Keyward watches API keys. The map of the code is in `docs/ARCHITECTURE.md`.

pub mod clock;
pub mod config;
pub mod domain;
pub mod geo;
pub mod simulate;
pub mod store;
