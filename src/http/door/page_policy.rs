//! What a browser may do with what the service answers (Content Security Policy, level 3).

use axum::{
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};

/// For every answer that is no page: nothing runs in it, and nobody frames it.
pub(crate) const NOTHING: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// For the pages under `/docs`: their own scripts and styles as files, their own images and those that the style sheet
/// holds as `data:`, and calls to this service alone. The hash is of the one style that the script of Swagger UI 5.32.6
/// writes into the page; another version may need another, which `tests/it/door` finds.
const DOCS: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; \
     style-src 'self' 'sha256-RL3ie0nH+Lzz2YNqQN83mnU0J1ot4QL7b99vMdIX99w='; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// For the page under `/ui`: its own scripts, styles and pictures as files, calls to this service alone, and forms that
/// lead back to it.
pub(crate) const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);

/// Gives the pages under `/docs` their policy.
pub(crate) async fn docs(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, DOCS);
    response
}
