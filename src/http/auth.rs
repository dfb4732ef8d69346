//! Who may call: bearer tokens with scopes, kept as hashes.
//!
//! A token is `kw_<id>.<secret>`. It is looked up by its id and compared, as a whole, by hash and in constant time.
//! Without any token configured everything is open; that the service then listens on loopback only is the app's care.

use std::{collections::HashMap, str::FromStr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::Response,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{App, error::ApiError};
use crate::{
    config,
    domain::{
        Millis,
        actor::{Actor, valid_token_id},
        event::{format_millis, parse_millis},
    },
};

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Report and ask about requests.
    Record,
    /// Read bans, subjects, events, policy and allowlist.
    Read,
    /// Ban, lift, and give a verdict.
    BansWrite,
    /// Everything that the API can do.
    Admin,
    /// Reading the metrics, and nothing else.
    Metrics,
}

impl Scope {
    /// Every scope that a token can have.
    pub const ALL: [Self; 5] = [Self::Record, Self::Read, Self::BansWrite, Self::Admin, Self::Metrics];

    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Read => "read",
            Self::BansWrite => "bans:write",
            Self::Admin => "admin",
            Self::Metrics => "metrics",
        }
    }

    /// Whether a token with this scope may do what `needed` is needed for. Who may read all else may read metrics.
    fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Admin || (self == Self::Read && needed == Self::Metrics)
    }
}

impl FromStr for Scope {
    type Err = AuthError;

    fn from_str(text: &str) -> Result<Self, AuthError> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or_else(|| AuthError::Scope(text.to_owned()))
    }
}

/// What is wrong with the tokens of a configuration. Never shows a hash or a secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AuthError {
    /// A scope that there is not; its name as written.
    #[error("auth.tokens: there is no scope {0}; scopes are record, read, bans:write, admin, metrics")]
    Scope(String),
    /// Not a SHA-256 in hex.
    #[error("auth.tokens: the hash of {0} must be 64 hex digits; make a token with `keyward token new`")]
    Hash(String),
    /// An expiry that is no time; as written.
    #[error("auth.tokens: expires of {0} must be an RFC 3339 time")]
    Expires(String),
    /// Two tokens with one id.
    #[error("auth.tokens: two tokens have the id {0}; each needs one of its own")]
    SameId(String),
    /// No id, or one that cannot stand in a token or for its holder.
    #[error(
        "auth.tokens: a token needs an id of 1 to 64 letters, digits, - or _, other than `local` and `cli` (which name \
         acts without a token); `keyward token new` makes one"
    )]
    Id,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

#[derive(Debug)]
struct Entry {
    holder: Actor,
    hash: [u8; 32],
    scopes: Vec<Scope>,
    expires: Option<Millis>,
}

/// The tokens that are configured.
#[derive(Debug, Default)]
pub struct Auth {
    tokens: HashMap<String, Entry>,
}

impl Auth {
    /// Reads the tokens of a configuration.
    ///
    /// # Errors
    /// [`AuthError`] names the token and what it must be.
    pub fn new(config: &config::Auth) -> Result<Self, AuthError> {
        let mut tokens = HashMap::new();
        for token in &config.tokens {
            let entry = read(token)?;
            let id = entry.holder.to_string();
            if tokens.insert(id.clone(), entry).is_some() {
                return Err(AuthError::SameId(id));
            }
        }
        Ok(Self { tokens })
    }

    /// Whether everybody may do everything, because no token is configured.
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty()
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
        if self.is_open() {
            return Ok(Actor::local());
        }
        let token = bearer(headers).ok_or(ApiError::Unauthenticated("send Authorization: Bearer <token>"))?;
        let entry = self.verify(token).ok_or(ApiError::Unauthenticated("the token is not a valid one"))?;
        if entry.expires.is_some_and(|at| at <= now()) {
            return Err(ApiError::Unauthenticated("the token has expired"));
        }
        if !entry.scopes.iter().any(|scope| scope.covers(needed)) {
            return Err(ApiError::Forbidden(needed));
        }
        Ok(entry.holder.clone())
    }

    /// The token's entry. An id that is not known costs the same comparison as one that is.
    fn verify(&self, token: &str) -> Option<&Entry> {
        let entry = id_of(token).and_then(|id| self.tokens.get(id));
        let expected = entry.map_or([0; 32], |e| e.hash);
        let equal: bool = hash(token).ct_eq(&expected).into();
        entry.filter(|_| equal)
    }
}

fn read(token: &config::Token) -> Result<Entry, AuthError> {
    let id = token.id.strip_prefix("kw_").unwrap_or(&token.id);
    if !valid_token_id(id) {
        return Err(AuthError::Id);
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(&token.hash, &mut hash).map_err(|_| AuthError::Hash(id.to_owned()))?;
    let expires = token.expires.as_deref().map(parse_millis).transpose();
    Ok(Entry {
        holder: Actor::token(id),
        hash,
        scopes: token.scopes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?,
        expires: expires.map_err(|_| AuthError::Expires(id.to_owned()))?,
    })
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

/// Makes a token: the text to hand out, which is kept nowhere, and the entry for `[auth] tokens`. Its id is part of both;
/// without one it gets a random one.
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
    getrandom::fill(&mut random).map_err(|e| AuthError::Random(e.to_string()))?;
    getrandom::fill(secret.as_mut()).map_err(|e| AuthError::Random(e.to_string()))?;
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
    fn bad_entries_are_refused_with_their_id() {
        let good = new_token(None, &[Scope::Read], None).unwrap().1;
        let bad = |change: fn(&mut config::Token)| {
            let mut token = good.clone();
            token.id = "ops".to_owned();
            change(&mut token);
            Auth::new(&config::Auth { tokens: vec![token] }).unwrap_err()
        };
        assert_eq!(bad(|t| t.hash = "12".into()), AuthError::Hash("ops".into()));
        assert_eq!(bad(|t| t.scopes.push("root".into())), AuthError::Scope("root".into()));
        assert_eq!(bad(|t| t.expires = Some("soon".into())), AuthError::Expires("ops".into()));
        assert_eq!(bad(|t| t.id = "a.b".into()), AuthError::Id);
        assert_eq!(bad(|t| t.id = "a\nb".into()), AuthError::Id);
        assert_eq!(bad(|t| t.id = "local".into()), AuthError::Id);
        let twice = config::Auth { tokens: vec![good.clone(), good.clone()] };
        assert_eq!(Auth::new(&twice).unwrap_err(), AuthError::SameId(good.id));
    }
}
