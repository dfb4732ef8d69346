//! What is in force: the policy with its version, the allowlist and the registry, and the base that holds where nothing
//! else is stored. How it comes from the store is in `documents`.

use std::sync::Arc;

use crate::{
    domain::{
        alert::AlertRule,
        allowlist::Allowlist,
        policy::Policy,
        registry::{Configured, Registry},
        spend, stable_hash,
        window::WindowLimits,
    },
    store::Revision,
};

/// What is in force unless the store holds another.
#[derive(Debug, Clone)]
pub struct Base {
    /// The policy of the configuration: limits, thresholds and ladder.
    pub policy: Policy,
    /// Plans, projects, and what concerns them all.
    pub registry: Arc<Configured>,
    /// The alert rules of the configuration.
    pub alerts: Vec<AlertRule>,
    /// What keys spend is held against this; `None`: it is not.
    pub spend: Option<spend::Rules>,
    /// Whether an emergency hook is told of keys that are cut off: then somebody has asked for it.
    pub has_emergency_hook: bool,
}

impl From<Policy> for Base {
    fn from(policy: Policy) -> Self {
        Self { policy, registry: Arc::default(), alerts: Vec::new(), spend: None, has_emergency_hook: false }
    }
}

/// The policy in force, with its version, the allowlist and the registry.
#[derive(Debug, Clone)]
pub struct ActivePolicy {
    /// Limits, thresholds, modes, ladder.
    pub policy: Policy,
    /// Its limits as the stores take them.
    pub(super) limits: WindowLimits,
    /// Names this policy in decisions and events: a digest of its content.
    pub version: Arc<str>,
    /// What detectors leave alone.
    pub allowlist: Allowlist,
    /// Plans, projects and keys.
    pub registry: Arc<Registry>,
    /// Revision of the store's documents from which it was made.
    pub(super) revision: Revision,
}

impl ActivePolicy {
    /// Whether nothing is refused.
    pub fn observes(&self) -> bool {
        self.policy.enforcement.observes()
    }

    /// A policy with its digest, and an empty registry.
    pub fn new(policy: Policy, allowlist: Allowlist) -> Self {
        let text = serde_json::to_vec(&policy).unwrap_or_default();
        let version = format!("{:016x}", stable_hash(&text)).into();
        let limits = policy.limits.windows();
        Self { version, limits, policy, allowlist, registry: Arc::default(), revision: Revision::default() }
    }
}
