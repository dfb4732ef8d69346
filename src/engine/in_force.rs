//! What is in force on this instance: policy, allowlist and registry, as last read from the documents of the store. How
//! they follow from the documents is in `documents`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::{
    documents::{self, Known, MANY, Read, after, apart_if},
    events,
    policy::{ActivePolicy, Base},
    shared::Shared,
};
use crate::{
    domain::{
        Millis,
        event::{EventType, PolicyChanged},
        finding::Severity,
    },
    store::{Document, DocumentKind, Revision, StoreError},
};

/// What is in force on this instance.
pub(super) struct InForce {
    shared: Arc<Shared>,
    base: ArcSwap<Base>,
    active: ArcSwap<ActivePolicy>,
    allowlist: ArcSwap<Vec<Document>>,
    /// The tokens that the store holds; changes whenever they may have.
    tokens: watch::Sender<Arc<Vec<Document>>>,
    /// Every document as last read, to tell a store again that lost them.
    documents: Mutex<Known>,
    /// Held while they are read, so that what is older never replaces what is newer.
    refreshing: tokio::sync::Mutex<()>,
}

impl InForce {
    /// The base alone, until the documents are read.
    pub(super) fn new(shared: Arc<Shared>, base: Base) -> Self {
        Self {
            shared,
            active: ArcSwap::from_pointee(ActivePolicy::new(base.policy.clone(), Default::default())),
            allowlist: ArcSwap::default(),
            tokens: watch::Sender::default(),
            documents: Mutex::default(),
            refreshing: tokio::sync::Mutex::default(),
            base: ArcSwap::from_pointee(base),
        }
    }

    /// What holds where nothing else is stored.
    pub(super) fn base(&self) -> Arc<Base> {
        self.base.load_full()
    }

