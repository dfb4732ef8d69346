//! The gateway: a reverse proxy for the interfaces of OpenAI and Anthropic, with keys watched and budgets held.
//!
//! - `settings`: `[gateway]` as the configuration has it, and what is wrong with it.
//! - `dialect`, `meter`: what interfaces look like, and what streams use. Pure.
//! - `route`, `measure`, `estimate`: where requests go, and how large they are. Pure.
//! - `upstream`: the providers, asked through the guarded client.
//! - `probe`: one upstream is tried out.
//! - `flow`: the way of one request. It alone knows the engine.
//! - `routes`: the interfaces that are served.

mod dialect;
mod estimate;
mod flow;
mod measure;
mod meter;
mod probe;
mod route;
mod routes;
pub mod settings;
mod upstream;

pub use self::{
    flow::{Gateway, Upstreams},
    probe::{ProbeError, probe},
    routes::router,
};
