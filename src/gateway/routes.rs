//! The interfaces that are served, each with `/v1` in front and without. What is not metered is not there.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::Uri,
    response::Response,
    routing::{MethodRouter, get, post},
};

use super::{
    dialect::{
        CHAT, COMPLETIONS, COUNT_TOKENS, EMBEDDINGS, MESSAGES, RESPONSES,
        failure::{Failure, Kind},
        surface::Surface,
    },
    flow::{self, Gateway},
    settings::Dialect,
};

/// Every interface that is metered.
static SURFACES: [Surface; 6] = [CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, MESSAGES, COUNT_TOKENS];

/// The routes of the gateway.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let mut router = Router::new();
    for surface in &SURFACES {
        let short = surface.endpoint.strip_prefix("/v1").unwrap_or(surface.endpoint);
        router = router.route(surface.endpoint, on(surface)).route(short, on(surface));
    }
    let models =
        || get(|State(gateway): State<Arc<Gateway>>, request: Request| flow::models(gateway, request));
    router.route("/v1/models", models()).route("/models", models()).fallback(unknown).with_state(gateway)
}

fn on(surface: &'static Surface) -> MethodRouter<Arc<Gateway>> {
    post(move |State(gateway): State<Arc<Gateway>>, request: Request| flow::serve(gateway, surface, request))
        .fallback(unknown)
}

async fn unknown(uri: Uri) -> Response {
    let is_message = uri.path().contains("/messages");
    let dialect = if is_message { Dialect::Anthropic } else { Dialect::Openai };
    let served: Vec<&str> = SURFACES.iter().map(|surface| surface.endpoint).collect();
    let words = format!(
        "This interface is not metered here, so that it is not passed on. There are POST {}, and GET \
                         /v1/models.",
        served.join(", ")
    );
    let request_id = uuid::Uuid::now_v7().to_string();
    flow::failed(dialect, &Failure::new(Kind::UnknownSurface, words), &request_id)
}
