//! Signing in: a token, exchanged for a cookie that says who it is and until when, signed under the pepper.
//!
//! Nothing is kept: every instance with the same pepper and tokens knows a session of any other. A session ends with
//! its token, when the token is taken out of the configuration or changed, and after twelve hours.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};
use subtle::ConstantTimeEq;

use super::{
    fault::{Fault, render},
    form,
    views::sign_in::SignInPage,
};
use crate::{
    domain::{HOUR, Millis},
    http::{AppState, auth::Caller, params::Params},
};

/// The name of the cookie.
const COOKIE: &str = "keyward_session";
/// How long a session lasts at most.
const LONGEST: Millis = 12 * HOUR;
/// What the signature of a cookie is for.
const OF_SESSIONS: &str = "session of the page";
/// What the token of a form is for.
const OF_FORMS: &str = "form of the page";

/// Who looks at the page, and the token that their forms carry.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Who it is, and what they may do.
    pub caller: Caller,
    /// What every form of this session has to send: no page of another origin can read it.
    pub form_token: String,
}

impl Session {
    /// The session of a request: of its cookie, or anybody's while no token is configured.
    pub(super) fn of(app: &AppState, headers: &HeaderMap) -> Option<Self> {
        if app.auth.is_open() {
            let form_token = app.intake.sign(&[OF_FORMS, ""]);
            return Some(Self { caller: Caller::local(), form_token });
        }
        let cookie = cookie_of(headers)?;
        let caller = holder(app, cookie, app.engine.now())?;
        Some(Self { caller, form_token: app.intake.sign(&[OF_FORMS, cookie]) })
    }

    /// A session that may do nothing, and none of whose forms is taken.
    pub(super) fn nobody() -> Self {
        let caller = Caller { scopes: Vec::new(), ..Caller::local() };
        Self { caller, form_token: String::new() }
    }

    /// Whether a form that sends this token is one of this session.
    pub(super) fn is_own_form(&self, token: &str) -> bool {
        let is_equal: bool = token.as_bytes().ct_eq(self.form_token.as_bytes()).into();
        is_equal && !token.is_empty()
    }
}

/// Whose a cookie is, where it holds at `now`.
fn holder(app: &AppState, cookie: &str, now: Millis) -> Option<Caller> {
    let (named, signature) = cookie.rsplit_once('.')?;
    let (id, until) = named.rsplit_once('.')?;
    let until: Millis = until.parse().ok()?;
    let (caller, hash) = app.auth.by_id(id, now)?;
    let expected = sign(app, id, until, &hash);
    let is_signed: bool = signature.as_bytes().ct_eq(expected.as_bytes()).into();
    (is_signed && until > now).then_some(caller)
}

/// The token's hash is part of it, so that a session ends when its token is replaced by another of the same id.
fn sign(app: &AppState, id: &str, until: Millis, hash: &[u8; 32]) -> String {
    app.intake.sign(&[OF_SESSIONS, id, &until.to_string(), &hex::encode(hash)])
}

fn cookie_of(headers: &HeaderMap) -> Option<&str> {
    let mut named = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    named.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// The form that asks for a token.
pub(super) async fn form(State(app): State<std::sync::Arc<AppState>>, params: Params) -> Response {
    let next = form::own_path(params.text("next"));
    if app.auth.is_open() {
        return Redirect::to(&next).into_response();
    }
    render(200, &SignInPage { next: &next, wrong: None })
}

/// Takes a token, and gives a cookie for it.
pub(super) async fn sign_in(
    State(app): State<std::sync::Arc<AppState>>,
    request: Request,
) -> Result<Response, Fault> {
    let is_secure = comes_by_tls(request.headers());
    let sent = form::read(&app, request).await?;
    let (next, now) = (form::own_path(sent.text("next")), app.engine.now());
    let token = sent.text("token").unwrap_or_default().trim();
    let caller = match app.auth.holder_of(token, || now) {
        Ok(caller) => caller,
        Err(error) => {
            let wrong = error.to_string();
            return Ok(render(401, &SignInPage { next: &next, wrong: Some(&wrong) }));
        }
    };
    let id = caller.actor.as_str();
    let until = caller.expires.map_or(now + LONGEST, |end| end.min(now + LONGEST));
    let Some((_, hash)) = app.auth.by_id(id, now) else {
        return Ok(render(401, &SignInPage { next: &next, wrong: Some("the token has expired") }));
    };
    let value = format!("{id}.{until}.{}", sign(&app, id, until, &hash));
    tracing::info!(target: "audit", by = id, "signed in to the page");
    let mut response = Redirect::to(&next).into_response();
    set_cookie(&mut response, &value, (until - now) / 1000, is_secure);
    Ok(response)
}

/// Ends the session in this browser.
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    let mut response = Redirect::to("/ui/sign-in").into_response();
    set_cookie(&mut response, "", 0, comes_by_tls(&headers));
    response
}

fn set_cookie(response: &mut Response, value: &str, seconds: Millis, is_secure: bool) {
    let secure = if is_secure { "; Secure" } else { "" };
    let line = format!("{COOKIE}={value}; Path=/ui; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    if let Ok(line) = HeaderValue::try_from(line) {
        response.headers_mut().insert(header::SET_COOKIE, line);
    }
}

/// Whether the browser speaks TLS, to a proxy in front: its own `Origin` says so.
fn comes_by_tls(headers: &HeaderMap) -> bool {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some_and(|origin| origin.starts_with("https://"))
}
