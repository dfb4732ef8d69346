//! `[gateway]` as the configuration has it. What each setting means is in `config/default.toml` and `docs/gateway.md`.

mod check;
mod target;
mod types;

pub use self::{
    check::{Places, check, check_keys},
    target::Target,
    types::{
        Alias, AuthHeader, Dialect, Estimate, GatewaySettings, ModelSettings, RouteSettings, UpstreamSettings,
    },
};
