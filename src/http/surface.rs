//! Which routes a listener has: all, or, where operators have a listener of their own, those that callers need.

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};

use super::{error::ApiError, layers};

/// Routes of callers, of bouncers and of probes.
const CALLERS: [&str; 9] = [
    "/v1/record",
    "/v1/record/batch",
    "/v1/traces",
    "/v1/check",
    "/v1/decisions",
    "/v1/decisions/stream",
    "/v1/usage-metrics",
    "/livez",
    "/readyz",
];
/// What lies below these is theirs, too.
const BELOW: [&str; 2] = ["/v1/reservations/", "/v1/authorize/"];
/// The question of reverse proxies, without a path below it.
const AUTHORIZE: &str = "/v1/authorize";

/// The routes of callers alone: to any other path there is nothing.
pub fn callers_only(router: Router) -> Router {
    router.layer(from_fn(let_callers_pass)).layer(from_fn(layers::finish))
}

async fn let_callers_pass(request: Request, next: Next) -> Response {
    if is_of_callers(request.uri().path()) {
        next.run(request).await
    } else {
        ApiError::NoRoute.into_response()
    }
}

fn is_of_callers(path: &str) -> bool {
    path == AUTHORIZE || CALLERS.contains(&path) || BELOW.iter().any(|below| path.starts_with(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_reach_their_routes_and_nothing_that_an_operator_has() {
        let document = serde_json::to_value(crate::http::document()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let theirs: Vec<&str> = paths.keys().map(String::as_str).filter(|path| is_of_callers(path)).collect();
        let operators =
            ["bans", "subjects", "events", "allowlist", "plans", "projects", "keys", "policy", "usage"];
        for path in &theirs {
            let first = path.trim_start_matches("/v1/").split('/').next().unwrap();
            assert!(!operators.contains(&first), "{path}");
        }
        for path in
            ["/v1/record", "/v1/record/batch", "/v1/check", "/v1/reservations/{id}", "/livez", "/readyz"]
        {
            assert!(theirs.contains(&path), "{path} of {theirs:?}");
        }
        for path in ["/v1/recording", "/v1/records", "/", "/docs/", "/openapi.json", "/metrics", "/V1/record"]
        {
            assert!(!is_of_callers(path), "{path}");
        }
    }
}
