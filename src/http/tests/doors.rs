//! Who is let in, and what is turned away before any handler sees it.

use axum::body::Body;

use super::Api;
use crate::http::{Scope, document, new_token};

/// Every route of the OpenAPI document with an example in place of its parameter.
pub(super) fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(document()).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let method_of = |item: &serde_json::Value| item.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    paths
        .iter()
        .flat_map(|(path, item)| method_of(item).into_iter().map(move |m| (m.to_uppercase(), path.clone())))
        .map(|(method, path)| {
            let examples = [
                ("{subject}", "key:a"),
                ("{entry}", "country:SG"),
                ("{id}", "1"),
                ("{name}", "a"),
                ("{key_id}", "a"),
                ("{version}", "a"),
            ];
            let path = examples.iter().fold(path, |path, (name, example)| path.replace(name, example));
            (method, path)
        })
        .collect()
}

#[tokio::test]
async fn every_documented_route_is_there_and_guarded_but_for_the_probes() {
    let api = Api::guarded(vec![new_token(None, &[Scope::Read], None).unwrap().1]).await;
    let routes = routes();
    assert_eq!(routes.len(), 69);
    for (method, path) in routes {
        let reply = api.call(&method, &path, &[("content-type", "application/json")], Body::empty()).await;
        if matches!(path.as_str(), "/livez" | "/readyz") {
            assert_eq!(reply.status, 200, "{path}");
        } else if path == "/v1/authorize" {
            // A wrong token is the mistake of whoever set up the proxy, and not the client's.
            assert_eq!((reply.status, reply.header("x-keyward-decision")), (503, "misconfigured"));
        } else {
            reply.problem(401);
            assert!(reply.header("www-authenticate").starts_with("Bearer"), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn a_scope_opens_its_routes_and_no_others() {
    let tokens = Scope::ALL.map(|scope| (scope, new_token(None, &[scope], None).unwrap()));
    let api = Api::guarded(tokens.iter().map(|(_, (_, entry))| entry.clone()).collect()).await;
    let needed = [
        ("POST", "/v1/record", Scope::Record),
        ("POST", "/v1/check", Scope::Record),
        ("POST", "/v1/record/batch", Scope::Record),
        ("PATCH", "/v1/reservations/a", Scope::Record),
        ("DELETE", "/v1/reservations/a", Scope::Record),
        ("GET", "/v1/bans", Scope::Read),
        ("POST", "/v1/bans/lookup", Scope::Read),
        ("POST", "/v1/bans/lift", Scope::BansWrite),
        ("GET", "/v1/events/summary", Scope::Read),
        ("GET", "/v1/subjects", Scope::Read),
        ("GET", "/v1/tokens", Scope::Admin),
        ("GET", "/v1/config", Scope::Admin),
        ("POST", "/v1/tokens", Scope::Admin),
        ("DELETE", "/v1/tokens/1", Scope::Admin),
        ("PUT", "/v1/bans/key:a", Scope::BansWrite),
        ("DELETE", "/v1/bans/key:a", Scope::BansWrite),
        ("POST", "/v1/events/1/feedback", Scope::BansWrite),
        ("PUT", "/v1/policy", Scope::Admin),
        ("POST", "/v1/policy/preview", Scope::Read),
        ("GET", "/v1/policy/versions", Scope::Read),
        ("GET", "/v1/policy/versions/a", Scope::Read),
        ("PUT", "/v1/allowlist/country:SG", Scope::Admin),
        ("DELETE", "/v1/subjects/key:b", Scope::Admin),
        ("GET", "/v1/plans", Scope::Read),
        ("GET", "/v1/keys/a", Scope::Read),
        ("GET", "/v1/limits/key:a", Scope::Read),
        ("PUT", "/v1/plans/a", Scope::Admin),
        ("PUT", "/v1/projects/a", Scope::Admin),
        ("PATCH", "/v1/plans/a", Scope::Admin),
        ("PATCH", "/v1/projects/a", Scope::Admin),
        ("PATCH", "/v1/keys/a", Scope::Admin),
        ("DELETE", "/v1/keys/a", Scope::Admin),
        ("POST", "/v1/keys", Scope::Admin),
        ("POST", "/v1/keys/a/rotate", Scope::Admin),
        ("GET", "/v1/sinks", Scope::Read),
        ("POST", "/v1/sinks/a/test", Scope::Admin),
        ("GET", "/v1/sinks/a/dead-letters", Scope::Read),
        ("POST", "/v1/sinks/a/dead-letters/redeliver", Scope::Admin),
        ("POST", "/v1/sinks/a/dead-letters/discard", Scope::Admin),
        ("GET", "/metrics", Scope::Metrics),
        ("GET", "/v1/decisions", Scope::Read),
        ("GET", "/v1/decisions/stream", Scope::Read),
        ("POST", "/v1/usage-metrics", Scope::Read),
        ("POST", "/v1/traces", Scope::Record),
    ];
    for (method, path, needed) in needed {
        for (held, (token, _)) in &tokens {
            let bearer = format!("Bearer {}", **token);
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let reply = api.call(method, path, &headers, Body::empty()).await;
            let open = *held == needed
                || *held == Scope::Admin
                || (*held == Scope::Read && needed == Scope::Metrics);
            assert_eq!(reply.status != 403, open, "{method} {path} with {held:?}: {}", reply.text);
            assert_ne!(reply.status, 401);
        }
    }
}

#[tokio::test]
async fn a_proxy_that_asks_needs_the_scope_of_those_who_report() {
    let tokens = Scope::ALL.map(|scope| (scope, new_token(None, &[scope], None).unwrap()));
    let api = Api::guarded(tokens.iter().map(|(_, (_, entry))| entry.clone()).collect()).await;
    for (held, (token, _)) in &tokens {
        for shown in [token.to_string(), format!("Bearer {}", **token)] {
            let headers = [("x-keyward-token", shown.as_str()), ("x-api-key", "sk-1")];
            let reply = api.call("GET", "/v1/authorize", &headers, Body::empty()).await;
            let open = matches!(held, Scope::Record | Scope::Admin);
            assert_eq!(reply.status, if open { 200 } else { 503 }, "{held:?}");
        }
    }
}

#[tokio::test]
async fn an_operator_is_named_where_no_reason_is_given() {
    let (token, entry) = new_token(None, &[Scope::Admin], None).unwrap();
    let id = entry.id.clone();
    let api = Api::guarded(vec![entry]).await;
    let bearer = format!("Bearer {}", *token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    api.call("PUT", "/v1/bans/key:a", &headers, r#"{"duration_seconds":60,"reason":"x"}"#).await.good(201);
    let lifted = api.call("DELETE", "/v1/bans/key:a", &headers, Body::empty()).await.good(200);
    assert_eq!(lifted["reason"], format!("lifted by {id}"));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let api = Api::open().await;
    for path in ["/v1", "/v1/record/", "/v2/record", "/v1/bans/", "/docs/nothing.js"] {
        api.get(path).await.problem(404);
    }
    let reply = api.get("/v1/record").await;
    reply.problem(405);
    assert_eq!(reply.header("allow"), "POST");
    let reply = api.post("/v1/bans/key:a", "{}").await;
    reply.problem(405);
    for method in ["GET", "PUT", "DELETE"] {
        assert!(reply.header("allow").contains(method), "{}", reply.header("allow"));
    }
}

#[tokio::test]
async fn a_body_must_be_json_and_not_too_large() {
    let api = Api::open().await;
    let body = super::record("acme", 1);
    for content_type in
        ["text/plain", "application/xml", "application/json; charset=latin1", "application/x-ndjson"]
    {
        api.call("POST", "/v1/record", &[("content-type", content_type)], body.clone()).await.problem(415);
    }
    api.call("POST", "/v1/record", &[], body.clone()).await.problem(415);
    for (encoding, status) in [("br", 415), ("gzip", 400)] {
        let packed = [("content-type", "application/json"), ("content-encoding", encoding)];
        api.call("POST", "/v1/record", &packed, body.clone()).await.problem(status);
    }
    let spaced = [("content-type", "Application/JSON ; charset=UTF-8")];
    api.call("POST", "/v1/record", &spaced, body).await.good(200);
    for path in ["/v1/record", "/v1/check", "/v1/bans/lookup"] {
        api.post(path, &" ".repeat(64 * 1024 + 1)).await.problem(413);
    }
    api.put("/v1/policy", &" ".repeat(64 * 1024 + 1)).await.problem(413);
}

#[tokio::test]
async fn who_opens_the_service_in_a_browser_is_led_to_its_page() {
    let api = Api::open().await;
    let reply = api.get("/").await;
    assert_eq!((reply.status, reply.header("location")), (307, "/docs/"));
    assert_eq!(api.get(reply.header("location")).await.status, 200);
    let page = [("origin", "https://evil.example")];
    api.call("GET", "/", &page, Body::empty()).await.problem(403);
}

#[tokio::test]
async fn every_example_of_a_body_works_as_it_is() {
    // One of them makes a token, after which nobody may do anything without one.
    let (token, entry) = new_token(None, &[Scope::Admin], None).unwrap();
    let (api, bearer) = (Api::guarded(vec![entry]).await, format!("Bearer {}", *token));
    let document = serde_json::to_value(document()).unwrap();
    // What they name is not there in a service that is new.
    let absent = ["/v1/reservations/", "/v1/events/", "/v1/sinks/"];
    let mut tried = 0;
    for method in ["put", "post", "patch", "delete"] {
        for (path, item) in document["paths"].as_object().unwrap() {
            let operation = &item[method];
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let named = parameters.iter().filter(|parameter| parameter["in"] == "path");
            let path = named.fold(path.clone(), |path, parameter| {
                let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
                path.replace(&name, parameter["schema"]["example"].as_str().unwrap())
            });
            // Bytes cannot be shown.
            let shown = content.iter().filter(|(media, _)| *media != "application/x-protobuf");
            for (media, content) in shown {
                let body = content["example"].to_string();
                assert_ne!(body, "null", "{method} {path} has an example of {media}");
                let headers = [("content-type", media.as_str()), ("authorization", &bearer)];
                let reply = api.call(&method.to_uppercase(), &path, &headers, body).await;
                let is_absent = absent.iter().any(|prefix| path.starts_with(prefix));
                let right = [200, 201, 204].contains(&reply.status)
                    || is_absent && [404, 409].contains(&reply.status);
                assert!(right, "{method} {path}: {} {}", reply.status, reply.text);
                tried += 1;
            }
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[tokio::test]
async fn the_document_and_its_page_need_nothing_from_elsewhere() {
    let api = Api::open().await;
    let document = api.get("/openapi.json").await.good(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = api.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(!page.text.contains("https://") && !page.text.contains("//cdn"), "{}", page.text);
    assert!(api.get("/docs/swagger-initializer.js").await.text.contains("/openapi.json"));
}
