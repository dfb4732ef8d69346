//! Who may call: bearer tokens with scopes, kept as hashes.
//!
//! A token is `kw_<id>.<secret>`. It is looked up by its id and compared, as a whole, by hash and in constant time.
//! Where there is no token and never was one, everything is open; that the service then listens on loopback only is the
//! app's care. Once there was one, nobody is let in without, also after the last is gone.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::{App, error::ApiError};
use crate::{
    config::{self, Credential},
    domain::{
        Millis,
        actor::{Actor, valid_token_id},
        event::{format_millis, parse_millis},
        scope::Scope,
    },
    engine::is_token,
    settings::SettingErrors,
    store::Document,
};

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The id cannot stand in a token, or names acts without one.
    #[error(
        "a token needs an id of 1 to 64 letters, digits, - or _, other than `local` and `cli`, that does not begin \
         with kw_"
    )]
    Id,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(#[source] getrandom::Error),
}

/// How every token begins.
const BEGIN: &str = "kw_";
/// When a token was last used is known to within this, in milliseconds, so that calls do not wait for each other.
const USED_TO_WITHIN: Millis = 1_000;

#[derive(Debug, Clone)]
struct Entry {
    holder: Actor,
    hash: [u8; 32],
    scopes: Vec<Scope>,
    expires: Option<Millis>,
    source: Source,
    /// When it was last used here; 0: not since the start.
    used: Arc<AtomicI64>,
}

/// Where a token is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The configuration.
    Configured,
    /// The store, where it was made over the API.
    Stored {
        /// When it was made, ms; `None`: its document does not say it in a way that is known here.
        created: Option<Millis>,
    },
}

impl Source {
    /// Whether it was made over the API.
    pub fn is_stored(self) -> bool {
        self != Self::Configured
    }
}

/// A token of the store, as its document has it.
#[derive(Deserialize)]
struct Stored {
    hash: String,
    scopes: Vec<String>,
    #[serde(default)]
    expires: Option<String>,
    #[serde(default)]
    created: Value,
}

/// Who calls, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, as events name them.
    pub actor: Actor,
    /// What the token may do; everything where no token is configured.
    pub scopes: Vec<Scope>,
    /// When the token ends; `None`: never.
    pub expires: Option<Millis>,
}

impl Caller {
    /// Whoever calls while no token is configured: they may do everything.
    pub fn local() -> Self {
        Self { actor: Actor::local(), scopes: Scope::ALL.to_vec(), expires: None }
    }

    /// Whether they may do what a scope is needed for.
    pub fn may(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }
}

impl From<&Entry> for Caller {
    fn from(entry: &Entry) -> Self {
        Self { actor: entry.holder.clone(), scopes: entry.scopes.clone(), expires: entry.expires }
    }
}

/// A token that is in force, has expired, or gives way to another of the same id.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Who holds it, what it may do, and until when.
    pub caller: Caller,
    /// Where it is from.
    pub source: Source,
    /// Whether it gives way to one of the configuration that has the same id.
    pub gives_way: bool,
    /// When it was last used on this instance; `None`: not since the start.
    pub last_used: Option<Millis>,
}

impl From<&Entry> for Holder {
    fn from(entry: &Entry) -> Self {
        let last_used = Some(entry.used.load(Ordering::Relaxed)).filter(|at| *at > 0);
        Self { caller: entry.into(), source: entry.source, gives_way: false, last_used }
    }
}

/// The tokens in force, as all who hold this share them.
#[derive(Debug, Clone, Default)]
pub struct Auth(Arc<Shared>);

/// Tokens by their id.
type Tokens = HashMap<String, Entry>;

#[derive(Debug, Default)]
struct Shared {
    tokens: ArcSwap<Tokens>,
    /// Whether there is a token, or ever was one.
    closed: AtomicBool,
    parts: Mutex<Parts>,
    /// Changes with the tokens.
    changes: watch::Sender<()>,
}

