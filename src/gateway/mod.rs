//! The gateway: a reverse proxy for the interfaces of OpenAI and Anthropic, with keys watched and budgets held.
//!
//! - `settings`: `[gateway]` as the configuration has it, and what is wrong with it.

pub mod settings;
