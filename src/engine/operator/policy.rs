//! People change the policy and the allowlist: one document of the store at a time, never acknowledged unless written.

use std::sync::Arc;

use crate::{
    domain::{
        Millis, actor::Actor, difference::difference, event::PolicyChanged, finding::Severity, policy::Policy,
    },
    engine::{in_force::InForce, policy::ActivePolicy},
    store::{Document, DocumentKind, StoreError, StoreFault},
};

/// Policy and allowlist, as people change them.
pub struct PolicyChanges {
    in_force: Arc<InForce>,
}

impl PolicyChanges {
    /// Changes what is in force.
    pub(in crate::engine) fn new(in_force: Arc<InForce>) -> Self {
        Self { in_force }
    }

    /// Puts a policy in force, here at once and on every instance within a second. Returns the new version.
    ///
    /// # Errors
    /// When it could not be written: the former one is still in force then.
    pub async fn set_policy(&self, policy: &Policy, by: &Actor, now: Millis) -> Result<Arc<str>, StoreError> {
        let body = serde_json::to_value(policy).map_err(|e| StoreError::Incompatible(StoreFault::of(e)))?;
        let version = ActivePolicy::new(policy.clone(), Default::default()).version;
        let document = Document { kind: DocumentKind::Policy, name: "current".to_owned(), body };
        let former = self.in_force.policy();
        let before =
            serde_json::to_value(&former.policy).map_err(|e| StoreError::Incompatible(StoreFault::of(e)))?;
        let details = PolicyChanged::Policy {
            version: version.to_string(),
            former_version: former.version.to_string(),
            changes: difference(&before, &document.body),
            by: Some(by.clone()),
        };
        self.in_force.write(&document, Severity::Medium, &details, now).await?;
        Ok(version)
    }

    /// Writes an allowlist entry (or deletes it, with a null body). Says whether it was there before.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn write_allowlist(
        &self,
        entry: &str,
        body: serde_json::Value,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (allowlist, written, by) = (entry.to_owned(), body.clone(), Some(by.clone()));
        let details = PolicyChanged::Allowlist { allowlist, entry: written, by };
        let document = Document { kind: DocumentKind::Allowlist, name: entry.to_owned(), body };
        self.in_force.write(&document, Severity::Medium, &details, now).await
    }
}