/// Where the tokens in force come from.
#[derive(Debug, Default)]
struct Parts {
    configured: Vec<Entry>,
    stored: Vec<Entry>,
}

impl Auth {
    /// Reads the tokens of a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn new(config: &config::Auth) -> Result<Self, SettingErrors> {
        let auth = Self::default();
        auth.replace(config)?;
        Ok(auth)
    }

    /// Puts the tokens of a configuration in the place of those of the one before, at once.
    ///
    /// # Errors
    /// Everything that is wrong with any of them: those before stay in force.
    pub fn replace(&self, config: &config::Auth) -> Result<(), SettingErrors> {
        let configured = config.credentials()?.into_iter().map(Entry::from).collect();
        self.put(|parts| parts.configured = configured);
        Ok(())
    }

    /// Puts the tokens of the store in the place of those that it had before, at once. One that is configured wins over
    /// one of the same id.
    pub fn replace_stored(&self, documents: &[Document]) {
        if !documents.is_empty() {
            // Also by what is left of one that was revoked.
            self.0.closed.store(true, Ordering::SeqCst);
        }
        let stored = documents.iter().filter(|document| is_token(document)).map(stored).collect();
        self.put(|parts| parts.stored = stored);
    }

    fn put(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.0.parts.lock();
        change(&mut parts);
        let before = self.0.tokens.load();
        let mut tokens = Tokens::new();
        for mut entry in parts.stored.iter().chain(&parts.configured).cloned() {
            let same = before.get(entry.holder.as_str()).filter(|before| before.hash == entry.hash);
            if let Some(same) = same {
                entry.used = same.used.clone();
            }
            tokens.insert(entry.holder.as_str().to_owned(), entry);
        }
        if !tokens.is_empty() {
            self.0.closed.store(true, Ordering::SeqCst);
        }
        self.0.tokens.store(Arc::new(tokens));
        self.0.changes.send_replace(());
    }

    /// Whether there would be no token at all with those of another configuration.
    pub fn would_have_none_with(&self, config: &config::Auth) -> bool {
        config.tokens.is_empty() && self.0.parts.lock().stored.is_empty()
    }

    /// Whether anybody could make tokens at `now`, where the store held these and no others: a token of the scope
    /// `admin` that has not expired, and does not give way to another.
    pub fn would_have_admin_with(&self, stored_ones: &[Document], now: Millis) -> bool {
        let parts = self.0.parts.lock();
        let is_configured = |entry: &Entry| parts.configured.iter().any(|other| other.holder == entry.holder);
        let stored = stored_ones.iter().filter(|document| is_token(document)).map(stored);
        let stored = stored.filter(|entry| !is_configured(entry));
        let may = |entry: Entry| {
            entry.expires.is_none_or(|at| at > now)
                && entry.scopes.iter().any(|scope| scope.covers(Scope::Admin))
        };
        parts.configured.iter().cloned().chain(stored).any(may)
    }

    /// Whether the configuration has a token of this id.
    pub fn is_configured(&self, id: &str) -> bool {
        self.0.parts.lock().configured.iter().any(|entry| entry.holder.as_str() == id)
    }

    /// The right of a call that goes on for as long as its caller keeps it.
    pub(super) fn right(&self, actor: &Actor, needed: Scope) -> Right {
        // From before the token is looked at, so that no change in between is missed.
        let changes = self.0.changes.subscribe();
        let hash = self.0.tokens.load().get(actor.as_str()).map(|entry| entry.hash);
        Right { auth: self.clone(), actor: actor.clone(), hash, needed, changes }
    }

    /// Whether everybody may do everything, because there is no token and never was one. Once it is closed it stays so.
    pub fn is_open(&self) -> bool {
        !self.0.closed.load(Ordering::SeqCst)
    }

    /// Lets a request in and says who calls, or says why not.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] or [`ApiError::Forbidden`].
    pub fn admit(
        &self,
        headers: &HeaderMap,
        needed: Scope,
        now: impl FnOnce() -> Millis,
    ) -> Result<Actor, ApiError> {
        let caller = self.identify(headers, now)?;
        if caller.may(needed) { Ok(caller.actor) } else { Err(ApiError::Forbidden(needed)) }
    }

    /// Lets in whoever holds a token, wherever it was sent.
    ///
    /// # Errors
    /// As [`Auth::admit`].
    pub(super) fn admit_token(
        &self,
        token: &str,
        needed: Scope,
        now: impl FnOnce() -> Millis,
    ) -> Result<Actor, ApiError> {
        let caller = if self.is_open() { Caller::local() } else { self.holder_of(token, now)? };
        if caller.may(needed) { Ok(caller.actor) } else { Err(ApiError::Forbidden(needed)) }
    }

    /// Says who calls, whatever they may do.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`].
    pub fn identify(&self, headers: &HeaderMap, now: impl FnOnce() -> Millis) -> Result<Caller, ApiError> {
        if self.is_open() {
            return Ok(Caller::local());
        }
        let token = bearer(headers).ok_or(ApiError::Unauthenticated("send Authorization: Bearer <token>"))?;
        self.holder_of(token, now)
    }

    /// Who holds a token.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`]: it is none of those that are configured, or has expired.
    pub fn holder_of(&self, token: &str, now: impl FnOnce() -> Millis) -> Result<Caller, ApiError> {
        let tokens = self.0.tokens.load();
        let entry =
            verify(&tokens, token).ok_or(ApiError::Unauthenticated("the token is not a valid one"))?;
        let now = now();
        if entry.expires.is_some_and(|at| at <= now) {
            return Err(ApiError::Unauthenticated("the token has expired"));
        }
        if now - entry.used.load(Ordering::Relaxed) >= USED_TO_WITHIN {
            entry.used.store(now, Ordering::Relaxed);
        }
        Ok(entry.into())
    }

    /// Every token that is configured or stored, by its id.
    pub fn holders(&self) -> Vec<Holder> {
        let parts = self.0.parts.lock();
        let tokens = self.0.tokens.load();
        let mut holders: Vec<Holder> = tokens.values().map(Holder::from).collect();
        let wins = |stored: &Entry| tokens.get(stored.holder.as_str()).is_some_and(|e| !e.source.is_stored());
        let gone = parts.stored.iter().filter(|stored| wins(stored));
        holders.extend(gone.map(|stored| Holder {
            gives_way: true,
            last_used: None,
            ..Holder::from(stored)
        }));
        holders.sort_by(|a, b| a.caller.actor.as_str().cmp(b.caller.actor.as_str()));
        holders
    }

    /// The holder of the token with an id, and the hash of the token, to make sessions of the page that end with it;
    /// `None` where no such token is configured or it has expired.
    pub(crate) fn by_id(&self, id: &str, now: Millis) -> Option<(Caller, [u8; 32])> {
        let tokens = self.0.tokens.load();
        let entry = tokens.get(id).filter(|entry| entry.expires.is_none_or(|at| at > now))?;
        Some((entry.into(), entry.hash))
    }
}

