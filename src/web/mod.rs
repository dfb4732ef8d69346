//! The page under `/ui`: what an on-call engineer and a platform owner open first.
//!
//! HTML made on the server, from templates in `templates/`; one style sheet and one script in `assets/`. Every view
//! works without scripts, but for the live list. What is shown comes from the methods that the API calls, and so does
//! what is done (`acts`): the page knows nothing that a script could not get.
//! - `session`: signing in; `guard`: who is let in; `form` and `own_form`: what
//!   forms send, and their token.
//! - `frame`: what every view has around it; `fault`: errors as pages.
//! - `shown`: times, events and subjects as rows; drawings are in `crate::picture`.
//! - `views`: a file for each view.

mod acts;
mod assets;
mod fault;
mod form;
mod frame;
mod guard;
mod own_form;
mod session;
mod shown;
#[cfg(test)]
mod tests;
mod views;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::Redirect,
    routing::{get, post},
};

use crate::http::{AppState, stream, usage};

/// Every path of the page, and `/`, which leads to it.
pub fn router(app: &Arc<AppState>) -> Router<Arc<AppState>> {
    use views::{bans, costs, detectors, events, health, limits, now, policy, sinks, subject, subjects};
    let guarded = Router::new()
        .route("/ui", get(now::show))
        .route("/ui/events", get(events::list))
        .route("/ui/events/stream", get(stream::stream))
        .route("/ui/events/{id}", get(events::show))
        .route("/ui/subjects", get(subjects::list))
        .route("/ui/find", post(subjects::find))
        .route("/ui/subjects/{*subject}", get(subject::show))
        .route("/ui/bans", get(bans::list))
        .route("/ui/costs", get(costs::show))
        .route("/ui/costs/usage", get(usage::list))
        .route("/ui/limits", get(limits::show))
        .route("/ui/detectors", get(detectors::show))
        .route("/ui/sinks", get(sinks::show).post(sinks::test))
        .route("/ui/policy", get(policy::show).post(policy::preview))
        .route("/ui/health", get(health::show))
        .route("/ui/acts/ban", post(acts::ban))
        .route("/ui/acts/lift", post(acts::lift))
        .route("/ui/acts/lift-many", post(acts::lift_many))
        .route("/ui/acts/feedback", post(acts::feedback))
        .route("/ui/acts/allow", post(acts::allow))
        .route_layer(from_fn_with_state(app.clone(), guard::require));
    Router::new()
        .route("/", get(|| async { Redirect::to("/ui") }))
        .route("/ui/sign-in", get(session::form).post(session::sign_in))
        .route("/ui/sign-out", post(session::sign_out))
        .route("/ui/assets/{version}/{name}", get(assets::serve))
        .merge(guarded)
        .layer(from_fn(guard::page_headers))
}
