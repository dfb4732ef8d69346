//! What every answer goes through: errors become problems, a panic becomes an error, and browsers are told to
//! take nothing for what it is not.

use std::any::Any;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    door::page_policy,
    error::{ApiError, PROBLEM_JSON},
};

/// Turns what the router or a layer refused by itself into a problem, and adds the headers that every answer has.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let mut response = as_problem(next.run(request).await);
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(page_policy::NOTHING);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    // The page says what is wrong in its own way.
    let is_said = kind.is_some_and(|kind| kind == PROBLEM_JSON || kind.as_bytes().starts_with(b"text/html"));
    if !is_error || is_said {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem = match status {
        StatusCode::NOT_FOUND => ApiError::NoRoute,
        StatusCode::METHOD_NOT_ALLOWED => ApiError::MethodNotAllowed,
        other => ApiError::Other(other),
    }
    .into_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    problem
}

/// The answer to a request whose handler panicked. What it said goes to the log alone.
pub(super) fn panicked(reason: Box<dyn Any + Send>) -> Response {
    let text = reason.downcast_ref::<&str>().copied();
    let text = text.or(reason.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    tracing::error!(reason = text, "a handler panicked");
    ApiError::Internal.into_response()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware::from_fn, routing::get};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_the_caller_nothing() {
        async fn handler() -> &'static str {
            panic!("about a secret")
        }
        let router = Router::new()
            .route("/", get(handler))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(from_fn(finish));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains("secret"));
    }

    #[test]
    fn what_a_layer_refuses_by_itself_becomes_a_problem() {
        let response = as_problem((StatusCode::URI_TOO_LONG, "no").into_response());
        assert_eq!(response.status(), 414);
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
    }
}
