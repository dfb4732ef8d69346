//! The policy in force and how it comes to every instance.

use std::sync::Arc;

use super::{Engine, events};
use crate::{
    domain::{
        allowlist::Allowlist,
        event::{EventType, parse_millis},
        finding::Severity,
        policy::Policy,
        stable_hash,
        window::WindowLimits,
    },
    store::{Document, DocumentKind, StoreError},
};

/// The policy in force, with its version and the allowlist.
#[derive(Debug)]
pub struct ActivePolicy {
    /// Limits, thresholds, modes, ladder.
    pub policy: Policy,
    /// Its limits as the stores take them.
    pub(super) limits: WindowLimits,
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
        let version = format!("{:016x}", stable_hash(&text)).into();
        Self { version, limits: policy.limits.windows(), policy, allowlist, revision: 0 }
    }
}

impl Engine {
    /// Reads policy and allowlist from the store and puts them in force.
    pub(super) async fn refresh_documents(&self) -> Result<(), StoreError> {
        let (revision, documents) = self.store.documents().await?;
        self.documents.store(Arc::new(documents.clone()));
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

    /// The same, if anything changed since. Revisions only go up: where one is lower than that in force here, the
    /// store has lost what it had acknowledged, and it is told again.
    pub(super) async fn refresh_documents_if_changed(&self) -> Result<(), StoreError> {
        let (stored, known) = (self.store.documents_revision().await?, self.active.load().revision);
        if stored < known {
            self.assert_documents().await?;
        }
        if stored != known {
            self.refresh_documents().await?;
        }
        Ok(())
    }

    /// Makes the store's documents those that are known here.
    async fn assert_documents(&self) -> Result<(), StoreError> {
        let known = self.documents.load_full();
        let (_, stored) = self.store.documents().await?;
        let same = |a: &Document, b: &Document| a.kind == b.kind && a.name == b.name;
        let lost = known.iter().filter(|document| !stored.contains(document)).cloned();
        let undone = stored.iter().filter(|s| !known.iter().any(|k| same(s, k)));
        let undone = undone.map(|document| Document { body: serde_json::Value::Null, ..document.clone() });
        for document in lost.chain(undone) {
            let evidence = serde_json::json!({
                "document": document.kind.name(), "name": document.name, "reason": "re-asserted: the store had lost it",
            });
            let now = self.now();
            let event = events::store(now, EventType::PolicyChanged, Severity::Medium, evidence);
            self.store.write_document(&document, &event).await?;
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
