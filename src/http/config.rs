//! `/v1/config`: the settings that this instance runs with, without secrets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    params::Params,
};
use crate::config::Config;

/// The settings in force, as they may be shown: without secrets from the moment that they are taken in.
#[derive(Clone, Default)]
pub struct ShownConfig(Arc<ArcSwap<Value>>);

impl ShownConfig {
    /// Shows these settings.
    pub fn new(config: &Config) -> Self {
        let shown = Self::default();
        shown.replace(config);
        shown
    }

    /// Shows these settings from now on.
    pub fn replace(&self, config: &Config) {
        let shown = serde_json::to_value(config.masked()).inspect_err(|error| {
            tracing::error!(%error, "the settings cannot be shown");
        });
        self.0.store(Arc::new(shown.unwrap_or_default()));
    }

    /// The settings in force.
    pub fn show(&self) -> Arc<Value> {
        self.0.load_full()
    }
}

/// What an instance runs with.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConfigView {
    /// The version of the program.
    #[schema(value_type = String)]
    pub version: &'static str,
    /// Every setting, as in config/default.toml, section by section. A secret is `***`, or where it is: `env:NAME`,
    /// `file:PATH`.
    #[schema(value_type = Value)]
    pub settings: Arc<Value>,
}

/// Shows the settings that this instance runs with: the defaults, the preset, the file, the environment and flags, laid
/// over each other. What was changed over the API since (policy, allowlist, plans, projects, keys) is not among them,
/// and no secret is.
#[utoipa::path(
    get, path = "/v1/config", tag = "service", operation_id = "show_config",
    responses(
        (status = 200, body = ConfigView, description = "The settings in force."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A parameter is wrong."
        ),
    ),
)]
pub(super) async fn show(State(app): State<App>, params: Params) -> Result<Json<ConfigView>, ApiError> {
    params.only(&[])?;
    Ok(Json(ConfigView { version: env!("CARGO_PKG_VERSION"), settings: app.config.show() }))
}
