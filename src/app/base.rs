//! What of the configuration is in force in the engine where its store holds nothing else.

use std::sync::Arc;

use crate::{config::Config, engine::Base};

impl From<&Config> for Base {
    fn from(config: &Config) -> Self {
        let alerts = config.alerts.clone();
        let (policy, registry) = (config.policy.clone(), Arc::new(config.registry()));
        let has_emergency_hook = config.sinks.iter().any(|sink| sink.common().kind == "emergency_hook");
        Self { policy, registry, alerts, spend: config.spend.rules(), has_emergency_hook }
    }
}
