//! Documents: small things that people configure while the service runs.

use serde::{Deserialize, Serialize};

use crate::{domain::event::Event, store::StoreResult};

/// Kinds of documents, each with names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentKind {
    /// The one policy, under the name `current`.
    Policy,
    /// What the allowlist lets pass, by the name of its entry.
    Allowlist,
    /// Limits that projects and keys share, by the name of the plan.
    Plan,
    /// Owners of keys, by the name of the project.
    Project,
    /// Registered keys, by their id.
    Key,
    /// Tokens for the API, by their id: hashes, and no secret.
    Token,
}

impl DocumentKind {
    /// Every kind, in the order in which documents are listed.
    pub const ALL: &'static [Self] =
        &[Self::Policy, Self::Allowlist, Self::Plan, Self::Project, Self::Key, Self::Token];

    /// The name under which it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Allowlist => "allowlist",
            Self::Plan => "plan",
            Self::Project => "project",
            Self::Key => "key",
            Self::Token => "token",
        }
    }
}

/// A document: its name and its JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The kind, which is a name space of its own.
    pub kind: DocumentKind,
    /// Its name among its kind.
    pub name: String,
    /// The content; null where the document is to be deleted, or was.
    pub body: serde_json::Value,
}

/// Changes of documents that a store remembers at least: whoever missed more reads all documents.
pub(in crate::store) const CHANGES_KEPT: u64 = 5_000;

/// How often documents changed. A store that lost changes, and has counted on since, has another mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Revision {
    /// How many changes there were so far.
    pub number: u64,
    /// Names the last change; 0: it is not known which that was.
    pub mark: u64,
}

/// What became of the documents between two revisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Changed {
    /// The later of the two revisions.
    pub revision: Revision,
    /// What changed until then, each once; with a null body what is gone.
    pub documents: Vec<Document>,
}

/// Keeps documents, with a revision that changes whenever any of them does.
pub trait DocumentStore: Send + Sync + 'static {
    /// Every document, with the revision they belong to.
    fn documents(&self) -> StoreResult<'_, (Revision, Vec<Document>)>;

    /// Grows by one with each document that is written or deleted.
    fn documents_revision(&self) -> StoreResult<'_, Revision>;

    /// The documents that changed after `known`. `None` where the store cannot tell, so that all must be read: that is
    /// too long ago, or never was so (it was emptied, or restored to what it had been before).
    fn documents_since(&self, known: Revision) -> StoreResult<'_, Option<Changed>>;

    /// Writes a document (or deletes it, with `body` null) and appends `event`. Says whether it was there before: where
    /// what is to be deleted was not, nothing is written at all.
    fn write_document<'a>(&'a self, document: &'a Document, event: &'a Event) -> StoreResult<'a, bool>;

    /// The same, unless any document has changed since the revision `at`. Says whether it was written.
    fn write_document_at<'a>(
        &'a self,
        document: &'a Document,
        event: &'a Event,
        at: Revision,
    ) -> StoreResult<'a, bool>;
}
