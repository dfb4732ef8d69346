//! The HTTP API: routes, who may call them, and what goes over the wire. Decisions are made in `engine`.
//! HTTP's own words (status codes, headers) stay in here.

mod alerts;
pub(crate) mod allowlist;
pub mod auth;
pub mod authorize;
pub(crate) mod bans;
mod batch;
mod config;
mod connections;
mod csv;
mod decisions;
pub(crate) mod door;
pub mod error;
pub(crate) mod events;
mod examples;
mod forecast;
pub mod grpc;
mod health;
pub(crate) mod input;
mod layers;
pub(crate) mod lift;
mod limits;
pub(crate) mod lists;
mod openapi;
mod packing;
pub(crate) mod params;
pub(crate) mod policy;
pub(crate) mod preview;
mod prices;
pub mod ratelimit;
mod reconcile;
mod record;
mod registry;
mod reservations;
pub mod server;
pub(crate) mod sinks;
pub(crate) mod stream;
pub(crate) mod subject_list;
mod subjects;
mod summary;
mod surface;
#[cfg(test)]
mod tests;
mod text;
mod tokens;
mod traces;
pub(crate) mod usage;
mod versions;
mod week;
mod whoami;
mod write_timeout;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    middleware::{from_fn, from_fn_with_state},
    response::Redirect,
    routing::{MethodRouter, delete, get, patch, post, put},
};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

pub use crate::domain::scope::Scope;
pub use auth::{Auth, AuthError, new_token};
pub use authorize::Authorize;
pub use config::ShownConfig;
pub use decisions::Bouncers;
pub use grpc::grpc_router;
pub use openapi::document;
pub use server::serve;
pub use surface::callers_only;

use self::error::ApiError;
use crate::{
    config::AllowedHosts,
    domain::{Millis, actor::Actor},
    engine::Engine,
    forward,
    intake::Intake,
    store::StoreError,
    traces::Names,
};

/// What the routes work with.
pub struct AppState {
    /// Decides, and keeps what it learned.
    pub engine: Arc<Engine>,
    /// Takes records in, and drops their keys.
    pub intake: Intake,
    /// Who may call which route.
    pub auth: Auth,
    /// How reverse proxies ask.
    pub authorize: Authorize,
    /// Which attribute of a span is which field of a record.
    pub traces: Names,
    /// What bouncers were sent.
    pub bouncers: Bouncers,
    /// The hosts that it answers to.
    pub hosts: AllowedHosts,
    /// The state of what the routes do not see (geo database, sinks), as `/readyz` shows it.
    pub components: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The sinks that this instance may send for.
    pub sinks: forward::Statuses,
    /// The same sinks, to be tried out.
    pub trials: forward::Trials,
    /// The settings in force, without secrets.
    pub config: ShownConfig,
    /// Renders the metrics as Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// When the service was started.
    pub started: Millis,
    /// How long a client may take to send a body.
    pub body_timeout: Duration,
    /// Ends streams, and readiness, when the service stops.
    pub shutdown: CancellationToken,
}

/// The state as handlers share it.
pub(crate) type App = Arc<AppState>;

/// What reverse proxies ask, on a listener that has nothing else and takes no token.
pub fn authorize_router(state: impl Into<Arc<AppState>>) -> Router {
    authorize::routes_without_token().fallback(|| async { ApiError::NoRoute }).with_state(state.into())
}

/// Every route of the API, behind the door that lets no page of another origin in. What reverse proxies ask is beside
/// the door: host and origin are there those of the client. Without pages of its own, `/` leads to those of the API.
pub fn router(state: impl Into<Arc<AppState>>) -> Router {
    router_with(state, |_| Router::new().route("/", get(async || Redirect::temporary("/docs/"))))
}

