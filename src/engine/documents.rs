//! Policy, allowlist and registry as they follow from the documents of the store.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;

use super::policy::{ActivePolicy, Base};
use crate::{
    domain::{
        Millis,
        allowlist::Allowlist,
        event::parse_millis,
        policy::Policy,
        registry::{Change, Entry, Registry},
    },
    store::{Changed, Document, DocumentKind, Revision, StoreError, StoreFault},
};

/// So many documents (or projects, whose limits are made ready together) are taken in on a thread of their own, as it
/// takes longer than a request may wait.
pub(super) const MANY: usize = 500;

/// Works on another thread where that takes long.
pub(super) async fn apart_if<T: Send + 'static>(
    long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if !long {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| StoreError::Incompatible(StoreFault::of(error)))
}

/// Documents by what they are.
pub(super) type Known = BTreeMap<(DocumentKind, String), Value>;

/// All that follows from the store's documents.
pub(super) struct Read {
    pub(super) active: ActivePolicy,
    pub(super) entries: Vec<Document>,
    pub(super) tokens: Vec<Document>,
    pub(super) known: Known,
}

impl Read {
    pub(super) fn of(revision: Revision, documents: Vec<Document>, base: &Base) -> Self {
        let policy = documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| &d.body);
        let policy = policy_of(policy.unwrap_or(&Value::Null), base);
        let of_kind =
            |kind| documents.iter().filter(move |document: &&Document| document.kind == kind).cloned();
        let entries: Vec<Document> = of_kind(DocumentKind::Allowlist).collect();
        let tokens = of_kind(DocumentKind::Token).collect();
        let registered = documents.iter().filter_map(|document| {
            let (entry, at) = entry(document.kind, &document.name, &document.body)?;
            Some((document.name.clone(), entry, at))
        });
        let registry = Arc::new(Registry::new(base.registry.clone(), registered));
        let active = ActivePolicy { revision, registry, ..ActivePolicy::new(policy, allowlist(&entries)) };
        Self { active, entries, tokens, known: known(documents) }
    }
}

pub(super) fn known(documents: Vec<Document>) -> Known {
    documents.into_iter().map(|document| ((document.kind, document.name), document.body)).collect()
}

/// The policy that is stored; where none is, or none that this version can read, the configured one.
fn policy_of(stored: &Value, base: &Base) -> Policy {
    if stored.is_null() {
        return base.policy.clone();
    }
    Policy::deserialize(stored).or_else(|_| of_another_version(stored, base)).unwrap_or_else(|error| {
        tracing::error!(%error, "the stored policy cannot be read by this version; the configured one is in force");
        base.policy.clone()
    })
}

/// A policy that an older or a newer version stored: what it lacks is the configured one's, and what this version does
/// not know is left out. So an upgrade, instance by instance, changes nothing of what a person has set.
fn of_another_version(stored: &Value, base: &Base) -> Result<Policy, serde_json::Error> {
    let mut fitted = serde_json::to_value(&base.policy)?;
    take_over(&mut fitted, stored);
    Policy::deserialize(&fitted).inspect(|_| {
        tracing::warn!("another version stored the policy; what it lacks is the configured one's")
    })
}

/// Puts what `stored` has in the place of what `fitted` has, member by member.
fn take_over(fitted: &mut Value, stored: &Value) {
    match (fitted, stored) {
        (Value::Object(fitted), Value::Object(stored)) => {
            for (name, value) in fitted.iter_mut() {
                match stored.get(name) {
                    // Which windows have a limit is said by the names that are there.
                    Some(limits) if name == "limits" => *value = limits.clone(),
                    Some(stored) => take_over(value, stored),
                    None => {}
                }
            }
        }
        (fitted, stored) => *fitted = stored.clone(),
    }
}

/// What is in force after some documents have changed: what they are not about is shared with what was.
pub(super) fn after(
    active: &ActivePolicy,
    changed: &Changed,
    allowed: Option<&[Document]>,
    base: &Base,
) -> ActivePolicy {
    let stored = changed.documents.iter().find(|d| d.kind == DocumentKind::Policy).map(|d| &d.body);
    let policy = stored.map_or_else(|| active.policy.clone(), |body| policy_of(body, base));
    let list = allowed.map_or_else(|| active.allowlist.clone(), allowlist);
    let registry = changed_registry(&active.registry, &changed.documents);
    let registry = registry.map_or_else(|| active.registry.clone(), Arc::new);
    ActivePolicy { revision: changed.revision, registry, ..ActivePolicy::new(policy, list) }
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

/// What a document says of the registry; `None` for other documents, and for what this version cannot read.
fn entry(kind: DocumentKind, name: &str, body: &Value) -> Option<(Entry, Millis)> {
    let said = &body["entry"];
    let read = match kind {
        DocumentKind::Plan => Deserialize::deserialize(said).map(Entry::Plan),
        DocumentKind::Project => Deserialize::deserialize(said).map(Entry::Project),
        DocumentKind::Key => Deserialize::deserialize(said).map(Entry::Key),
        DocumentKind::Policy | DocumentKind::Allowlist | DocumentKind::Token => return None,
    };
    let at = body["updated"].as_str().and_then(|text| parse_millis(text).ok()).unwrap_or_default();
    read.map(|entry| (entry, at))
        .map_err(|error| tracing::error!(kind = kind.name(), name, %error, "it cannot be read and is not in force"))
        .ok()
}

/// The registry after some documents have changed; `None` where none of them is the registry's.
fn changed_registry(registry: &Registry, documents: &[Document]) -> Option<Registry> {
    let changes: Vec<_> = documents.iter().filter_map(|d| Some((d.name.as_str(), change(d)?))).collect();
    (!changes.is_empty()).then(|| registry.after(changes))
}

fn change(document: &Document) -> Option<Change> {
    let gone = match document.kind {
        DocumentKind::Plan => Change::NoPlan,
        DocumentKind::Project => Change::NoProject,
        DocumentKind::Key => Change::NoKey,
        DocumentKind::Policy | DocumentKind::Allowlist | DocumentKind::Token => return None,
    };
    // What cannot be read is not in force, as if all had been read.
    let put = (!document.body.is_null()).then(|| entry(document.kind, &document.name, &document.body));
    Some(put.flatten().map_or(gone, |(entry, at)| Change::Put(entry, at)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::default_policy, domain::registry::Configured};

    #[test]
    fn a_policy_of_an_older_or_a_newer_version_keeps_what_a_person_has_set() {
        let base = Base {
            policy: default_policy(),
            registry: Arc::new(Configured::default()),
            alerts: Vec::new(),
            spend: None,
            has_emergency_hook: false,
        };
        let mut stored = serde_json::to_value(default_policy()).unwrap();
        stored["detectors"]["impossible_travel"]["min_distance_km"] = 4321.into();
        stored["limits"]["tokens"] = serde_json::json!({"1hour": 7});
        let set = policy_of(&stored, &base);
        assert_ne!(set, base.policy);
        stored["detectors"].as_object_mut().unwrap().remove("traffic_burst");
        assert_eq!(policy_of(&stored, &base), set, "an older version did not know this detector");
        stored["detectors"]["of_tomorrow"] = serde_json::json!({"mode": "enforce"});
        assert_eq!(policy_of(&stored, &base), set, "a newer version knows one more");
        stored["detectors"]["impossible_travel"]["min_distance_km"] = "far".into();
        assert_eq!(policy_of(&stored, &base), base.policy, "this is no policy of any version");
    }
}
