//! People change the registry: plans, projects and keys. What it says about a request is in `decide::terms`.

use serde_json::{Value, json};

use crate::{
    domain::{
        Millis,
        actor::Actor,
        event::{PolicyChanged, format_millis},
        finding::Severity,
        registry::{Entry, Registry},
    },
    engine::Engine,
    store::{Document, DocumentKind, StoreError, StoreFault},
};

impl Engine {
    /// Puts a plan, project or key in force, here at once and on every instance within a second. It must be checked.
    /// Says whether there was one of this name.
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
        let details = changed(kind, name, (before.clone(), Some(&body)), by);
        let body = json!({ "entry": body, "updated": format_millis(now) });
        let document = Document { kind, name: name.to_owned(), body };
        let stored = self.write_document(document, Severity::Low, &details, now).await?;
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
        let details = changed(kind, name, (before, None), by);
        let document = Document { kind, name: name.to_owned(), body: Value::Null };
        self.write_document(document, Severity::Low, &details, now).await
    }
}

fn changed(
    kind: DocumentKind,
    name: &str,
    (before, after): (Option<Value>, Option<&Value>),
    by: &Actor,
) -> PolicyChanged {
    PolicyChanged::Registry {
        document: kind.name().to_owned(),
        name: name.to_owned(),
        before: before.unwrap_or_default(),
        after: after.cloned().unwrap_or_default(),
        by: Some(by.clone()),
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
