//! `/v1/policy`: limits, thresholds, modes and ladder.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    App, audit,
    error::{ApiError, Problem},
    input::JsonBody,
};
use crate::{
    domain::{
        actor::Actor,
        policy::{Policy, PolicyError},
    },
    intake::parse,
};

/// The policy in force.
#[derive(Serialize)]
pub struct PolicyView<'a> {
    /// Names this policy in decisions and events. In a PUT it may be left out and is not looked at; `If-Match` is.
    pub version: &'a str,
    /// The settings, side by side with the version.
    #[serde(flatten)]
    pub policy: &'a Policy,
}

/// The schema is the policy's own with one more property: put together by `allOf`, the two would exclude each other,
/// as a policy takes no properties that it does not know.
impl PartialSchema for PolicyView<'_> {
    fn schema() -> RefOr<Schema> {
        let version = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("Names this policy in decisions and events; not looked at in a PUT."));
        match Policy::schema() {
            RefOr::T(Schema::Object(mut policy)) => {
                policy.properties.insert("version".to_owned(), version.build().into());
                policy.into()
            }
            other => other,
        }
    }
}

impl ToSchema for PolicyView<'_> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Policy::schemas(schemas);
    }
}

/// Shows the policy in force. Its version is also the `ETag`.
#[utoipa::path(
    get, path = "/v1/policy", tag = "policy", operation_id = "show_policy",
    responses((status = 200, body = PolicyView, description = "The policy.", headers(("ETag" = String, description = "Its version.")))),
)]
pub async fn show(State(app): State<App>) -> Response {
    let active = app.engine.policy();
    respond(&active.policy, &active.version)
}

/// Puts a whole policy in force: what GET shows, changed. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", operation_id = "put_policy", request_body = PolicyView,
    params(("If-Match" = Option<String>, Header, description = "The version that was changed; another one in force is an error.")),
    responses(
        (status = 200, body = PolicyView, description = "It is in force."),
        (status = 412, body = Problem, content_type = "application/problem+json", description = "The policy has changed meanwhile."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "A setting is wrong; nothing changed."),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "The store does not answer."),
    ),
)]
pub async fn put(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    JsonBody(document): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let policy = read(document)?;
    if !matches(&headers, &app.engine.policy().version) {
        return Err(ApiError::Changed);
    }
    let version: Arc<str> = app.engine.set_policy(&policy, &actor, app.engine.now()).await?;
    audit(&actor, "policy put", &version);
    Ok(respond(&policy, &version))
}

fn read(mut document: Map<String, Value>) -> Result<Policy, ApiError> {
    document.remove("version");
    // A stored policy of an older version may lack it; who puts one says what is to hold.
    if !document.contains_key("enforcement") {
        return Err(ApiError::field("/enforcement", "is missing; it must be enforce or observe".to_owned()));
    }
    let bytes = serde_json::to_vec(&document).map_err(|_| ApiError::Internal)?;
    let policy: Policy = parse(&bytes)?;
    policy.validate().map_err(|PolicyError { setting, mend }| {
        ApiError::field(&format!("/{}", setting.replace('.', "/")), mend)
    })?;
    Ok(policy)
}

fn respond(policy: &Policy, version: &str) -> Response {
    let mut response = Json(PolicyView { version, policy }).into_response();
    if let Ok(etag) = HeaderValue::try_from(etag(version)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

fn etag(version: &str) -> String {
    format!("\"{version}\"")
}

fn matches(headers: &HeaderMap, version: &str) -> bool {
    let Some(wanted) = headers.get(header::IF_MATCH).and_then(|v| v.to_str().ok()) else { return true };
    wanted.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag(version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::default_policy;

    fn shown() -> Map<String, Value> {
        let policy = default_policy();
        match serde_json::to_value(PolicyView { version: "p1", policy: &policy }).unwrap() {
            Value::Object(map) => map,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn what_is_shown_can_be_put_back() {
        assert_eq!(read(shown()).unwrap(), default_policy());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let pointer = |change: fn(&mut Value)| {
            let mut document = Value::Object(shown());
            change(&mut document);
            let Value::Object(map) = document else { panic!("an object") };
            read(map).unwrap_err().into_problem().errors[0].pointer.clone()
        };
        assert_eq!(pointer(|d| d["ladder"]["ban_factor"] = 0.5.into()), "/ladder/ban_factor");
        assert_eq!(pointer(|d| d["ladder"]["ban_factor"] = "x".into()), "/ladder/ban_factor");
        assert_eq!(pointer(|d| d["limits"]["tokens"]["2min"] = 1.into()), "/limits/tokens/2min");
        assert_eq!(pointer(|d| d["laddder"] = 1.into()), "/laddder");
        assert_eq!(pointer(|d| d["enforcement"] = "shadow".into()), "/enforcement");
        assert_eq!(pointer(|d| drop(d.as_object_mut().unwrap().remove("enforcement"))), "/enforcement");
    }

    #[test]
    fn the_schema_describes_what_is_shown() {
        let schema = serde_json::to_value(PolicyView::schema()).unwrap();
        let described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        assert_eq!(described, shown().keys().collect::<Vec<_>>());
    }

    #[test]
    fn a_change_of_another_version_is_noticed() {
        let mut headers = HeaderMap::new();
        assert!(matches(&headers, "p1"));
        headers.insert(header::IF_MATCH, "\"p1\"".parse().unwrap());
        assert!(matches(&headers, "p1") && !matches(&headers, "p2"));
    }
}
