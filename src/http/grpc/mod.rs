//! What Envoy asks over gRPC, on `server.grpc_listen`: its external authorization v3 (`Check`), answered as
//! `/v1/authorize` is; its rate limit service v3 (`ShouldRateLimit`); and the health of the service
//! (`grpc.health.v1`). Where tokens are configured, calls show one with the scope `record` in their metadata.

mod ext_authz;
pub(super) mod messages;
mod rate_limit;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_TYPE, ORIGIN},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use prost::Message;
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_http::catch_panic::CatchPanicLayer;

use self::messages::{HealthCheckRequest, HealthCheckResponse};
use super::{App, authorize, layers};
use crate::domain::scope::Scope;

/// The largest message that is read, in bytes: heads of requests, and of bodies what Envoy is set up to send along.
const MOST_BYTES: usize = 1024 * 1024;
/// What can be asked about in [`HealthCheckRequest::service`], beside the service as a whole: an empty text.
const SERVICES: [&str; 2] =
    ["envoy.service.auth.v3.Authorization", "envoy.service.ratelimit.v3.RateLimitService"];
const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// The services, on a listener that has nothing else.
pub fn grpc_router(state: impl Into<App>) -> Router {
    Router::new()
        .route("/envoy.service.auth.v3.Authorization/Check", post(check))
        .route("/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit", post(should_rate_limit))
        .route("/grpc.health.v1.Health/Check", post(health))
        .fallback(async || Status::unimplemented("this service has no such method").into_http::<Body>())
        .layer(CatchPanicLayer::custom(layers::panicked))
        .with_state(state.into())
}

async fn check(State(app): State<App>, request: Request) -> Response {
    let admitted = admit(&app, request.headers());
    // An error of the call would let requests pass where Envoy lets them pass without an answer.
    unary(request, async move |asked| match admitted {
        Ok(()) => Ok(ext_authz::check(&app, asked).await),
        Err(_) => Ok(ext_authz::misconfigured(&app).await),
    })
    .await
}

async fn should_rate_limit(State(app): State<App>, request: Request) -> Response {
    let admitted = admit(&app, request.headers());
    unary(request, async move |asked| {
        admitted?;
        rate_limit::should_rate_limit(&app, asked).await
    })
    .await
}

/// Whether it serves, degraded or not, as `/readyz` says it. Like that, without a token.
async fn health(State(app): State<App>, request: Request) -> Response {
    unary(request, async move |asked: HealthCheckRequest| {
        if !asked.service.is_empty() && !SERVICES.contains(&asked.service.as_str()) {
            return Err(Status::not_found("there is no such service"));
        }
        let serves = !app.shutdown.is_cancelled() && !app.engine.health().data_is_gone;
        Ok(HealthCheckResponse { status: if serves { SERVING } else { NOT_SERVING } })
    })
    .await
}

/// Lets a call in by the token in its metadata: `x-keyward-token`, else `authorization`.
fn admit(app: &App, metadata: &HeaderMap) -> Result<(), Status> {
    let now = || app.engine.now();
    let admitted = if metadata.contains_key(authorize::TOKEN) {
        app.auth.admit_token(authorize::token(metadata), Scope::Record, now)
    } else {
        app.auth.admit(metadata, Scope::Record, now)
    };
    let refused = |error: super::ApiError| {
        let why = format!("x-keyward-token or authorization, in the metadata of the call: {error}");
        authorize::log_mistake(app, &why);
        Status::unauthenticated(why)
    };
    admitted.map(drop).map_err(refused)
}

/// Reads a call with one message, and writes its answer.
async fn unary<Q, A>(request: Request, answer: impl AsyncFnOnce(Q) -> Result<A, Status>) -> Response
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    // What a page of a browser can send is no call: it could report requests in a key's name.
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    let headers = request.headers();
    if !headers.get(CONTENT_TYPE).is_some_and(is_grpc) || headers.contains_key(ORIGIN) {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default()).max_decoding_message_size(MOST_BYTES);
    let mut answer = Some(answer);
    let service = service_fn(move |asked: tonic::Request<Q>| {
        let answer = answer.take();
        async move {
            let answer = answer.ok_or_else(|| Status::internal("asked twice"))?;
            answer(asked.into_inner()).await.map(tonic::Response::new)
        }
    });
    grpc.unary(service, request).await.map(Body::new)
}
