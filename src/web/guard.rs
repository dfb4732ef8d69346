//! Who is let in: whoever has a session that may read. Others are led to where they can sign in.

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    fault::{Fault, render},
    frame::Frame,
    session::Session,
    views::sign_in::ComeAgainPage,
};
use crate::{
    domain::scope::Scope,
    http::{App, door::page_policy, error::ApiError},
};

/// Lets a session in that may read, and gives handlers who it is and what goes around each view.
pub(super) async fn require(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let Some(session) = Session::of(&app, request.headers()) else { return led_away(&request) };
    if !session.caller.may(Scope::Read) {
        return Fault::Api(ApiError::Forbidden(Scope::Read)).into_response();
    }
    let frame = Frame::new(&app, &session, request.uri());
    request.extensions_mut().insert(session.caller.actor.clone());
    request.extensions_mut().insert(session);
    request.extensions_mut().insert(frame);
    next.run(request).await
}

/// To the form, and from there back to where it was going.
fn led_away(request: &Request) -> Response {
    let path = request.uri().path_and_query().map_or("/ui", |path| path.as_str());
    if request.method() != Method::GET {
        return Redirect::to("/ui/sign-in").into_response();
    }
    // A link from elsewhere comes without the cookie, which is `SameSite=Strict`: opened again by this page itself, it
    // comes with it.
    let site = request.headers().get("sec-fetch-site");
    if site.is_some_and(|site| site == "cross-site" || site == "same-site") {
        return render(200, &ComeAgainPage { path });
    }
    let next = utf8_percent_encode(path, NON_ALPHANUMERIC);
    Redirect::to(&format!("/ui/sign-in?next={next}")).into_response()
}

/// What a browser may do with the page. Pages that open it from elsewhere get no hold of its window.
pub(super) async fn page_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, page_policy::PAGE);
    // Under `no-referrer` a browser names the origin of a form as `null` (Fetch, "append a request `Origin` header").
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}
