//! Health: is the service itself well?

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        Millis,
        wording::{span, whole},
    },
    http::{App, auth::Holder},
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::Moment,
    },
};

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    version: &'static str,
    started: Moment,
    up_for: String,
    policy: String,
    bans: String,
    has_tokens: bool,
    tokens: Vec<TokenRow>,
    components: String,
    /// The settings in force, for those who may see them; else empty.
    settings: String,
}

/// A token, of which nothing but its id is known.
struct TokenRow {
    id: String,
    scopes: String,
    source: &'static str,
    last_used: Option<Moment>,
    expires: Option<Moment>,
    is_over: bool,
    gives_way: bool,
}

fn tokens(app: &App, now: Millis) -> Vec<TokenRow> {
    let row = |Holder { caller, source, gives_way, last_used }: Holder| TokenRow {
        id: caller.actor.as_str().to_owned(),
        scopes: caller.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(", "),
        source: if source.is_stored() { "made here" } else { "configuration" },
        last_used: last_used.map(Moment::at),
        is_over: caller.expires.is_some_and(|at| at <= now),
        expires: caller.expires.map(Moment::at),
        gives_way,
    };
    app.auth.holders().into_iter().map(row).collect()
}

/// Shows how the service is, as `/readyz` does, and since when it runs.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    let now = app.engine.now();
    let settings = if frame.may_admin {
        serde_json::to_string_pretty(&*app.config.show()).unwrap_or_default()
    } else {
        String::new()
    };
    Ok(render(
        200,
        &HealthPage {
            version: env!("CARGO_PKG_VERSION"),
            started: Moment::at(app.started),
            up_for: span((now - app.started).max(0)),
            policy: app.engine.policy().version.to_string(),
            bans: whole(app.engine.bans_held() as u64),
            has_tokens: !app.auth.is_open(),
            tokens: if frame.may_admin { tokens(&app, now) } else { Vec::new() },
            components: serde_json::to_string_pretty(&(app.components)()).unwrap_or_default(),
            settings,
            frame,
        },
    ))
}
