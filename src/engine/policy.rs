//! The policy and the registry in force, and how they come to every instance.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
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
        spend, stable_hash,
        window::WindowLimits,
    },
    store::{Changed, Document, DocumentKind, Revision, StoreError, StoreFault},
};

/// So many documents (or projects, whose limits are made ready together) are taken in on a thread of their own, as it takes
/// longer than a request may wait.
const MANY: usize = 500;

/// Works on another thread where that takes long.
async fn apart_if<T: Send + 'static>(
    long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if !long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Incompatible(StoreFault::of(error)))
}

/// What is in force unless the store holds another.
#[derive(Debug, Clone)]
pub struct Base {
    /// The policy.
    pub policy: Policy,
    /// Plans, projects, and what concerns them all.
    pub registry: Arc<Configured>,
    /// Alert rules.
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

impl From<&Config> for Base {
    fn from(config: &Config) -> Self {
        let alerts = config.alerts.clone();
        let (policy, registry) = (config.policy.clone(), Arc::new(config.registry()));
        let has_emergency_hook = config.sinks.iter().any(|sink| sink.common().kind == "emergency_hook");
        Self { policy, registry, alerts, spend: config.spend.rules(), has_emergency_hook }
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

/// All that follows from the store's documents.
struct Read {
    active: ActivePolicy,
    entries: Vec<Document>,
    known: Known,
}

impl Read {
    fn of(revision: Revision, documents: Vec<Document>, base: &Base) -> Self {
        let policy = documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| &d.body);
        let policy = policy_of(policy.unwrap_or(&Value::Null), base);
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

/// The policy that is stored; where none is, or none that this version can read, the configured one.
fn policy_of(stored: &Value, base: &Base) -> Policy {
    if stored.is_null() {
        return base.policy.clone();
    }
    Policy::deserialize(stored).unwrap_or_else(|error| {
        tracing::error!(%error, "the stored policy cannot be read by this version; the configured one is in force");
        base.policy.clone()
    })
}

/// What is in force after some documents have changed: what they are not about is shared with what was.
fn after(
    active: &ActivePolicy,
    changed: &Changed,
    allowed: Option<&[Document]>,
    base: &Base,
) -> ActivePolicy {
    let stored = changed.documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| &d.body);
    let policy = stored.map_or_else(|| active.policy.clone(), |body| policy_of(body, base));
    let list = allowed.map_or_else(|| active.allowlist.clone(), allowlist);
    let registry = registry::changed(&active.registry, &changed.documents);
    let registry = registry.map_or_else(|| active.registry.clone(), Arc::new);
    ActivePolicy { revision: changed.revision, registry, ..ActivePolicy::new(policy, list) }
}

impl Engine {
    /// Reads policy, allowlist and registry from the store and puts them in force.
    pub(super) async fn refresh_documents(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        self.read_documents().await
    }

    async fn read_documents(&self) -> Result<(), StoreError> {
        let (revision, documents) = self.store.documents().await?;
        let base = self.base.clone();
        let many = documents.len() >= MANY;
        let Read { active, entries, known } =
            apart_if(many, move || Read::of(revision, documents, &base)).await?;
        *self.documents.lock() = known;
        self.active.store(Arc::new(active));
        self.allowlist.store(Arc::new(entries));
        Ok(())
    }

    /// Puts in force what changed since, by whoever holds `refreshing`. What did not change is neither read nor made anew:
    /// else each of many entries that are written one by one would cost the reading of all, on every instance.
    pub(super) async fn take_changes_in(&self) -> Result<(), StoreError> {
        let active = self.active.load_full();
        let Some(changed) = self.store.documents_since(active.revision).await? else {
            return self.read_documents().await;
        };
        let allowed = self.note(&changed.documents);
        let many = changed.documents.len() + active.registry.projects().len() >= MANY;
        let (base, entries) = (self.base.clone(), allowed.clone());
        let next = apart_if(many, move || after(&active, &changed, entries.as_deref(), &base)).await?;
        self.active.store(Arc::new(next));
        if let Some(entries) = allowed {
            self.allowlist.store(Arc::new(entries));
        }
        Ok(())
    }

    /// Remembers what changed. Returns the allowlist, if that did.
    fn note(&self, changed: &[Document]) -> Option<Vec<Document>> {
        let mut known = self.documents.lock();
        for Document { kind, name, body } in changed {
            match body {
                Value::Null => drop(known.remove(&(*kind, name.clone()))),
                body => drop(known.insert((*kind, name.clone()), body.clone())),
            }
        }
        changed.iter().any(|d| d.kind == DocumentKind::Allowlist).then(|| {
            let entries = known.iter().filter(|((kind, _), _)| *kind == DocumentKind::Allowlist);
            entries
                .map(|((kind, name), body)| Document { kind: *kind, name: name.clone(), body: body.clone() })
                .collect()
        })
    }

    /// Takes in what changed, if anything did. Revisions only go up: where one is lower than that in force here, the store
    /// has lost what it had acknowledged, and it is told again.
    pub(super) async fn refresh_documents_if_changed(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        let (stored, known) = (self.store.documents_revision().await?, self.active.load().revision);
        if stored.number < known.number {
            self.assert_documents().await?;
            self.read_documents().await?;
        } else if stored != known {
            self.take_changes_in().await?;
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