    /// Puts another base in force, under what the store holds as last read.
    ///
    /// # Errors
    /// When it could not be worked out: the former one is in force then.
    pub(super) async fn set_base(&self, base: Base) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        let revision = self.active.load().revision;
        let documents = self.documents.lock().clone().into_iter();
        let documents: Vec<_> = documents.map(|((kind, name), body)| Document { kind, name, body }).collect();
        let base = Arc::new(base);
        let (many, read) = (documents.len() >= MANY, base.clone());
        let Read { active, .. } = apart_if(many, move || Read::of(revision, documents, &read)).await?;
        self.base.store(base);
        self.active.store(Arc::new(active));
        Ok(())
    }

    /// The policy in force, with what belongs to it.
    pub(super) fn policy(&self) -> Arc<ActivePolicy> {
        self.active.load_full()
    }

    /// Every allowlist entry: its name is the entry, its body `{"reason","expires","created"}`.
    pub(super) fn allowlist(&self) -> Arc<Vec<Document>> {
        self.allowlist.load_full()
    }

    /// Every token of the store, now and as they change: its name is its id, its body `{"hash","scopes","expires",
    /// "created"}`. Of those that were revoked there may be one with `{"revoked"}`.
    pub(super) fn tokens(&self) -> watch::Receiver<Arc<Vec<Document>>> {
        self.tokens.subscribe()
    }

    /// Whether a key is registered under this public id.
    pub(super) fn is_registered(&self, key_id: &str) -> bool {
        self.active.load().registry.has_key(key_id)
    }

    /// Writes a document with an event that tells of it, and puts it in force. Says whether there was one.
    ///
    /// # Errors
    /// While the store does not answer, and when it does not take it: what was in force still is then.
    pub(super) async fn write(
        &self,
        document: &Document,
        severity: Severity,
        details: &PolicyChanged,
        now: Millis,
    ) -> Result<bool, StoreError> {
        self.shared.answering()?;
        let event = events::operator(now, EventType::PolicyChanged, severity, None).with(details);
        // Until it is in force here: so that nobody else takes it in meanwhile.
        let _alone = self.refreshing.lock().await;
        let was_there = self.shared.store.write_document(document, &event).await?;
        self.shared.metrics.events_written.increment(1);
        self.take_changes_in().await?;
        Ok(was_there)
    }

    /// The same, unless anything has changed since the revision `at`. Says whether it was written; where it was not,
    /// what has changed is in force.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(super) async fn write_at(
        &self,
        at: Revision,
        document: &Document,
        severity: Severity,
        details: &PolicyChanged,
        now: Millis,
    ) -> Result<bool, StoreError> {
        self.shared.answering()?;
        let event = events::operator(now, EventType::PolicyChanged, severity, None).with(details);
        let _alone = self.refreshing.lock().await;
        let written = self.shared.store.write_document_at(document, &event, at).await?;
        if written {
            self.shared.metrics.events_written.increment(1);
            self.take_changes_in().await?;
        } else {
            self.catch_up().await?;
        }
        Ok(written)
    }

    /// Reads policy, allowlist and registry from the store and puts them in force.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        self.read_documents().await
    }

    /// The same at the start, where a former run knew documents of some revision. Where the store has an earlier one,
    /// it has lost what it had acknowledged, and is told again; says how many changes those are.
    pub(super) async fn begin(&self, known: Revision, documents: Vec<Document>) -> Result<u64, StoreError> {
        let stored = self.shared.store.documents_revision().await?;
        let lost = known.number.saturating_sub(stored.number);
        if lost == 0 {
            self.refresh().await?;
        } else {
            self.restore(known, documents);
            self.refresh_if_changed().await?;
        }
        Ok(lost)
    }

    /// Puts in force what a former run knew, until the store can be asked.
    pub(super) fn restore(&self, revision: Revision, documents: Vec<Document>) {
        self.take(Read::of(revision, documents, &self.base()));
    }

    /// Puts in force what follows from all documents.
    fn take(&self, Read { active, entries, tokens, known }: Read) {
        *self.documents.lock() = known;
        // Whoever changes tokens at a revision must not have those of the one before.
        self.tokens.send_replace(Arc::new(tokens));
        self.active.store(Arc::new(active));
        self.allowlist.store(Arc::new(entries));
    }

    /// Every document as last read, and a revision at which none of them was newer in the store; `None` where there are
    /// more than so many.
    pub(super) fn documents(&self, most: usize) -> Option<(Revision, Vec<Document>)> {
        // They are noted before the revision is.
        let revision = self.active.load().revision;
        let documents = self.documents.lock();
        let each = documents.iter();
        let each =
            each.map(|((kind, name), body)| Document { kind: *kind, name: name.clone(), body: body.clone() });
        (documents.len() <= most).then(|| (revision, each.collect()))
    }

    /// What is worth keeping beside the store: every document with a revision, as [`Self::documents`] has them; of more
    /// than so many the tokens alone, without which everybody might do everything, and no revision.
    pub(super) fn kept(&self, most: usize) -> (Revision, Vec<Document>) {
        self.documents(most).unwrap_or_else(|| (Revision::default(), self.tokens.borrow().to_vec()))
    }

    async fn read_documents(&self) -> Result<(), StoreError> {
        let (revision, documents) = self.shared.store.documents().await?;
        let base = self.base();
        let many = documents.len() >= MANY;
        self.take(apart_if(many, move || Read::of(revision, documents, &base)).await?);
        Ok(())
    }

    /// Puts in force what changed since, by whoever holds `refreshing`. What did not change is neither read nor made
    /// anew: else each of many entries that are written one by one would cost the reading of all, on every instance.
    async fn take_changes_in(&self) -> Result<(), StoreError> {
        let active = self.active.load_full();
        let Some(changed) = self.shared.store.documents_since(active.revision).await? else {
            return self.read_documents().await;
        };
        let [allowed, tokens] = self.note(&changed.documents);
        let many = changed.documents.len() + active.registry.projects().len() >= MANY;
        let (base, entries) = (self.base(), allowed.clone());
        let next = apart_if(many, move || after(&active, &changed, entries.as_deref(), &base)).await?;
        if let Some(tokens) = tokens {
            self.tokens.send_replace(Arc::new(tokens));
        }
        self.active.store(Arc::new(next));
        if let Some(entries) = allowed {
            self.allowlist.store(Arc::new(entries));
        }
        Ok(())
    }

    /// Remembers what changed. Returns the allowlist and the tokens, each if it did.
    fn note(&self, changed: &[Document]) -> [Option<Vec<Document>>; 2] {
        let mut known = self.documents.lock();
        for Document { kind, name, body } in changed {
            match body {
                Value::Null => drop(known.remove(&(*kind, name.clone()))),
                body => drop(known.insert((*kind, name.clone()), body.clone())),
            }
        }
        [DocumentKind::Allowlist, DocumentKind::Token].map(|wanted| {
            changed.iter().any(|document| document.kind == wanted).then(|| {
                let held = known.iter().filter(|((kind, _), _)| *kind == wanted);
                held.map(|((kind, name), body)| Document {
                    kind: *kind,
                    name: name.clone(),
                    body: body.clone(),
                })
                .collect()
            })
        })
    }

    /// Takes in what changed, if anything did. Revisions only go up: where one is lower than that in force here, the
    /// store has lost what it had acknowledged, and it is told again.
    pub(super) async fn refresh_if_changed(&self) -> Result<(), StoreError> {
        let _alone = self.refreshing.lock().await;
        self.catch_up().await
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        let (stored, known) = (self.shared.store.documents_revision().await?, self.active.load().revision);
        if stored.number < known.number {
            self.assert_all().await?;
            self.read_documents().await?;
        } else if stored != known {
            self.take_changes_in().await?;
        }
        Ok(())
    }

    /// Makes the store's documents those that are known here.
    async fn assert_all(&self) -> Result<(), StoreError> {
        let ours = self.documents.lock().clone();
        let theirs = documents::known(self.shared.store.documents().await?.1);
        let lost = ours.iter().filter(|(id, body)| theirs.get(*id) != Some(*body));
        let undone = theirs.keys().filter(|id| !ours.contains_key(*id)).map(|id| (id, &Value::Null));
        for ((kind, name), body) in lost.chain(undone) {
            let event = events::restored(*kind, name, self.shared.now());
            let document = Document { kind: *kind, name: name.clone(), body: body.clone() };
            self.shared.store.write_document(&document, &event).await?;
            self.shared.metrics.events_written.increment(1);
        }
        Ok(())
    }
}
