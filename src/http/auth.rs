//! Who may call: bearer tokens with scopes, kept as hashes.
//!
//! A token is `kw_<id>.<secret>`. It is looked up by its id and compared, as a whole, by hash and in constant time.
//! Without any token configured everything is open; that the service then listens on loopback only is the app's care.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
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
        event::format_millis,
        scope::Scope,
    },
    settings::SettingErrors,
};

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The id cannot stand in a token, or names acts without one.
    #[error("a token needs an id of 1 to 64 letters, digits, - or _, other than `local` and `cli`")]
    Id,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(#[source] getrandom::Error),
}

#[derive(Debug)]
struct Entry {
    holder: Actor,
    hash: [u8; 32],
    scopes: Vec<Scope>,
    expires: Option<Millis>,
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

/// The tokens in force, as all who hold this share them.
#[derive(Debug, Clone, Default)]
pub struct Auth(Arc<Shared>);

/// Tokens by their id.
type Tokens = HashMap<String, Entry>;

#[derive(Debug, Default)]
struct Shared {
    tokens: ArcSwap<Tokens>,
    /// Changes with the tokens.
    changes: watch::Sender<()>,
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

    /// Puts the tokens of a configuration in the place of those in force, at once.
    ///
    /// # Errors
    /// Everything that is wrong with any of them: those before stay in force.
    pub fn replace(&self, config: &config::Auth) -> Result<(), SettingErrors> {
        let credentials = config.credentials()?.into_iter();
        let tokens = credentials.map(|token| (token.id.clone(), Entry::from(token))).collect();
        self.0.tokens.store(Arc::new(tokens));
        self.0.changes.send_replace(());
        Ok(())
    }

    /// The right of a call that goes on for as long as its caller keeps it.
    pub(super) fn right(&self, actor: &Actor, needed: Scope) -> Right {
        // From before the token is looked at, so that no change in between is missed.
        let changes = self.0.changes.subscribe();
        let hash = self.0.tokens.load().get(actor.as_str()).map(|entry| entry.hash);
        Right { auth: self.clone(), actor: actor.clone(), hash, needed, changes }
    }

    /// Whether everybody may do everything, because no token is configured.
    pub fn is_open(&self) -> bool {
        self.0.tokens.load().is_empty()
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
        if entry.expires.is_some_and(|at| at <= now()) {
            return Err(ApiError::Unauthenticated("the token has expired"));
        }
        Ok(entry.into())
    }

    /// Every token that is configured, by its id: who holds it, what it may do, and until when.
    pub fn holders(&self) -> Vec<Caller> {
        let mut holders: Vec<Caller> = self.0.tokens.load().values().map(Caller::from).collect();
        holders.sort_by(|a, b| a.actor.as_str().cmp(b.actor.as_str()));
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
        Self { holder: Actor::token(&id), hash, scopes, expires }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn id_of(token: &str) -> Option<&str> {
    token.split_once('.')?.0.strip_prefix("kw_")
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
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
    if !valid_token_id(&id) {
        return Err(AuthError::Id);
    }
    let secret = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(secret.as_ref()));
    let token = Zeroizing::new(format!("kw_{id}.{}", secret.as_str()));
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