/// The token's entry. An id that is not known costs the same comparison as one that is.
fn verify<'t>(tokens: &'t Tokens, token: &str) -> Option<&'t Entry> {
    let entry = id_of(token).and_then(|id| tokens.get(id));
    let expected = entry.map_or([0; 32], |e| e.hash);
    let equal: bool = hash(token).ct_eq(&expected).into();
    entry.filter(|_| equal)
}

/// The right of a call that goes on: it ends with the token that the call was let in by.
pub(super) struct Right {
    auth: Auth,
    actor: Actor,
    /// The hash of the token; `None` of a call that was let in without one.
    hash: Option<[u8; 32]>,
    needed: Scope,
    changes: watch::Receiver<()>,
}

impl Right {
    /// Whether the caller has it still, by the tokens that are in force now.
    pub(super) fn holds(&mut self, now: Millis) -> bool {
        self.changes.mark_unchanged();
        let Some(hash) = self.hash else { return self.auth.is_open() };
        let holder = self.auth.by_id(self.actor.as_str(), now);
        holder.is_some_and(|(caller, of_token)| of_token == hash && caller.may(self.needed))
    }

    /// Changes when other tokens are in force than were when it was last asked whether this holds.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.clone()
    }
}

impl From<Credential> for Entry {
    fn from(token: Credential) -> Self {
        let Credential { id, hash, scopes, expires } = token;
        let source = Source::Configured;
        Self { holder: Actor::token(&id), hash, scopes, expires, source, used: Arc::default() }
    }
}

