//! What a web page of another origin can send, at every route: refused, and nothing is changed by it. The routes are
//! those of the OpenAPI document, so that a new one is tried without a word here.

use super::{Api, doors::routes, record, sinks::park};
use crate::http::document;

type Headers = Vec<(&'static str, &'static str)>;

/// Routes that are called by the address of the instance.
const PROBED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The route of reverse proxies, where host, origin and content type are those of a client ([`super::authorize`]).
const OF_PROXIES: &str = "/v1/authorize";

const HOST: (&str, &str) = ("host", "127.0.0.1:8080");
const JSON: (&str, &str) = ("content-type", "application/json");

/// Headers that give a page away, and the status that refuses each.
fn of_pages() -> Vec<(Headers, u16)> {
    vec![
        (vec![HOST, JSON, ("origin", "http://evil.example")], 403),
        (vec![HOST, JSON, ("origin", "http://127.0.0.1:8081")], 403),
        (vec![HOST, JSON, ("origin", "null")], 403),
        (vec![HOST, JSON, ("sec-fetch-site", "cross-site")], 403),
        (vec![HOST, JSON, ("sec-fetch-site", "same-site")], 403),
    ]
}

/// Hosts that the service does not answer to, and the status that refuses each.
fn of_other_hosts() -> Vec<(Headers, u16)> {
    vec![
        (vec![("host", "evil.example"), JSON], 421),
        (vec![("host", "evil.example:8080"), JSON, ("origin", "http://evil.example:8080")], 421),
        (vec![("host", "0.0.0.0:8080"), JSON], 421),
        (vec![JSON], 400),
        (vec![HOST, HOST, JSON], 400),
        (vec![HOST, ("host", "evil.example"), JSON], 400),
    ]
}

/// Content types that a form has, and none.
fn of_forms() -> Vec<(Headers, u16)> {
    let forms = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"];
    let typed = forms.map(|form| (vec![HOST, ("content-type", form)], 415));
    typed.into_iter().chain([(vec![HOST], 415)]).collect()
}

