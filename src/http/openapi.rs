//! The OpenAPI document, gathered from the routes, and the page that shows it.

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::{
    alerts, allowlist, authorize, bans, batch, config, decisions,
    door::{PROBED, page_policy},
    error::PROBLEM_JSON,
    events,
    examples::Examples,
    forecast, health, lift, limits, policy, preview, prices, reconcile, record,
    registry::{issue, keys, plans, projects},
    reservations, sinks, stream, subject_list, subjects, summary, tokens, traces, usage, versions, week,
    whoami,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Keyward", description = "Watches API keys: sliding windows, learned behaviour, graduated responses."),
    paths(
        record::record, record::check, batch::batch, authorize::authorize, traces::traces,
        decisions::list, decisions::changes, decisions::metrics,
        reservations::change, reservations::give_back,
        bans::list, bans::lookup, bans::show, bans::ban, bans::lift, lift::lift_many,
        subject_list::list, subjects::show, subjects::forget,
        events::list, summary::show, stream::stream, events::feedback, week::show,
        allowlist::list, allowlist::show, allowlist::put, allowlist::delete,
        policy::show, policy::put, preview::preview, versions::list, versions::show,
        prices::show, usage::list, reconcile::reconcile, forecast::show, alerts::list,
        plans::list, plans::show, plans::put, plans::patch, plans::delete,
        projects::list, projects::show, projects::put, projects::patch, projects::delete,
        limits::show,
        keys::list, keys::show, keys::put, keys::patch, keys::delete, issue::issue, issue::rotate,
        sinks::list, sinks::test, sinks::dead_letters, sinks::redeliver, sinks::discard,
        whoami::show, tokens::list, tokens::create, tokens::revoke, config::show, health::live, health::ready,
        health::metrics,
    ),
    modifiers(&Bearer, &Door, &Examples),
    tags(
        (name = "records", description = "Requests: before they are made, and after."),
        (name = "bans", description = "Who is held, and an operator's ban and lifting."),
        (name = "subjects", description = "All that is known of a key, an address or a project."),
        (name = "events", description = "What happened, and what people say about it."),
        (name = "registry", description = "Plans, projects and keys."),
        (name = "policy", description = "What is allowed, and how detectors judge."),
        (name = "usage", description = "What was used, and what it cost."),
        (name = "sinks", description = "Where events are forwarded to."),
        (name = "bouncers", description = "Bans of addresses for CrowdSec's bouncers."),
        (name = "service", description = "The service itself."),
    ),
)]
struct Document;

/// Bearer tokens guard everything but the probes.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme("bearer", scheme);
        let none: [&str; 0] = [];
        openapi.security = Some(vec![SecurityRequirement::new("bearer", none)]);
    }
}

/// What the door (`http::door`) answers, at every route.
struct Door;

/// Paths in the document that need no token.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

impl Modify for Door {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        // What reverse proxies ask is beside the door.
        for (path, item) in openapi.paths.paths.iter_mut().filter(|(path, _)| *path != "/v1/authorize") {
            let acts = [&mut item.post, &mut item.put, &mut item.patch].into_iter().flatten();
            acts.for_each(|act| {
                refuses(act, "415", "The content type is missing, a form's, or not the route's.")
            });
            let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in all.into_iter().flatten() {
                refuses(operation, "403", "A page of another origin asks, or the token lacks the scope.");
                refuses(operation, "400", "The request cannot be read, or does not say which host it calls.");
                if !operation.responses.responses.contains_key("4XX") {
                    refuses(operation, "4XX", "A path, parameter or body is not as it must be.");
                }
                if !OPEN.contains(&path.as_str()) {
                    refuses(operation, "401", "The token is missing, unknown or past its end.");
                }
                if !PROBED.contains(&path.as_str()) {
                    refuses(operation, "421", "The service does not answer to the host that is called.");
                }
            }
        }
    }
}

fn refuses(operation: &mut Operation, status: &str, why: &str) {
    let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response = ResponseBuilder::new().description(why).content(PROBLEM_JSON, problem).build();
    operation.responses.responses.insert(status.to_owned(), response.into());
}

/// The OpenAPI 3.1 document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// Serves the document as JSON.
pub(super) async fn json() -> impl IntoResponse {
    Json(document())
}

/// The largest page, in bytes.
const LARGEST_PAGE: usize = 1 << 20;

/// The page at `/docs`. All that it needs is in the binary.
pub(super) fn page<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let page = SwaggerUi::new("/docs").config(Config::from("/openapi.json").validator_url("none"));
    Router::from(page).layer(from_fn(titled)).layer(from_fn(page_policy::docs))
}

/// Gives the page a title of its own.
async fn titled(request: Request, next: Next) -> Response {
    let (mut head, body) = next.run(request).await.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return Response::from_parts(head, body);
    }
    let Ok(page) = to_bytes(body, LARGEST_PAGE).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    head.headers.remove(header::CONTENT_LENGTH);
    let page =
        String::from_utf8_lossy(&page).replace("<title>Swagger UI</title>", "<title>Keyward API</title>");
    Response::from_parts(head, Body::from(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_page_has_a_title_of_its_own() {
        use tower::ServiceExt;
        for path in ["/docs/", "/docs/index.html"] {
            let request = axum::http::Request::get(path).body(Body::empty()).unwrap();
            let response = page::<()>().oneshot(request).await.unwrap();
            let page = to_bytes(response.into_body(), LARGEST_PAGE).await.unwrap();
            let page = String::from_utf8(page.to_vec()).unwrap();
            assert!(
                page.contains("<title>Keyward API</title>") && !page.contains("<title>Swagger"),
                "{page}"
            );
        }
    }

    #[test]
    fn the_document_is_openapi_3_1_and_every_reference_leads_somewhere() {
        let document = serde_json::to_value(document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn every_operation_documents_what_any_request_may_be_refused_with() {
        let document = serde_json::to_value(document()).unwrap();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let documented =
                    |status: &str| operation["responses"][status]["content"][PROBLEM_JSON].is_object();
                // Its errors are those that the client of a proxy reads, and not problems.
                if path == "/v1/authorize" {
                    continue;
                }
                assert!(["400", "403", "4XX"].into_iter().all(documented), "{method} {path}");
                assert_eq!(documented("401"), !OPEN.contains(&path.as_str()), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_a_summary() {
        let document = serde_json::to_value(document()).unwrap();
        let items = document["paths"].as_object().unwrap().values();
        let operations: Vec<_> = items.flat_map(|item| item.as_object().unwrap().values()).collect();
        let names: std::collections::BTreeSet<_> =
            operations.iter().map(|o| o["operationId"].as_str().unwrap()).collect();
        assert_eq!(names.len(), operations.len());
        assert!(operations.iter().all(|o| o["summary"].is_string()));
    }
}