/// A token of the store. What this version cannot read is a token that nobody holds: the service stays closed, and it
/// can be revoked.
fn stored(document: &Document) -> Entry {
    let read = || {
        let Stored { hash, scopes, expires, created } = Stored::deserialize(&document.body).ok()?;
        let token = config::Token { id: document.name.clone(), hash, scopes, expires };
        let credential = config::Auth { tokens: vec![token] }.credentials().ok()?.pop()?;
        let created = created.as_str().and_then(|text| parse_millis(text).ok());
        // The configuration takes ids with the beginning of a token: by such a name it could not be revoked.
        let is_its_own = credential.id == document.name;
        is_its_own.then(|| Entry { source: Source::Stored { created }, ..Entry::from(credential) })
    };
    read().unwrap_or_else(|| {
        tracing::error!(id = document.name, "a stored token cannot be read and is not in force");
        let (hash, scopes) = ([0; 32], Vec::new());
        let nobody = Credential { id: document.name.clone(), hash, scopes, expires: Some(0) };
        Entry { source: Source::Stored { created: None }, ..Entry::from(nobody) }
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn id_of(token: &str) -> Option<&str> {
    token.split_once('.')?.0.strip_prefix(BEGIN)
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether a new token may have this id. One that begins as a token does would be taken for the token of the rest.
pub(super) fn may_name_token(id: &str) -> bool {
    valid_token_id(id) && !id.starts_with(BEGIN)
}

/// Makes a token: the text to hand out, which is kept nowhere, and the entry for `[auth] tokens`. Its id is part of
/// both; without one it gets a random one.
///
/// # Errors
/// [`AuthError::Id`] when the id is none, [`AuthError::Random`] when the system gives no random bytes.
pub fn new_token(
    id: Option<&str>,
    scopes: &[Scope],
    expires: Option<Millis>,
) -> Result<(Zeroizing<String>, config::Token), AuthError> {
    let mut random = [0_u8; 6];
    let mut secret = Zeroizing::new([0_u8; 32]);
    getrandom::fill(&mut random).map_err(AuthError::Random)?;
    getrandom::fill(secret.as_mut()).map_err(AuthError::Random)?;
    let id = id.map_or_else(|| hex::encode(random), str::to_owned);
    if !may_name_token(&id) {
        return Err(AuthError::Id);
    }
    let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret.as_ref()));
    let token = Zeroizing::new(format!("{BEGIN}{id}.{}", secret.as_str()));
    let entry = config::Token {
        hash: hex::encode(hash(&token)),
        id,
        scopes: scopes.iter().map(|s| s.name().to_owned()).collect(),
        expires: expires.map(format_millis),
    };
    Ok((token, entry))
}

/// Guards a route with a scope, and tells its handler who calls.
pub async fn require(
    State((app, needed)): State<(App, Scope)>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let actor = app.auth.admit(request.headers(), needed, || app.engine.now())?;
    request.extensions_mut().insert(actor);
    Ok(next.run(request).await)
}

/// Guards a route that every valid token may call, and tells its handler who calls.
pub async fn require_any(
    State(app): State<App>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = app.auth.identify(request.headers(), || app.engine.now())?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(scopes: &[Scope], expires: Option<Millis>) -> (Zeroizing<String>, Auth) {
        let (token, entry) = new_token(None, scopes, expires).unwrap();
        (token, Auth::new(&config::Auth { tokens: vec![entry] }).unwrap())
    }

    fn try_with(auth: &Auth, authorization: &str, needed: Scope, now: Millis) -> Result<Actor, u16> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        auth.admit(&headers, needed, || now).map_err(|e| e.into_problem().status)
    }

    #[test]
    fn a_token_does_what_its_scopes_say_and_no_more() {
        let table: [(Scope, &[Scope]); 5] = [
            (Scope::Record, &[Scope::Record]),
            (Scope::Read, &[Scope::Read, Scope::Metrics]),
            (Scope::BansWrite, &[Scope::BansWrite]),
            (Scope::Admin, &Scope::ALL),
            (Scope::Metrics, &[Scope::Metrics]),
        ];
        for (held, may) in table {
            let (token, auth) = with(&[held], None);
            for needed in Scope::ALL {
                let got = try_with(&auth, &format!("Bearer {}", *token), needed, 0);
                let expected = if may.contains(&needed) { Ok(()) } else { Err(403) };
                assert_eq!(got.map(|_| ()), expected, "{held:?} for {needed:?}");
            }
        }
    }

    #[test]
    fn what_is_not_the_token_is_refused() {
        let (token, auth) = with(&[Scope::Admin], None);
        let other_secret = format!("Bearer {}x", *token);
        let unknown = "Bearer kw_000000000000.secret";
        let no_dot = "Bearer kw_000000000000";
        let basic = format!("Basic {}", *token);
        for bad in [other_secret.as_str(), unknown, no_dot, basic.as_str(), "Bearer", "Bearer "] {
            assert_eq!(try_with(&auth, bad, Scope::Read, 0), Err(401), "{bad}");
        }
        assert_eq!(auth.admit(&HeaderMap::new(), Scope::Read, || 0).unwrap_err().into_problem().status, 401);
    }

    #[test]
    fn a_token_ends_with_its_expiry() {
        let (token, auth) = with(&[Scope::Read], Some(1_772_442_802_123));
        let bearer = format!("bearer {}", *token);
        assert!(try_with(&auth, &bearer, Scope::Read, 1_772_442_802_122).is_ok());
        assert_eq!(try_with(&auth, &bearer, Scope::Read, 1_772_442_802_123), Err(401));
    }

    #[test]
    fn without_tokens_everything_is_open() {
        let auth = Auth::default();
        assert_eq!(auth.admit(&HeaderMap::new(), Scope::Admin, || 0).unwrap(), Actor::local());
    }

    #[test]
    fn an_entry_does_not_hold_the_token_and_old_and_new_overlap() {
        let ((old, a), (new, b)) =
            (new_token(None, &[Scope::Read], None).unwrap(), new_token(None, &[Scope::Read], None).unwrap());
        assert!(!format!("{a:?}").contains(old.split_once('.').unwrap().1));
        let auth = Auth::new(&config::Auth { tokens: vec![a, b] }).unwrap();
        for token in [old, new] {
            assert!(try_with(&auth, &format!("Bearer {}", *token), Scope::Read, 0).is_ok());
        }
    }

    #[test]
    fn tokens_that_are_replaced_lose_their_right_at_once() {
        let ((old, a), (new, b)) = (
            new_token(Some("a"), &[Scope::Read], None).unwrap(),
            new_token(Some("b"), &[Scope::Read], None).unwrap(),
        );
        let auth = Auth::new(&config::Auth { tokens: vec![a.clone()] }).unwrap();
        let mut right = auth.right(&Actor::token("a"), Scope::Read);
        assert!(right.holds(0) && !auth.right(&Actor::token("a"), Scope::Admin).holds(0));
        auth.clone().replace(&config::Auth { tokens: vec![b] }).unwrap();
        assert!(!right.holds(0));
        assert_eq!(try_with(&auth, &format!("Bearer {}", *old), Scope::Read, 0), Err(401));
        assert!(try_with(&auth, &format!("Bearer {}", *new), Scope::Read, 0).is_ok());
        // Another token of the same id is another.
        let (_, again) = new_token(Some("a"), &[Scope::Read], None).unwrap();
        auth.replace(&config::Auth { tokens: vec![again] }).unwrap();
        assert!(!right.holds(0));
        let wrong = config::Token { hash: "12".to_owned(), ..a };
        assert!(auth.replace(&config::Auth { tokens: vec![wrong] }).is_err());
        assert_eq!(auth.holders().len(), 1, "what is wrong changes nothing");
    }

    fn document(name: &str, body: Value) -> Document {
        Document { kind: crate::store::DocumentKind::Token, name: name.to_owned(), body }
    }

    /// A token of the store, and its document.
    fn stored_token(id: &str, scopes: &[Scope], expires: Option<Millis>) -> (Zeroizing<String>, Document) {
        let (token, entry) = new_token(Some(id), scopes, expires).unwrap();
        let body = serde_json::json!({
            "hash": entry.hash, "scopes": entry.scopes, "expires": entry.expires, "created": "2026-03-02T09:13:22.123Z"
        });
        (token, document(id, body))
    }

    #[test]
    fn a_stored_token_that_cannot_be_read_lets_nobody_in_and_leaves_nothing_open() {
        let good = stored_token("alice", &[Scope::Admin], None).1.body;
        let mut of_tomorrow = good.clone();
        of_tomorrow["scopes"] = serde_json::json!(["of-tomorrow"]);
        for (name, body) in [("alice", of_tomorrow), ("alice", Value::Null), ("kw_alice", good)] {
            let auth = Auth::default();
            auth.replace_stored(&[document(name, body)]);
            assert!(!auth.is_open());
            assert_eq!(try_with(&auth, "Bearer kw_alice.secret", Scope::Read, 0), Err(401));
            let [holder] = auth.holders().try_into().unwrap();
            assert!(holder.source.is_stored() && holder.caller.actor.as_str() == name, "it can be revoked");
            assert!(!auth.would_have_admin_with(&[], 0));
        }
    }

    #[test]
    fn when_a_stored_token_was_made_may_be_unknown_and_it_is_a_stored_one_all_the_same() {
        let (token, mut alice) = stored_token("alice", &[Scope::Read], None);
        for created in [Value::Null, "soon".into(), 7.into()] {
            alice.body["created"] = created;
            let auth = Auth::default();
            auth.replace_stored(std::slice::from_ref(&alice));
            assert_eq!(auth.holders()[0].source, Source::Stored { created: None });
            assert!(try_with(&auth, &format!("Bearer {}", *token), Scope::Read, 0).is_ok());
        }
    }

    #[test]
    fn once_it_had_a_token_the_service_stays_closed() {
        let (_, alice) = stored_token("alice", &[Scope::Admin], None);
        let trace = document("alice", serde_json::json!({ "revoked": "2026-03-02T09:13:22.123Z" }));
        let refused =
            |auth: &Auth| auth.identify(&HeaderMap::new(), || 0).is_err() && auth.holders().is_empty();
        let auth = Auth::default();
        auth.replace_stored(&[alice]);
        auth.replace_stored(&[]);
        assert!(!auth.is_open() && refused(&auth), "the last one is gone");
        let restarted = Auth::default();
        assert!(restarted.is_open());
        restarted.replace_stored(&[trace]);
        assert!(!restarted.is_open() && refused(&restarted), "the store remembers that there was one");
        let (_, configured) = with(&[Scope::Read], None);
        configured.replace(&config::Auth { tokens: Vec::new() }).unwrap();
        assert!(!configured.is_open() && refused(&configured));
    }

    #[test]
    fn a_configured_token_wins_over_a_stored_one_of_its_id_and_both_are_shown() {
        let (stored_one, document) = stored_token("ops", &[Scope::Admin], None);
        let (configured, entry) = new_token(Some("ops"), &[Scope::Read], None).unwrap();
        let auth = Auth::default();
        let status = |token: &str| try_with(&auth, &format!("Bearer {token}"), Scope::Read, 0).err();
        auth.replace_stored(std::slice::from_ref(&document));
        assert_eq!((status(&stored_one), status(&configured)), (None, Some(401)));
        auth.replace(&config::Auth { tokens: vec![entry] }).unwrap();
        auth.replace_stored(std::slice::from_ref(&document));
        assert_eq!((status(&stored_one), status(&configured)), (Some(401), None));
        let shown: Vec<_> = auth.holders().iter().map(|h| (h.source.is_stored(), h.gives_way)).collect();
        assert_eq!(shown, [(false, false), (true, true)]);
        assert!(auth.is_configured("ops") && !auth.is_configured("alice"));
        assert!(
            !auth.would_have_admin_with(&[document], 0),
            "the admin token gives way to one that may read"
        );
    }

    #[test]
    fn somebody_must_be_left_who_may_make_tokens_and_has_not_expired() {
        let (_, auth) = with(&[Scope::Read], None);
        let admin = |expires| [stored_token("a", &[Scope::Admin], expires).1];
        assert!(!auth.would_have_admin_with(&[], 5));
        assert!(!auth.would_have_admin_with(&[stored_token("r", &[Scope::Read], None).1], 5));
        assert!(
            auth.would_have_admin_with(&admin(Some(6)), 5) && auth.would_have_admin_with(&admin(None), 5)
        );
        assert!(!auth.would_have_admin_with(&admin(Some(5)), 5));
        let (_, with_admin) = with(&[Scope::Admin], Some(6));
        assert!(with_admin.would_have_admin_with(&[], 5) && !with_admin.would_have_admin_with(&[], 6));
    }

    #[test]
    fn no_token_is_made_whose_id_begins_as_a_token() {
        for id in ["kw_alice", "kw_", "local", "a.b", ""] {
            assert!(matches!(new_token(Some(id), &[Scope::Read], None), Err(AuthError::Id)), "{id}");
        }
        assert!(new_token(Some("kwalice"), &[Scope::Read], None).is_ok());
    }

    #[test]
    fn bad_entries_are_refused_with_their_place_and_what_was_meant() {
        let good = new_token(None, &[Scope::Read], None).unwrap().1;
        let bad = |change: fn(&mut config::Token)| {
            let mut token = good.clone();
            token.id = "ops".to_owned();
            change(&mut token);
            Auth::new(&config::Auth { tokens: vec![token] }).unwrap_err().to_string()
        };
        type Case = (fn(&mut config::Token), &'static str);
        let cases: [Case; 7] = [
            (|t| t.hash = "12".into(), "auth.tokens[0].hash must be 64 hex digits"),
            (|t| t.scopes.push("raed".into()), "auth.tokens[0].scopes[1] must be one of record, read,"),
            (|t| t.scopes.push("raed".into()), "; did you mean `read`?"),
            (|t| t.expires = Some("soon".into()), "auth.tokens[0].expires must be an RFC 3339 time"),
            (|t| t.id = "a.b".into(), "auth.tokens[0].id must be 1 to 64 letters"),
            (|t| t.id = "a\nb".into(), "auth.tokens[0].id must be 1 to 64 letters"),
            (|t| t.id = "local".into(), "auth.tokens[0].id must be 1 to 64 letters"),
        ];
        for (change, words) in cases {
            let error = bad(change);
            assert!(error.contains(words), "{error}");
        }
        let twice = config::Auth { tokens: vec![good.clone(), good.clone()] };
        let error = Auth::new(&twice).unwrap_err().to_string();
        assert!(error.starts_with("auth.tokens[1].id must not be that of another token"), "{error}");
    }
}
