//! People make tokens and revoke them: one document of the store for each, with a hash and no secret.
//!
//! Of tokens that were revoked, one document stays as a trace (`{"revoked": …}`), so that a service that had tokens
//! knows of it after a restart, and does not open when the last of them is gone.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    domain::{
        Millis,
        actor::Actor,
        event::{PolicyChanged, format_millis},
        finding::Severity,
    },
    engine::in_force::InForce,
    store::{Document, DocumentKind, Revision, StoreError},
};

/// Tokens that the store holds at most; every instance has them all in memory.
pub const MOST_TOKENS: usize = 1_000;
/// How often a change is begun anew where others change documents meanwhile.
const ATTEMPTS: usize = 32;
/// The member of a document that is a trace of a token.
const REVOKED: &str = "revoked";

/// Tokens, as people change them.
pub struct TokenChanges {
    in_force: Arc<InForce>,
    /// Held while one is made or revoked, so that those who do so here do not keep each other from it.
    changing: tokio::sync::Mutex<()>,
}

/// A token as it is made: what is kept of it.
#[derive(Debug)]
pub struct NewToken<'a> {
    /// The part of the token before the dot, without `kw_`.
    pub id: &'a str,
    /// SHA-256 of the whole token, in hex.
    pub hash: &'a str,
    /// The names of what it may do.
    pub scopes: &'a [String],
    /// RFC 3339 time after which it is refused; `None`: it never ends.
    pub expires: Option<&'a str>,
}

/// What became of a change of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenChange {
    /// It is in force.
    Done,
    /// There is one of this id already; or, where one was to be revoked, there is none.
    Other,
    /// It may not be: there are too many; or, where one was to be revoked, nobody would be left who may make others.
    NotAllowed,
    /// Others change documents all the time.
    Crowded,
}

/// Whether a document of the kind [`DocumentKind::Token`] is a token, and not the trace of one that was revoked.
pub fn is_token(document: &Document) -> bool {
    document.kind == DocumentKind::Token && document.body.get(REVOKED).is_none()
}

impl TokenChanges {
    /// Changes what is in force.
    pub(in crate::engine) fn new(in_force: Arc<InForce>) -> Self {
        Self { in_force, changing: tokio::sync::Mutex::default() }
    }

    /// Puts a token in force, here at once and on every instance within a second, unless there is one of its id.
    ///
    /// # Errors
    /// When it could not be written: it is not in force then, unless the answer of the store was lost.
    pub async fn put(
        &self,
        token: &NewToken<'_>,
        by: &Actor,
        now: Millis,
    ) -> Result<TokenChange, StoreError> {
        let NewToken { id, hash, scopes, expires } = token;
        let logged = json!({ "scopes": scopes, "expires": expires });
        let mut body = logged.clone();
        body["hash"] = (*hash).into();
        body["created"] = format_millis(now).into();
        let _alone = self.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let (revision, held) = self.held();
            let mut tokens = held.iter().filter(|held| is_token(held));
            if tokens.clone().any(|held| held.name == *id) {
                return Ok(TokenChange::Other);
            }
            if tokens.nth(MOST_TOKENS - 1).is_some() {
                return Ok(TokenChange::NotAllowed);
            }
            let change = (Value::Null, logged.clone());
            if self.write_at(revision, id, body.clone(), change, by, now).await? {
                return Ok(TokenChange::Done);
            }
        }
        Ok(TokenChange::Crowded)
    }

    /// Revokes a token, here at once and on every instance within a second, if it `may_go` in view of the documents of
    /// those that stay.
    ///
    /// # Errors
    /// When it could not be written: it is still in force then, unless the answer of the store was lost.
    pub async fn revoke(
        &self,
        id: &str,
        may_go: impl Fn(&[Document]) -> bool,
        by: &Actor,
        now: Millis,
    ) -> Result<TokenChange, StoreError> {
        let _alone = self.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let (revision, held) = self.held();
            let (gone, others): (Vec<&Document>, Vec<&Document>) =
                held.iter().partition(|held| held.name == id && is_token(held));
            let [gone] = gone.as_slice() else { return Ok(TokenChange::Other) };
            let has_trace = others.iter().any(|other| !is_token(other));
            let stay: Vec<Document> = others.into_iter().filter(|other| is_token(other)).cloned().collect();
            if !may_go(&stay) {
                return Ok(TokenChange::NotAllowed);
            }
            let trace = if has_trace { Value::Null } else { json!({ REVOKED: format_millis(now) }) };
            let before = json!({ "scopes": gone.body["scopes"], "expires": gone.body["expires"] });
            if self.write_at(revision, id, trace, (before, Value::Null), by, now).await? {
                return Ok(TokenChange::Done);
            }
        }
        Ok(TokenChange::Crowded)
    }

    /// The documents of tokens, and a revision at which none of them was older.
    fn held(&self) -> (Revision, Arc<Vec<Document>>) {
        // Documents are in force before their revision is.
        let revision = self.in_force.policy().revision;
        (revision, self.in_force.tokens().borrow().clone())
    }

    async fn write_at(
        &self,
        at: Revision,
        id: &str,
        body: Value,
        (before, after): (Value, Value),
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let (kind, name) = (DocumentKind::Token, id.to_owned());
        let document = Document { kind, name: name.clone(), body };
        let by = Some(by.clone());
        let details = PolicyChanged::Registry { document: kind.name().to_owned(), name, before, after, by };
        self.in_force.write_at(at, &document, Severity::Medium, &details, now).await
    }
}
