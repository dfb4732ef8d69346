//! What every view has around it: who looks, where one is, and what is wrong with the service itself.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{Uri, request::Parts},
};

use super::{assets, session::Session, shown::Moment};
use crate::{
    domain::scope::Scope,
    http::{App, AppState, params::Params},
};

/// What was done by the form that led here, by the code in the address.
const DONE: &[(&str, &str)] = &[
    ("banned", "Banned. It holds on every instance within a second."),
    (
        "lifted",
        "Lifted. The detector that fired leaves the subject alone for the grace period of the policy.",
    ),
    ("lifted-many", "Lifted. Each one is an event of its own in the log."),
    (
        "lifted-some",
        "Some were lifted. The others are not held by a ban of their own, or could not be written.",
    ),
    ("benign", "Noted as benign: the ban is lifted, its strike undone, and the profile learns."),
    ("attack", "Noted as an attack."),
    ("allowed", "Put on the allowlist: detectors leave it alone from now on."),
];

/// What a view is shown in.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Who looks: the id of the token.
    pub who: String,
    /// Whether one can sign out: tokens are configured.
    pub has_session: bool,
    /// Whether they may ban, lift, and say what an event was.
    pub may_ban: bool,
    /// Whether they may change what detectors leave alone.
    pub may_admin: bool,
    /// What forms have to send.
    pub form_token: String,
    /// Where one is, to be led back to.
    pub here: String,
    /// The first part of the path behind `/ui`, by which the view is marked.
    pub view: String,
    /// Since when the store does not answer.
    pub degraded_since: Option<Moment>,
    /// Whether the policy only observes: nothing is refused.
    pub observes: bool,
    /// What was done by the form that led here.
    pub done: Option<&'static str>,
    /// Changes with the files of the page.
    pub assets: &'static str,
}

impl Frame {
    /// What goes around the view at an address.
    pub(super) fn new(app: &AppState, session: &Session, uri: &Uri) -> Self {
        let query = Params::parse(uri.query().unwrap_or_default()).unwrap_or_default();
        let done = query.text("done").and_then(|code| DONE.iter().find(|(known, _)| *known == code));
        let view = uri.path().trim_start_matches("/ui").trim_start_matches('/');
        Self {
            who: session.caller.actor.as_str().to_owned(),
            has_session: !app.auth.is_open(),
            may_ban: session.caller.may(Scope::BansWrite),
            may_admin: session.caller.may(Scope::Admin),
            form_token: session.form_token.clone(),
            here: here(uri),
            view: view.split('/').next().unwrap_or_default().to_owned(),
            degraded_since: app.engine.health().degraded_since.map(Moment::at),
            observes: app.engine.policy().observes(),
            done: done.map(|(_, text)| *text),
            assets: assets::version(),
        }
    }
}

/// The address without what was done on the way to it.
fn here(uri: &Uri) -> String {
    let query = uri.query().unwrap_or_default();
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("done=")).collect();
    if kept.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), kept.join("&")) }
}

impl FromRequestParts<App> for Frame {
    type Rejection = Infallible;

    /// The guard has put it there; a view that it does not guard is nobody's.
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let made = parts.extensions.get::<Self>().cloned();
        Ok(made.unwrap_or_else(|| Self::new(app, &Session::nobody(), &parts.uri)))
    }
}
