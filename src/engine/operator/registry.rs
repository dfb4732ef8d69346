//! People change the registry: plans, projects and keys. What it says about a request is in `decide::terms`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    domain::{
        Millis,
        actor::Actor,
        counter::Counter,
        event::{PolicyChanged, format_millis},
        finding::Severity,
        registry::{Applied, Entry, Registry},
    },
    engine::{events, in_force::InForce, limit_reports::LimitReports, policy::ActivePolicy, shared::Shared},
    store::{Document, DocumentKind, StoreError, StoreFault, patient},
};

/// Of so many registered keys that have a plan it is told that a changed limit of it is used up.
const MOST_KEYS: usize = 10_000;

/// The registry, as people change it.
pub struct RegistryChanges {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    limit_reports: Arc<LimitReports>,
    /// Held while a part of the registry is changed, so that those who do so here do not keep each other from it.
    patching: tokio::sync::Mutex<()>,
}

impl RegistryChanges {
    /// Changes what is in force; a limit that is used up by it is reported, unless `limit_reports` say that it was.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        limit_reports: Arc<LimitReports>,
    ) -> Self {
        Self { shared, in_force, limit_reports, patching: tokio::sync::Mutex::default() }
    }

    /// Puts a plan, project or key in force, here at once and on every instance within a second. It must be checked.
    /// Says whether there was one of this name.
    ///
    /// # Errors
    /// When it could not be written: what was in force still is then.
    pub async fn put(&self, name: &str, entry: &Entry, by: &Actor, now: Millis) -> Result<bool, StoreError> {
        let registry = self.in_force.policy().registry.clone();
        let (document, details) = written(&registry, name, entry, by, now)?;
        let stored = self.in_force.write(&document, Severity::Low, &details, now).await?;
        self.report_lowered(document.kind, name, now).await;
        Ok(stored || shown(&registry, document.kind, name).is_some())
    }

    /// The right to change a part of the registry: others of this instance wait for it.
    pub async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.patching.lock().await
    }

    /// Puts a plan, project or key in force that was made of what `active` has. Says whether it was: where anything has
    /// changed since, nothing is written, and what changed is in force here.
    ///
    /// # Errors
    /// When it could not be written: what was in force still is then.
    pub async fn put_after(
        &self,
        active: &ActivePolicy,
        name: &str,
        entry: &Entry,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (document, details) = written(&active.registry, name, entry, by, now)?;
        let written =
            self.in_force.write_at(active.revision, &document, Severity::Low, &details, now).await?;
        if written {
            self.report_lowered(document.kind, name, now).await;
        }
        Ok(written)
    }

    /// Tells of the limits of a project or key that are used up as they are now: one was lowered to what is used. The
    /// change is made already, so that a store that does not answer is no failure of it.
    async fn report_lowered(&self, kind: DocumentKind, name: &str, now: Millis) {
        if let Err(error) = self.used_up(kind, name, now).await {
            tracing::warn!(%error, name, "whether a changed limit is used up could not be read");
        }
    }

    async fn used_up(&self, kind: DocumentKind, name: &str, now: Millis) -> Result<(), StoreError> {
        let active = self.in_force.policy();
        let limits: Vec<Applied> = match kind {
            DocumentKind::Project => active.registry.limits_of_project(name),
            DocumentKind::Key => active.registry.limits_of_key(name),
            DocumentKind::Plan => active.registry.limits_of_keys_with_plan(name, MOST_KEYS),
            _ => Vec::new(),
        };
        let has_marks = |applied: &Applied| !applied.rule.limit.marks().is_empty();
        let limits: Vec<Applied> = limits.into_iter().filter(has_marks).collect();
        if limits.is_empty() {
            return Ok(());
        }
        let counters: Vec<Counter> = limits.iter().map(|applied| applied.counter.clone()).collect();
        for (applied, count) in limits.iter().zip(patient(self.shared.store.counters(&counters, now)).await?)
        {
            if self.limit_reports.is_used_up_now(applied, count, now) {
                self.shared.outbox.push(events::used_up(applied, count.used, now));
            }
        }
        Ok(())
    }

    /// Deletes a stored plan, project or key; a configured one of the same name is in force again then. Says whether
    /// there was one in the store.
    ///
    /// # Errors
    /// When it could not be written: it is still in force then.
    pub async fn delete(
        &self,
        kind: DocumentKind,
        name: &str,
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let before = shown(&self.in_force.policy().registry, kind, name);
        let details = changed(kind, name, (before, None), by);
        let document = Document { kind, name: name.to_owned(), body: Value::Null };
        self.in_force.write(&document, Severity::Low, &details, now).await
    }
}

/// The document of an entry, and what is told of the change.
fn written(
    registry: &Registry,
    name: &str,
    entry: &Entry,
    by: &Actor,
    now: Millis,
) -> Result<(Document, PolicyChanged), StoreError> {
    let (kind, body) = match entry {
        Entry::Plan(plan) => (DocumentKind::Plan, serde_json::to_value(plan)),
        Entry::Project(project) => (DocumentKind::Project, serde_json::to_value(project)),
        Entry::Key(key) => (DocumentKind::Key, serde_json::to_value(key)),
    };
    let body = body.map_err(|error| StoreError::Incompatible(StoreFault::of(error)))?;
    let details = changed(kind, name, (shown(registry, kind, name), Some(&body)), by);
    let body = json!({ "entry": body, "updated": format_millis(now) });
    Ok((Document { kind, name: name.to_owned(), body }, details))
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
        DocumentKind::Policy | DocumentKind::Allowlist | DocumentKind::Token => None,
    }
}
