//! `/v1/policy`: limits, thresholds, modes and ladder. What another would do is in `preview`, what was in force before
//! in `versions`.

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
    domain::{actor::Actor, policy::Policy},
    intake::{FieldError, InputError, parse},
    settings::SettingError,
};

/// The policy in force.
#[derive(Serialize)]
pub(super) struct PolicyView<'a> {
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
    responses((
        status = 200, body = PolicyView, description = "The policy.",
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(super) async fn show(State(app): State<App>) -> Response {
    let active = app.engine.policy();
    respond(&active.policy, &active.version)
}

/// Puts a whole policy in force: what GET shows, changed. It holds on every instance within a second.
#[utoipa::path(
    put, path = "/v1/policy", tag = "policy", operation_id = "put_policy", request_body = PolicyView,
    params((
        "If-Match" = Option<String>, Header,
        description = "The version that was changed; another one in force is an error."
    )),
    responses(
        (status = 200, body = PolicyView, description = "It is in force."),
        (
            status = 412, body = Problem, content_type = "application/problem+json",
            description = "The policy has changed meanwhile."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "A setting is wrong; nothing changed."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn put(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    headers: HeaderMap,
    JsonBody(document): JsonBody<Map<String, Value>>,
) -> Result<Response, ApiError> {
    let policy = read(document, &app.engine.policy().policy)?;
    if !matches(&headers, &app.engine.policy().version) {
        return Err(ApiError::Changed);
    }
    let version: Arc<str> = app.engine.policy_changes().set_policy(&policy, &actor, app.engine.now()).await?;
    audit(&actor, "policy put", &version);
    Ok(respond(&policy, &version))
}

/// Most errors that one answer names: each costs another reading of the document.
const MAX_ERRORS: usize = 64;

/// Reads a whole policy. After a mistake it goes on with what `in_force` has in its place, so that all are named.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(mut document: Map<String, Value>, in_force: &Policy) -> Result<Policy, ApiError> {
    document.remove("version");
    let mut errors = Vec::new();
    // A stored policy of an older version may lack it; who puts one says what is to hold.
    if !document.contains_key("enforcement") {
        errors.push(FieldError::new("/enforcement", "is missing; it must be enforce or observe"));
    }
    let fallback = serde_json::to_value(in_force).map_err(|_| ApiError::Internal)?;
    let policy = read_on(Value::Object(document), &fallback, &mut errors)?;
    let ranges = policy.as_ref().map(Policy::validate).and_then(Result::err);
    for error in ranges.into_iter().flatten() {
        let is_named = |setting: &str| errors.iter().any(|error| error.pointer == pointer(setting));
        if !is_named(&error.setting) && !error.contradicts.as_deref().is_some_and(is_named) {
            errors.push(field(&error));
        }
    }
    match policy {
        Some(policy) if errors.is_empty() => Ok(policy),
        _ => Err(ApiError::Fields(errors)),
    }
}

/// Adds every field that cannot be read to `errors`. There is a policy if the fallback could take the place of each.
fn read_on(
    mut document: Value,
    fallback: &Value,
    errors: &mut Vec<FieldError>,
) -> Result<Option<Policy>, ApiError> {
    while errors.len() < MAX_ERRORS {
        let bytes = serde_json::to_vec(&document).map_err(|_| ApiError::Internal)?;
        let wrong = match parse::<Policy>(&bytes) {
            Ok(policy) => return Ok(Some(policy)),
            Err(InputError::Fields(wrong)) => wrong,
            Err(error) => return Err(error.into()),
        };
        let is_repaired = wrong.iter().all(|error| repair(&mut document, &error.pointer, fallback));
        errors.extend(wrong);
        if !is_repaired {
            break;
        }
    }
    Ok(None)
}

/// Puts the fallback's value at `pointer`, or takes away what is there; `false` where neither changes anything.
fn repair(document: &mut Value, pointer: &str, fallback: &Value) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
    let Some(Value::Object(parent)) = document.pointer_mut(parent) else { return false };
    let name = name.replace("~1", "/").replace("~0", "~");
    match fallback.pointer(pointer) {
        Some(value) => parent.insert(name, value.clone()).is_none_or(|before| before != *value),
        None => parent.remove(&name).is_some(),
    }
}

fn field(error: &SettingError) -> FieldError {
    FieldError::new(pointer(&error.setting), error.explanation())
}

/// The dotted name of a setting as a JSON pointer (RFC 6901).
fn pointer(setting: &str) -> String {
    format!("/{}", setting.replace('~', "~0").replace('/', "~1").replace('.', "/"))
}

pub(super) fn respond(policy: &Policy, version: &str) -> Response {
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
        assert_eq!(read(shown(), &default_policy()).unwrap(), default_policy());
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let pointer = |change: fn(&mut Value)| {
            let mut document = Value::Object(shown());
            change(&mut document);
            let Value::Object(map) = document else { panic!("an object") };
            let errors = read(map, &default_policy()).unwrap_err().into_problem().errors;
            assert_eq!(errors.len(), 1, "{errors:?}");
            errors[0].pointer.clone()
        };
        assert_eq!(pointer(|d| d["ladder"]["ban_factor"] = 0.5.into()), "/ladder/ban_factor");
        assert_eq!(pointer(|d| d["ladder"]["ban_factor"] = "x".into()), "/ladder/ban_factor");
        assert_eq!(pointer(|d| d["limits"]["tokens"]["2min"] = 1.into()), "/limits/tokens/2min");
        assert_eq!(pointer(|d| d["laddder"] = 1.into()), "/laddder");
        assert_eq!(pointer(|d| d["enforcement"] = "shadow".into()), "/enforcement");
        assert_eq!(pointer(|d| drop(d.as_object_mut().unwrap().remove("enforcement"))), "/enforcement");
    }

    #[test]
    fn every_mistake_is_named_with_its_pointer_and_none_that_only_follows_from_another() {
        let mut document = Value::Object(shown());
        document["preset"] = "stritc".into();
        document["laddder"] = 1.into();
        document["ladder"]["ban_factor"] = 0.5.into();
        document["ladder"]["ban_seconds"] = "x".into();
        document["ladder"]["ban_max_seconds"] = 1.into();
        document["limits"]["tokens"]["1mni"] = 1.into();
        document["detectors"]["request_size"]["z_medium"] = (-1).into();
        drop(document["detectors"].as_object_mut().unwrap().remove("cost_spike"));
        let Value::Object(map) = document else { panic!("an object") };
        let errors = read(map, &default_policy()).unwrap_err().into_problem().errors;
        let mut pointers: Vec<&str> = errors.iter().map(|error| error.pointer.as_str()).collect();
        pointers.sort_unstable();
        assert_eq!(
            pointers,
            [
                "/detectors/cost_spike",
                "/detectors/request_size/z_medium",
                "/laddder",
                "/ladder/ban_factor",
                "/ladder/ban_seconds",
                "/limits/tokens/1mni",
                "/preset",
            ]
        );
        let window = errors.iter().find(|error| error.pointer == "/limits/tokens/1mni").unwrap();
        assert!(window.detail.ends_with("did you mean `1min`?"), "{}", window.detail);
    }

    #[test]
    fn a_flood_of_mistakes_is_cut_short() {
        let mut document = shown();
        (0..1_000).for_each(|n| drop(document.insert(format!("x{n}"), 1.into())));
        let errors = read(document, &default_policy()).unwrap_err().into_problem().errors;
        assert_eq!(errors.len(), MAX_ERRORS);
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