/// The same with pages beside the API, behind the same door.
pub fn router_with(
    state: impl Into<Arc<AppState>>,
    pages: impl FnOnce(&Arc<AppState>) -> Router<Arc<AppState>>,
) -> Router {
    let app = state.into();
    let pages = pages(&app);
    let on = Guard(app.clone());
    use Scope::{Admin, BansWrite, Metrics, Read, Record};
    use registry::{issue, keys, plans, projects};
    let api = Router::new()
        .route("/v1/record", on.may(Record, post(record::record)))
        .route("/v1/record/batch", on.may(Record, post(batch::batch)))
        .route("/v1/traces", on.may(Record, post(traces::traces)))
        .route("/v1/check", on.may(Record, post(record::check)))
        .route(
            "/v1/reservations/{id}",
            on.may(Record, patch(reservations::change).delete(reservations::give_back)),
        )
        .route("/v1/bans", on.may(Read, get(bans::list)))
        .route("/v1/bans/lift", on.may(BansWrite, post(lift::lift_many)))
        .route("/v1/bans/lookup", on.may(Read, post(bans::lookup)))
        .route(
            "/v1/bans/{*subject}",
            on.may(Read, get(bans::show)).merge(on.may(BansWrite, put(bans::ban).delete(bans::lift))),
        )
        .route("/v1/subjects", on.may(Read, get(subject_list::list)))
        .route(
            "/v1/subjects/{*subject}",
            on.may(Read, get(subjects::show)).merge(on.may(Admin, delete(subjects::forget))),
        )
        .route("/v1/events", on.may(Read, get(events::list)))
        .route("/v1/events/summary", on.may(Read, get(summary::show)))
        .route("/v1/events/stream", on.may(Read, get(stream::stream)))
        .route("/v1/reports/week", on.may(Read, get(week::show)))
        .route("/v1/events/{id}/feedback", on.may(BansWrite, post(events::feedback)))
        .route("/v1/allowlist", on.may(Read, get(allowlist::list)))
        .route(
            "/v1/allowlist/{*entry}",
            on.may(Read, get(allowlist::show))
                .merge(on.may(Admin, put(allowlist::put).delete(allowlist::delete))),
        )
        .route("/v1/plans", on.may(Read, get(plans::list)))
        .route(
            "/v1/plans/{*name}",
            on.may(Read, get(plans::show))
                .merge(on.may(Admin, put(plans::put).patch(plans::patch).delete(plans::delete))),
        )
        .route("/v1/projects", on.may(Read, get(projects::list)))
        .route(
            "/v1/projects/{*id}",
            on.may(Read, get(projects::show))
                .merge(on.may(Admin, put(projects::put).patch(projects::patch).delete(projects::delete))),
        )
        .route("/v1/keys", on.may(Read, get(keys::list)).merge(on.may(Admin, post(issue::issue))))
        .route(
            "/v1/keys/{*key_id}",
            on.may(Read, get(keys::show))
                .merge(on.may(Admin, put(keys::put).patch(keys::patch).delete(keys::delete)))
                .merge(on.may(Admin, post(issue::rotate))),
        )
        .route("/v1/limits/{*subject}", on.may(Read, get(limits::show)))
        .route("/v1/policy", on.may(Read, get(policy::show)).merge(on.may(Admin, put(policy::put))))
        .route("/v1/policy/preview", on.may(Read, post(preview::preview)))
        .route("/v1/policy/versions", on.may(Read, get(versions::list)))
        .route("/v1/policy/versions/{version}", on.may(Read, get(versions::show)))
        .route("/v1/prices", on.may(Read, get(prices::show)))
        .route("/v1/alerts", on.may(Read, get(alerts::list)))
        .route("/v1/usage", on.may(Read, get(usage::list)))
        .route("/v1/usage/reconcile", on.may(Admin, post(reconcile::reconcile)))
        .route("/v1/usage/forecast", on.may(Read, get(forecast::show)))
        .route("/v1/sinks", on.may(Read, get(sinks::list)))
        .route("/v1/sinks/{name}/test", on.may(Admin, post(sinks::test)))
        .route("/v1/sinks/{name}/dead-letters", on.may(Read, get(sinks::dead_letters)))
        .route("/v1/sinks/{name}/dead-letters/redeliver", on.may(Admin, post(sinks::redeliver)))
        .route("/v1/sinks/{name}/dead-letters/discard", on.may(Admin, post(sinks::discard)))
        .route("/v1/decisions", on.bouncer(get(decisions::list)))
        .route("/v1/decisions/stream", on.bouncer(get(decisions::changes)))
        .route("/v1/usage-metrics", on.bouncer(post(decisions::metrics)))
        .route("/v1/whoami", on.any(get(whoami::show)))
        .route("/v1/config", on.may(Admin, get(config::show)))
        .route("/v1/tokens", on.may(Admin, get(tokens::list).post(tokens::create)))
        .route("/v1/tokens/{*id}", on.may(Admin, delete(tokens::revoke)))
        .route("/metrics", on.may(Metrics, get(health::metrics)))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/openapi.json", get(openapi::json))
        .merge(openapi::page())
        .merge(pages)
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(from_fn_with_state(app.clone(), door::guard))
        .layer(from_fn(layers::finish));
    // In this order what is not there is answered behind the door.
    authorize::routes().merge(api).with_state(app)
}

/// Puts scopes on routes.
struct Guard(App);

impl Guard {
    fn may(&self, scope: Scope, route: MethodRouter<App>) -> MethodRouter<App> {
        route.route_layer(from_fn_with_state((self.0.clone(), scope), auth::require))
    }

    fn bouncer(&self, route: MethodRouter<App>) -> MethodRouter<App> {
        route.route_layer(from_fn_with_state(self.0.clone(), decisions::require_key))
    }

    /// Every valid token may.
    fn any(&self, route: MethodRouter<App>) -> MethodRouter<App> {
        route.route_layer(from_fn_with_state(self.0.clone(), auth::require_any))
    }
}

/// Tells the log of an act that was not acknowledged: unless the store refused it, it may be done all the same.
fn acknowledged<T>(
    by: &Actor,
    (done, to): (&str, &str),
    result: Result<T, StoreError>,
) -> Result<T, StoreError> {
    result.inspect_err(|error| {
        let (by, what) = (by.as_str(), "an act was not acknowledged; it may be done all the same");
        tracing::warn!(target: "audit", by, done, to, %error, "{what}");
    })
}

/// Tells the log who did what. The event of the act has it too.
pub(crate) fn audit(by: &Actor, done: &str, to: &str) {
    tracing::info!(target: "audit", by = by.as_str(), done, to, "an operator acted");
}
