//! The operator's door: no web page acts or reads in the name of whoever looks at it.
//!
//! A browser sends what a page of anybody's tells it to, from inside the operator's machine or network. What it adds by
//! itself gives the page away, and is checked before anything else, for every route:
//!
//! 1. `host`: the host that is called must be one that the service is configured for (DNS rebinding).
//! 2. `origin`: a page must be this service's own, also for reads.
//! 3. `content_type`: what a form can send without asking first is not taken. Everything else makes the browser ask
//!    (a CORS preflight), and no route answers such a question.
//!
//! The page under `/ui` has forms, each with a token of its session (`web::session`), and may be opened by a link from
//! elsewhere: that shows something to whoever looks, and changes nothing.
//!
//! Tokens are checked after this, in `auth`. What pages of this service may load is in `page_policy`.

mod content_type;
mod host;
mod origin;
pub(crate) mod page_policy;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use super::{App, error::ApiError};
use crate::config::AllowedHosts;

/// Paths that any host is called by: probes and scrapers send the address of the instance.
pub(super) const PROBED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Lets a request through that no page of another origin can have sent.
pub(super) async fn guard(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    check(&app.hosts, &request)?;
    Ok(next.run(request).await)
}

fn check(allowed: &AllowedHosts, request: &Request) -> Result<(), ApiError> {
    let called = match host::called(request, allowed) {
        Ok(called) => Some(called),
        Err(_) if PROBED.contains(&request.uri().path()) => None,
        Err(error) => return Err(error),
    };
    let is_page = is_page(request.uri().path());
    if !(is_page && origin::is_navigation(request.method(), request.headers())) {
        origin::check(request.headers(), called.as_ref())?;
    }
    content_type::check(request.method(), request.headers(), is_page)
}

/// Whether a path is of the page: its forms carry a token that no page of another origin can read, and links from
/// elsewhere lead to it.
fn is_page(path: &str) -> bool {
    path == "/ui" || path.starts_with("/ui/")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(method: &str, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let checked = check(&AllowedHosts::Loopback, &request.body(Body::empty()).unwrap());
        checked.map_or_else(|error| error.into_problem().status, |()| 200)
    }

    #[test]
    fn a_program_is_not_hindered() {
        let json = ("content-type", "application/json");
        for method in ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"] {
            assert_eq!(status(method, "/v1/bans", &[("host", "127.0.0.1:8080"), json]), 200, "{method}");
        }
        assert_eq!(status("DELETE", "/v1/bans/key:a", &[("host", "localhost")]), 200);
    }

    #[test]
    fn the_page_has_forms_and_may_be_opened_from_elsewhere_and_no_more_than_that() {
        let host = ("host", "127.0.0.1:8080");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let foreign = ("origin", "http://evil.example");
        assert_eq!(status("POST", "/ui/acts/ban", &[host, form]), 200);
        assert_eq!(status("POST", "/ui/acts/ban", &[host, form, foreign]), 403);
        assert_eq!(status("POST", "/ui/acts/ban", &[host, form, ("sec-fetch-site", "cross-site")]), 403);
        assert_eq!(status("POST", "/ui/acts/ban", &[host, ("content-type", "text/plain")]), 415);
        assert_eq!(status("POST", "/v1/bans", &[host, form]), 415);
        let link = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        assert_eq!(status("GET", "/ui/subjects/key:a", &link), 200);
        assert_eq!(status("GET", "/v1/subjects/key:a", &link), 403);
        assert_eq!(status("POST", "/ui/acts/ban", &[&link[..], &[form]].concat()), 403);
        let framed = [&link[..3], &[("sec-fetch-dest", "iframe")]].concat();
        assert_eq!(status("GET", "/ui", &framed), 403);
        let fetched = [&link[..2], &[("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")]].concat();
        assert_eq!(status("GET", "/ui", &fetched), 403);
        assert_eq!(status("GET", "/ui", &[("host", "evil.example")]), 421);
    }

    #[test]
    fn probes_may_call_any_host_but_no_foreign_page_may_read_them() {
        for path in PROBED {
            assert_eq!(status("GET", path, &[("host", "10.1.2.3:8080")]), 200, "{path}");
            assert_eq!(status("GET", path, &[]), 200, "{path}");
            let page = [("host", "10.1.2.3:8080"), ("origin", "http://10.1.2.3:8080")];
            assert_eq!(status("GET", path, &page), 403, "{path}: its own origin, by a host that is not ours");
        }
        assert_eq!(status("GET", "/livez/", &[("host", "10.1.2.3")]), 421);
    }

    #[test]
    fn a_page_that_has_its_name_lead_here_is_of_the_same_origin_and_still_refused() {
        let page = [
            ("host", "evil.example:8080"),
            ("origin", "http://evil.example:8080"),
            ("sec-fetch-site", "same-origin"),
        ];
        for method in ["GET", "PUT", "DELETE"] {
            assert_eq!(status(method, "/v1/bans", &page), 421, "{method}");
        }
    }
}