/// A body that the route takes, where an empty object is none.
fn body(path: &str, policy: &str) -> String {
    match path {
        "/v1/record" => record("key-of-a-page", 1),
        "/v1/record/batch" => format!("[{}]", record("key-of-a-page", 1)),
        "/v1/check" => {
            r#"{"key_id":"a","source_ip":"203.0.113.7","reserve":true,"estimated_tokens":9}"#.to_owned()
        }
        "/v1/policy" => policy.replace(r#""ban_seconds":1800"#, r#""ban_seconds":77"#),
        "/v1/events/1/feedback" => r#"{"verdict":"benign"}"#.to_owned(),
        "/v1/bans/lift" => r#"{"subjects":["key:a"],"reason":"by a page"}"#.to_owned(),
        path if path.starts_with("/v1/bans/") => r#"{"duration_seconds":60,"reason":"by a page"}"#.to_owned(),
        _ => "{}".to_owned(),
    }
}

/// An API in which there is something of every kind to be changed.
async fn furnished() -> Api {
    let api = Api::open().await;
    park(&api, 2).await;
    api.put("/v1/bans/key:a", r#"{"duration_seconds":null,"reason":"leaked"}"#).await.good(201);
    for path in ["/v1/allowlist/country:SG", "/v1/plans/a", "/v1/projects/a", "/v1/keys/a"] {
        let body = if path.contains("allowlist") { r#"{"reason":"an office"}"# } else { "{}" };
        assert_eq!(api.put(path, body).await.status / 100, 2, "{path}");
    }
    api
}

/// Every route of the document, with what `furnished` put there in place of its parameter.
fn real_routes() -> Vec<(String, String)> {
    let real = |path: String| path.replace("/sinks/a/", "/sinks/siem/").replace("/projects/1", "/projects/a");
    routes().into_iter().map(|(method, path)| (method, real(path))).collect()
}

/// All that can be read and does not change by itself, as windows do.
async fn everything(api: &Api) -> Vec<String> {
    let moving = ["/stream", "/forecast", "/summary", "/v1/subjects/key:a"];
    let reads = real_routes().into_iter().filter(|(method, path)| {
        method == "GET" && !PROBED.contains(&path.as_str()) && !moving.iter().any(|end| path.ends_with(end))
    });
    let mut all = Vec::new();
    for (_, path) in reads.chain([("GET".to_owned(), "/v1/subjects/key:key-of-a-page".to_owned())]) {
        all.push(format!("{path} {}", api.get(&path).await.text));
    }
    all
}

#[tokio::test]
async fn nothing_that_a_page_can_send_is_taken_by_any_route_or_changes_anything() {
    let api = furnished().await;
    let (before, policy) = (everything(&api).await, api.get("/v1/policy").await.text);
    let pages = [("GET".to_owned(), "/docs/".to_owned()), ("GET".to_owned(), "/openapi.json".to_owned())];
    for (method, path) in real_routes().into_iter().chain(pages) {
        let mut tries = of_pages();
        if path == OF_PROXIES {
            for (headers, _) in tries.into_iter().chain(of_other_hosts()) {
                let reply = api.call_with(&method, &path, &headers, "").await;
                assert_eq!(reply.status, 401, "it learns that it has no key");
                let key = [&headers[..], &[("x-api-key", "key-of-a-page")][..]].concat();
                assert_eq!(
                    api.call_with(&method, &path, &key, "").await.status,
                    200,
                    "or that its key may pass"
                );
            }
            continue;
        }
        if !PROBED.contains(&path.as_str()) {
            tries.extend(of_other_hosts());
        }
        if ["POST", "PUT", "PATCH"].contains(&method.as_str()) {
            tries.extend(of_forms());
        }
        for (headers, status) in tries {
            let reply = api.call_with(&method, &path, &headers, body(&path, &policy)).await;
            assert_eq!(reply.status, status, "{method} {path} with {headers:?}: {}", reply.text);
            reply.problem(status);
        }
    }
    assert_eq!(everything(&api).await, before);
}

#[tokio::test]
async fn the_same_from_a_program_is_taken_and_changes_things() {
    let api = furnished().await;
    let (before, policy) = (everything(&api).await, api.get("/v1/policy").await.text);
    for (method, path) in real_routes().into_iter().filter(|(method, _)| method != "GET") {
        let reply = api.call_with(&method, &path, &[HOST, JSON], body(&path, &policy)).await;
        assert!(
            ![400, 403, 415, 421].contains(&reply.status),
            "{method} {path}: {} {}",
            reply.status,
            reply.text
        );
    }
    assert_ne!(everything(&api).await, before);
}

#[tokio::test]
async fn probes_are_answered_by_whatever_host_they_name() {
    let api = Api::open().await;
    for path in PROBED {
        for headers in
            [vec![("host", "10.1.2.3:8080")], vec![("host", "evil.example")], vec![], vec![HOST, HOST]]
        {
            assert_eq!(api.call_with("GET", path, &headers, "").await.status, 200, "{path} with {headers:?}");
        }
    }
}

#[tokio::test]
async fn no_route_gives_leave_to_a_page_that_asks_first() {
    let api = Api::open().await;
    for (method, path) in routes() {
        let preflight = [
            HOST,
            ("origin", "http://evil.example"),
            ("access-control-request-method", method.as_str()),
            ("access-control-request-headers", "content-type"),
            ("access-control-request-private-network", "true"),
        ];
        for headers in [&preflight[..], &preflight[..1]] {
            let reply = api.call_with("OPTIONS", &path, headers, "").await;
            let refused = if path == OF_PROXIES { 401 } else { 403 };
            assert_eq!(
                reply.status,
                if headers.len() > 1 || path == OF_PROXIES { refused } else { 405 },
                "{path}"
            );
            let leave = reply.headers.keys().find(|name| name.as_str().starts_with("access-control"));
            assert_eq!(leave, None, "{path}");
        }
    }
}

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let api = Api::open().await;
    let nothing = "default-src 'none'; frame-ancestors 'none'";
    for path in ["/livez", "/v1/bans", "/nothing", "/openapi.json", "/docs/nothing.js"] {
        assert_eq!(api.get(path).await.header("content-security-policy"), nothing, "{path}");
    }
    let wrong = api.call_with("GET", "/v1/bans", &[("host", "evil.example")], "").await;
    assert_eq!(wrong.header("content-security-policy"), nothing);
    for path in ["/docs/", "/docs/swagger-ui-bundle.js"] {
        let reply = api.page_policy(path).await;
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(reply.contains(part), "{path}: {reply}");
        }
        assert!(!reply.contains("unsafe"), "{path}: {reply}");
    }
}

#[test]
fn the_document_tells_of_these_refusals_at_every_route() {
    let document = serde_json::to_value(document()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let documented = |status: &str| operation["responses"].get(status).is_some();
            assert!(documented("403"), "{method} {path}");
            let is_held_to_its_host = !PROBED.contains(&path.as_str()) && path != OF_PROXIES;
            assert_eq!(documented("421"), is_held_to_its_host, "{method} {path}");
            assert_eq!(
                documented("415"),
                ["post", "put", "patch"].contains(&method.as_str()),
                "{method} {path}"
            );
        }
    }
}
