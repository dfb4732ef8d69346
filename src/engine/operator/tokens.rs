//! People make tokens and revoke them: one document of the store for each, with a hash and no secret.

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
    store::{Document, DocumentKind, StoreError},
};

/// Tokens, as people change them.
pub struct TokenChanges {
    in_force: Arc<InForce>,
    /// Held while one is made or revoked, so that nobody here does so in between.
    alone: tokio::sync::Mutex<()>,
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

impl TokenChanges {
    /// Changes what is in force.
    pub(in crate::engine) fn new(in_force: Arc<InForce>) -> Self {
        Self { in_force, alone: tokio::sync::Mutex::default() }
    }

    /// The right to make and revoke tokens: others of this instance wait for it.
    pub async fn alone(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Puts a token in force, here at once and on every instance within a second.
    ///
    /// # Errors
    /// When it could not be written: it is not in force then.
    pub async fn put(&self, token: &NewToken<'_>, by: &Actor, now: Millis) -> Result<(), StoreError> {
        let NewToken { id, hash, scopes, expires } = token;
        let logged = json!({ "scopes": scopes, "expires": expires });
        let mut body = logged.clone();
        body["hash"] = (*hash).into();
        body["created"] = format_millis(now).into();
        self.write(id, body, (Value::Null, logged), by, now).await.map(drop)
    }

    /// Revokes a token, here at once and on every instance within a second. Says whether the store had it.
    ///
    /// # Errors
    /// When it could not be written: it is still in force then.
    pub async fn revoke(&self, id: &str, by: &Actor, now: Millis) -> Result<bool, StoreError> {
        let held = self.in_force.tokens().borrow().iter().find(|token| token.name == id).cloned();
        let before =
            held.map(|held| json!({ "scopes": held.body["scopes"], "expires": held.body["expires"] }));
        self.write(id, Value::Null, (before.unwrap_or_default(), Value::Null), by, now).await
    }

    async fn write(
        &self,
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
        self.in_force.write(&document, Severity::Medium, &details, now).await
    }
}
