//! The registry at work: what applies to each request, who is refused by it, and how people change it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{ActivePolicy, Engine, events::Frame, prepare::Purpose};
use crate::{
    domain::{
        Millis,
        actor::Actor,
        decision::{Decision, Reason},
        event::{format_millis, parse_millis},
        finding::Severity,
        record::Record,
        registry::{Change, Entry, NotAllowed, Registry, Terms},
    },
    store::{Document, DocumentKind, StoreError, StoreFault},
};

impl Engine {
    /// What the registry says about each record, and the records as it sees them: with the project that their key is
    /// registered to. Nothing is copied, and no terms are made, where it says nothing.
    pub(super) fn terms<'r>(
        &self,
        records: &'r [Record],
        active: &ActivePolicy,
        now: Millis,
    ) -> (Cow<'r, [Record]>, Vec<Terms>) {
        let mut placed = Cow::Borrowed(records);
        if active.registry.is_idle() {
            return (placed, Vec::new());
        }
        let mut all = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            let terms = self.terms_of(record, active, now);
            if terms.mismatch {
                let place = self.geo.lookup(record.source_ip);
                let frame = Frame::new(record, place.as_deref(), active, Purpose::Record, now);
                self.outbox.tell(|| frame.mismatch(terms.project.as_ref()));
            }
            let moves = terms.project.is_some() && terms.project != record.project;
            if moves && let Some(record) = placed.to_mut().get_mut(index) {
                record.project.clone_from(&terms.project);
            }
            all.push(terms);
        }
        (placed, all)
    }

    /// Whether a key is registered under this public id.
    pub fn is_registered(&self, key_id: &str) -> bool {
        self.active.load().registry.has_key(key_id)
    }

    /// What the registry says about one record.
    pub(super) fn terms_of(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Terms {
        active.registry.terms(record, || self.geo.place_core(record.source_ip).country, now)
    }

    /// The decision about a request that its key may not make. It charges nothing and teaches nothing.
    pub(super) fn refuse_by_registry(
        &self,
        record: &Record,
        refusal: NotAllowed,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Decision {
        let place = self.geo.lookup(record.source_ip);
        let frame = Frame::new(record, place.as_deref(), active, purpose, now);
        self.outbox.tell(|| frame.not_allowed(refusal));
        let reason = match refusal {
            NotAllowed::UnknownKey => Reason::UnknownKey,
            _ => Reason::KeyNotAllowed,
        };
        Decision { allowed: false, reason: Some(reason), ..self.plain_decision(record, active, now) }
    }

    /// Puts a plan, project or key in force, here at once and on every instance within a second. It must be checked. Says
    /// whether there was one of this name.
    ///
    /// # Errors
    /// When it could not be written: what was in force still is then.
    pub async fn put_entry(
        &self,
        name: &str,
        entry: &Entry,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (kind, body) = match entry {
            Entry::Plan(plan) => (DocumentKind::Plan, serde_json::to_value(plan)),
            Entry::Project(project) => (DocumentKind::Project, serde_json::to_value(project)),
            Entry::Key(key) => (DocumentKind::Key, serde_json::to_value(key)),
        };
        let body = body.map_err(|error| StoreError::Incompatible(StoreFault::of(error)))?;
        let before = shown(&self.policy().registry, kind, name);
        let evidence = json!({ "document": kind.name(), "name": name, "before": before, "after": body });
        let body = json!({ "entry": body, "updated": format_millis(now) });
        let document = Document { kind, name: name.to_owned(), body };
        let stored = self.write_document(document, Severity::Low, evidence, by, now).await?;
        Ok(stored || before.is_some())
    }

    /// Deletes a stored plan, project or key; a configured one of the same name is in force again then. Says whether
    /// there was one in the store.
    ///
    /// # Errors
    /// When it could not be written: it is still in force then.
    pub async fn delete_entry(
        &self,
        kind: DocumentKind,
        name: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let before = shown(&self.policy().registry, kind, name);
        let evidence = json!({ "document": kind.name(), "name": name, "before": before, "after": null });
        let document = Document { kind, name: name.to_owned(), body: Value::Null };
        self.write_document(document, Severity::Low, evidence, by, now).await
    }
}

fn shown(registry: &Registry, kind: DocumentKind, name: &str) -> Option<Value> {
    match kind {
        DocumentKind::Plan => {
            registry.plans().get(name).and_then(|held| serde_json::to_value(&*held.body).ok())
        }
        DocumentKind::Project => {
            registry.projects().get(name).and_then(|held| serde_json::to_value(&*held.body).ok())
        }
        DocumentKind::Key => registry.key(name).and_then(|held| serde_json::to_value(&*held.body).ok()),
        DocumentKind::Policy | DocumentKind::Allowlist => None,
    }
}

/// What a document says of the registry; `None` for other documents, and for what this version cannot read.
pub(super) fn entry(kind: DocumentKind, name: &str, body: &Value) -> Option<(Entry, Millis)> {
    let said = &body["entry"];
    let read = match kind {
        DocumentKind::Plan => Deserialize::deserialize(said).map(Entry::Plan),
        DocumentKind::Project => Deserialize::deserialize(said).map(Entry::Project),
        DocumentKind::Key => Deserialize::deserialize(said).map(Entry::Key),
        DocumentKind::Policy | DocumentKind::Allowlist => return None,
    };
    let at = body["updated"].as_str().and_then(|text| parse_millis(text).ok()).unwrap_or_default();
    read.map(|entry| (entry, at))
        .map_err(|error| tracing::error!(kind = kind.name(), name, %error, "it cannot be read and is not in force"))
        .ok()
}

/// The registry after some documents have changed; `None` where none of them is the registry's.
pub(super) fn changed(registry: &Registry, documents: &[Document]) -> Option<Registry> {
    let changes: Vec<_> = documents.iter().filter_map(|d| Some((d.name.as_str(), change(d)?))).collect();
    (!changes.is_empty()).then(|| registry.after(changes))
}

fn change(document: &Document) -> Option<Change> {
    let gone = match document.kind {
        DocumentKind::Plan => Change::NoPlan,
        DocumentKind::Project => Change::NoProject,
        DocumentKind::Key => Change::NoKey,
        DocumentKind::Policy | DocumentKind::Allowlist => return None,
    };
    // What cannot be read is not in force, as if all had been read.
    let put = (!document.body.is_null()).then(|| entry(document.kind, &document.name, &document.body));
    Some(put.flatten().map_or(gone, |(entry, at)| Change::Put(entry, at)))
}
