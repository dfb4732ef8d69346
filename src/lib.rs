//! Keyward watches API keys. The map of the code is in `docs/ARCHITECTURE.md`.

pub mod answer;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod detect;
pub mod domain;
pub mod engine;
pub mod explain;
pub mod forward;
pub mod gateway;
pub mod geo;
pub mod http;
pub mod import;
pub mod intake;
pub mod mock_provider;
pub mod outbound;
pub mod pricing;
pub mod replay;
pub mod settings;
pub mod simulate;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod watch;
