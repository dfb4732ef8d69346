//! `[auth] tokens`: who may call, and for what.

use toml::{Table, Value};

use super::{Auth, Token};
use crate::{
    domain::{
        Millis,
        actor::valid_token_id,
        event::parse_millis,
        scope::{NoScope, Scope},
    },
    settings::{SettingError, SettingErrors, nearest, read_value},
};

/// A token as it is checked against. Holds a hash, and no secret.
#[derive(Debug)]
pub struct Credential {
    /// The part of the token between `kw_` and the dot.
    pub id: String,
    /// SHA-256 of the whole token.
    pub hash: [u8; 32],
    /// What the token may be used for.
    pub scopes: Vec<Scope>,
    /// From when on it is refused.
    pub expires: Option<Millis>,
}

/// Takes the tokens out of the merged layers and reads them; an empty list stays.
pub(super) fn read(merged: &mut Table, errors: &mut SettingErrors) -> Vec<Token> {
    let auth = merged.get_mut("auth").and_then(Value::as_table_mut);
    let said = auth.and_then(|auth| auth.insert("tokens".to_owned(), Value::Array(Vec::new())));
    let Some(Value::Array(said)) = said else { return Vec::new() };
    let (mut tokens, mut ids) = (Vec::new(), Vec::new());
    for (n, value) in said.iter().enumerate() {
        let (token, wrong) = read_value::<Token>(value, None);
        let is_whole = wrong.is_empty();
        errors.extend(in_words(wrong).within(&entry(n)));
        if let Some(token) = token.filter(|_| is_whole) {
            errors.take(credential(&token, &mut ids).map_err(|wrong| wrong.within(&entry(n))));
            tokens.push(token);
        }
    }
    tokens
}

/// What is no table may be a token itself.
fn in_words(mut errors: SettingErrors) -> SettingErrors {
    for error in errors.iter_mut().filter(|error| error.setting.is_empty()) {
        error.hint = "must be { id, hash, scopes, expires }; `keyward token new` prints an entry".to_owned();
    }
    errors
}

/// The dotted name of the entry with this index, from 0.
fn entry(index: usize) -> String {
    format!("auth.tokens[{index}]")
}

impl Auth {
    /// The tokens as they are checked against.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn credentials(&self) -> Result<Vec<Credential>, SettingErrors> {
        let (mut errors, mut ids) = (SettingErrors::default(), Vec::new());
        let mut credentials = Vec::new();
        for (n, token) in self.tokens.iter().enumerate() {
            credentials
                .extend(errors.take(credential(token, &mut ids).map_err(|wrong| wrong.within(&entry(n)))));
        }
        errors.finish(Ok::<_, SettingErrors>(credentials))
    }
}

/// Checks one token; `ids` are those of the tokens before it.
fn credential(token: &Token, ids: &mut Vec<String>) -> Result<Credential, SettingErrors> {
    let mut errors = SettingErrors::default();
    let id = token.id.strip_prefix("kw_").unwrap_or(&token.id).to_owned();
    errors.check(new_id(&id, ids));
    ids.push(id.clone());
    let mut hash = [0; 32];
    let decoded = hex::decode_to_slice(&token.hash, &mut hash);
    errors.check(decoded.map_err(|_| {
        SettingError::new("hash", "must be 64 hex digits; make a token with `keyward token new`")
    }));
    let read =
        token.scopes.iter().enumerate().map(|(n, text)| errors.take(scope(text, n))).collect::<Vec<_>>();
    let expires =
        token.expires.as_deref().map(parse_millis).transpose().map_err(|_| {
            SettingError::new("expires", "must be an RFC 3339 time, such as 2027-01-01T00:00:00Z")
        });
    let scopes = read.into_iter().flatten().collect();
    errors.finish(expires.map(|expires| Credential { id, hash, scopes, expires }))
}

fn new_id(id: &str, before: &[String]) -> Result<(), SettingError> {
    let hint = "must be 1 to 64 letters, digits, - or _, other than `local` and `cli` (which name acts without a \
                token); \
                `keyward token new` makes one";
    SettingError::ensure(valid_token_id(id), "id", hint)?;
    let is_new = before.iter().all(|other| other != id);
    SettingError::ensure(is_new, "id", format!("must not be that of another token: {id}"))
}

/// The text is not repeated: it may be a token in the wrong place.
fn scope(text: &str, index: usize) -> Result<Scope, SettingError> {
    text.parse().map_err(|error: NoScope| {
        let suggestion = nearest(text, Scope::ALL.into_iter().map(Scope::name));
        SettingError::new(format!("scopes[{index}]"), error.to_string()).suggesting(suggestion)
    })
}
