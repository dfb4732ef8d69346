//! The policy in force and how it comes to every instance.

use std::sync::Arc;

use super::Engine;
use crate::{
    domain::{allowlist::Allowlist, event::parse_millis, policy::Policy, stable_hash},
    store::{Document, DocumentKind, StoreError},
};

/// The policy in force, with its version and the allowlist.
#[derive(Debug)]
pub struct ActivePolicy {
    /// Limits, thresholds, modes, ladder.
    pub policy: Policy,
    /// Names this policy in decisions and events: a digest of its content.
    pub version: Arc<str>,
    /// What detectors leave alone.
    pub allowlist: Allowlist,
    /// Revision of the store's documents from which it was made.
    pub(super) revision: u64,
}

impl ActivePolicy {
    /// A policy with its digest.
    pub fn new(policy: Policy, allowlist: Allowlist) -> Self {
        let text = serde_json::to_vec(&policy).unwrap_or_default();
        Self { version: format!("{:016x}", stable_hash(&text)).into(), policy, allowlist, revision: 0 }
    }
}

impl Engine {
    /// Reads policy and allowlist from the store and puts them in force.
    pub(super) async fn refresh_documents(&self) -> Result<(), StoreError> {
        let (revision, documents) = self.store.documents().await?;
        let stored = documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| d.body.clone());
        let policy = match stored.map(serde_json::from_value::<Policy>) {
            None => self.base_policy.clone(),
            Some(Ok(policy)) => policy,
            Some(Err(error)) => {
                tracing::error!(%error, "the stored policy cannot be read by this version; the configured one is in force");
                self.base_policy.clone()
            }
        };
        let entries: Vec<Document> =
            documents.into_iter().filter(|d| d.kind == DocumentKind::Allowlist).collect();
        let active = ActivePolicy { revision, ..ActivePolicy::new(policy, allowlist(&entries)) };
        self.active.store(Arc::new(active));
        self.allowlist.store(Arc::new(entries));
        Ok(())
    }

    /// The same, if anything changed since.
    pub(super) async fn refresh_documents_if_changed(&self) -> Result<(), StoreError> {
        if self.store.documents_revision().await? != self.active.load().revision {
            self.refresh_documents().await?;
        }
        Ok(())
    }
}

fn allowlist(entries: &[Document]) -> Allowlist {
    let mut list = Allowlist::default();
    for entry in entries {
        let expires = entry.body.get("expires").and_then(|e| e.as_str()).and_then(|e| parse_millis(e).ok());
        match entry.name.parse() {
            Ok(parsed) => list.insert(parsed, expires),
            Err(error) => tracing::error!(entry = entry.name, %error, "an allowlist entry cannot be read"),
        }
    }
    list
}
