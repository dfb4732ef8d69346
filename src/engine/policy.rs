//! The policy and the registry in force, and how they come to every instance.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Engine, events, registry};
use crate::{
    config::Config,
    domain::{
        alert::AlertRule,
        allowlist::Allowlist,
        event::{EventType, parse_millis},
        finding::Severity,
        policy::Policy,
        registry::{Configured, Registry},
        stable_hash,
        window::WindowLimits,
    },
    store::{Document, DocumentKind, StoreError},
};

/// So many documents are read on a thread of their own, as it takes longer than a request may wait.
const MANY: usize = 500;

/// What is in force unless the store holds another.
#[derive(Debug, Clone)]
pub struct Base {
    /// The policy.
    pub policy: Policy,
    /// Plans, projects, and what concerns them all.
    pub registry: Arc<Configured>,
    /// Alert rules.
    pub alerts: Vec<AlertRule>,
}

impl From<Policy> for Base {
    fn from(policy: Policy) -> Self {
        Self { policy, registry: Arc::default(), alerts: Vec::new() }
    }
}

impl From<&Config> for Base {
    fn from(config: &Config) -> Self {
        let alerts = config.alerts.clone();
        Self { policy: config.policy.clone(), registry: Arc::new(config.registry()), alerts }
    }
}

/// Documents by what they are.
pub(super) type Known = BTreeMap<(DocumentKind, String), Value>;

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
    pub(super) revision: u64,
}

impl ActivePolicy {
    /// A policy with its digest, and an empty registry.
    pub fn new(policy: Policy, allowlist: Allowlist) -> Self {
        let text = serde_json::to_vec(&policy).unwrap_or_default();
        let version = format!("{:016x}", stable_hash(&text)).into();
        let limits = policy.limits.windows();
        Self { version, limits, policy, allowlist, registry: Arc::default(), revision: 0 }
    }
}

/// All that follows from the store's documents.
struct Read {
    active: ActivePolicy,
    entries: Vec<Document>,
    known: Known,
}

impl Read {
    fn of(revision: u64, documents: Vec<Document>, base: &Base) -> Self {
        let stored = documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| d.body.clone());
        let policy = match stored.map(serde_json::from_value::<Policy>) {
            None => base.policy.clone(),
            Some(Ok(policy)) => policy,
            Some(Err(error)) => {
                tracing::error!(%error, "the stored policy cannot be read by this version; the configured one is in force");
                base.policy.clone()
            }
        };
        let entries: Vec<Document> =
            documents.iter().filter(|d| d.kind == DocumentKind::Allowlist).cloned().collect();
        let registered = documents.iter().filter_map(|document| {
            let (entry, at) = registry::entry(document.kind, &document.name, &document.body)?;
            Some((document.name.clone(), entry, at))
        });
        let registry = Arc::new(Registry::new(base.registry.clone(), registered));
        let active = ActivePolicy { revision, registry, ..ActivePolicy::new(policy, allowlist(&entries)) };
        Self { active, entries, known: known(documents) }
    }
}

fn known(documents: Vec<Document>) -> Known {
    documents.into_iter().map(|document| ((document.kind, document.name), document.body)).collect()
}

impl Engine {
    /// Reads policy, allowlist and registry from the store and puts them in force.
    pub(super) async fn refresh_documents(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        self.read_documents().await
    }

    async fn read_documents(&self) -> Result<(), StoreError> {
        let (revision, documents) = self.store.documents().await?;
        let Read { active, entries, known } = if documents.len() < MANY {
            Read::of(revision, documents, &self.base)
        } else {
            let base = self.base.clone();
            let read = tokio::task::spawn_blocking(move || Read::of(revision, documents, &base)).await;
            read.map_err(|error| StoreError::Incompatible(error.to_string()))?
        };
        *self.documents.lock() = known;
        self.active.store(Arc::new(active));
        self.allowlist.store(Arc::new(entries));
        Ok(())
    }

    /// Puts in force what was just written by whoever holds `refreshing`. Where nothing else has changed since, nothing
    /// else is read: else each of many entries that are written one by one would cost the reading of all.
    pub(super) async fn take_in(&self, document: Document) -> Result<(), StoreError> {
        let stored = self.store.documents_revision().await?;
        let active = self.active.load_full();
        let next = (stored == active.revision + 1).then(|| registry::changed(&active.registry, &document));
        let Some(registry) = next.flatten() else {
            return if stored == active.revision && self.knows(&document) {
                Ok(())
            } else {
                self.read_documents().await
            };
        };
        let registry = Arc::new(registry);
        let Document { kind, name, body } = document;
        match body {
            Value::Null => drop(self.documents.lock().remove(&(kind, name))),
            body => drop(self.documents.lock().insert((kind, name), body)),
        }
        self.active.store(Arc::new(ActivePolicy { registry, revision: stored, ..(*active).clone() }));
        Ok(())
    }

    fn knows(&self, document: &Document) -> bool {
        let known = self.documents.lock();
        let body = known.get(&(document.kind, document.name.clone()));
        body.map_or(document.body.is_null(), |body| *body == document.body)
    }

    /// Reads them again, if anything changed since. Revisions only go up: where one is lower than that in force here, the
    /// store has lost what it had acknowledged, and it is told again.
    pub(super) async fn refresh_documents_if_changed(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        let (stored, known) = (self.store.documents_revision().await?, self.active.load().revision);
        if stored < known {
            self.assert_documents().await?;
        }
        if stored != known {
            self.read_documents().await?;
        }
        Ok(())
    }

    /// Makes the store's documents those that are known here.
    async fn assert_documents(&self) -> Result<(), StoreError> {
        let ours = self.documents.lock().clone();
        let theirs = known(self.store.documents().await?.1);
        let lost = ours.iter().filter(|(id, body)| theirs.get(*id) != Some(*body));
        let undone = theirs.keys().filter(|id| !ours.contains_key(*id)).map(|id| (id, &Value::Null));
        for ((kind, name), body) in lost.chain(undone) {
            let evidence = serde_json::json!({
                "document": kind.name(), "name": name, "reason": "re-asserted: the store had lost it",
            });
            let now = self.now();
            let event = events::store(now, EventType::PolicyChanged, Severity::Medium, evidence);
            let document = Document { kind: *kind, name: name.clone(), body: body.clone() };
            self.store.write_document(&document, &event).await?;
            self.meters.events_written.increment(1);
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
