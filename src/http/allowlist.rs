//! `/v1/allowlist`: what detectors must leave alone.

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::{
    App, audit,
    error::{ApiError, Problem},
    input::JsonBody,
    lists::{Cursor, List},
    params::{self, Params, TextPath},
    text,
};
use crate::{
    domain::{
        Millis,
        actor::Actor,
        allowlist::{AllowEntry, Side},
        event::{format_millis, parse_millis},
        subject::Subject,
    },
    intake::FieldError,
    store::Document,
};

/// What an operator says of an entry.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowOrder {
    /// Why, in at most 1000 bytes.
    #[schema(min_length = 1, max_length = 1000)]
    pub reason: String,
    /// Until when (RFC 3339, in the future); null: for good.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub expires: Option<String>,
}

/// An entry of the allowlist.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AllowView {
    /// What it covers: `key:<key_id>`, `ip:<address or prefix>`, `asn:<number>`, `country:<code>` or
    /// `pair:<side>~<side>`.
    #[schema(example = "pair:SG~RO")]
    pub entry: String,
    /// Why it is there, in the words of whoever put it.
    pub reason: Option<String>,
    /// Until when; null: for good.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// Since when it is there, RFC 3339.
    #[schema(format = DateTime)]
    pub created: Option<String>,
}

impl From<&Document> for AllowView {
    fn from(document: &Document) -> Self {
        let text = |name: &str| document.body.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        Self {
            entry: document.name.clone(),
            reason: text("reason"),
            expires: text("expires"),
            created: text("created"),
        }
    }
}

impl AllowView {
    fn created_at(&self) -> Millis {
        self.created.as_deref().and_then(|t| parse_millis(t).ok()).unwrap_or_default()
    }
}

/// Lists the entries, newest first.
#[utoipa::path(
    get, path = "/v1/allowlist", tag = "policy", operation_id = "list_allowlist",
    params(
        ("cursor" = Option<String>, Query, description = "Where the last page ended."),
        ("limit" = Option<u16>, Query, description = "1 to 1000; 100 by default."),
    ),
    responses((status = 200, body = List<AllowView>, description = "A page.")),
)]
pub(super) async fn list(State(app): State<App>, params: Params) -> Result<Json<List<AllowView>>, ApiError> {
    let params = params.only(&["cursor", "limit"])?;
    let (cursor, limit) = (params.text("cursor").map(Cursor::decode).transpose()?, params.limit()?);
    let mut items: Vec<AllowView> = app.engine.allowlist().iter().map(AllowView::from).collect();
    items.retain(|i| cursor.as_ref().is_none_or(|c| c.precedes(i.created_at(), &i.entry)));
    items.sort_by(|a, b| b.created_at().cmp(&a.created_at()).then_with(|| a.entry.cmp(&b.entry)));
    let more = items.len() > limit;
    items.truncate(limit);
    let end = items.last().filter(|_| more);
    let next_cursor = end.map(|i| Cursor { time: i.created_at(), name: i.entry.clone() }.encode());
    Ok(Json(List { items, next_cursor }))
}

/// Shows one entry of the allowlist.
#[utoipa::path(
    get, path = "/v1/allowlist/{entry}", tag = "policy", operation_id = "show_allowlist_entry",
    params(("entry" = String, Path, description = "The entry, percent-encoded.")),
    responses(
        (status = 200, body = AllowView, description = "The entry."),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "It is not on the list."
        ),
    ),
)]
pub(super) async fn show(
    State(app): State<App>,
    TextPath(text): TextPath,
) -> Result<Json<AllowView>, ApiError> {
    let entry = named(&app, &text).await?;
    find(&app, &entry).map(Json).ok_or_else(|| absent(&entry))
}

/// Puts an entry on the list, or replaces it.
#[utoipa::path(
    put, path = "/v1/allowlist/{entry}", tag = "policy", operation_id = "put_allowlist_entry",
    request_body = AllowOrder,
    params(("entry" = String, Path, description = "The entry, percent-encoded.")),
    responses(
        (status = 200, body = AllowView, description = "Replaced."),
        (status = 201, body = AllowView, description = "New on the list."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The entry or the order is wrong."
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
    TextPath(text): TextPath,
    JsonBody(order): JsonBody<AllowOrder>,
) -> Result<Response, ApiError> {
    let (view, replaced) = order.carry_out(&app, &text, &actor).await?;
    let code = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((code, Json(view)).into_response())
}

/// Takes an entry off the list.
#[utoipa::path(
    delete, path = "/v1/allowlist/{entry}", tag = "policy", operation_id = "delete_allowlist_entry",
    params(("entry" = String, Path, description = "The entry, percent-encoded.")),
    responses(
        (status = 204, description = "It is off the list."),
        (
            status = 404, body = Problem, content_type = "application/problem+json",
            description = "It was not on the list."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn delete(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(text): TextPath,
) -> Result<StatusCode, ApiError> {
    let entry = named(&app, &text).await?;
    let now = app.engine.now();
    let there =
        app.engine.policy_changes().write_allowlist(&entry, serde_json::Value::Null, &actor, now).await?;
    if !there {
        return Err(absent(&entry));
    }
    audit(&actor, "allowlist delete", &entry);
    Ok(StatusCode::NO_CONTENT)
}

impl AllowOrder {
    /// Puts the entry on the list, and says whether it was there before.
    ///
    /// # Errors
    /// The entry or the order is wrong, or it could not be written.
    pub(crate) async fn carry_out(
        self,
        app: &App,
        entry: &str,
        by: &Actor,
    ) -> Result<(AllowView, bool), ApiError> {
        AllowEntry::written(entry).map_err(|error| ApiError::field("/entry", error.to_string()))?;
        let entry = named(app, entry).await?;
        let now = app.engine.now();
        let expires = self.checked(now)?.map(format_millis);
        let view = AllowView { entry, reason: Some(self.reason), expires, created: Some(format_millis(now)) };
        let body = json!({ "reason": view.reason, "expires": view.expires, "created": view.created });
        let replaced = app.engine.policy_changes().write_allowlist(&view.entry, body, by, now).await?;
        audit(by, "allowlist put", &view.entry);
        Ok((view, replaced))
    }

    fn checked(&self, now: Millis) -> Result<Option<Millis>, ApiError> {
        let mut errors = Vec::new();
        text::check("/reason", &self.reason, 1, &mut errors);
        let expires = self.expires.as_deref().map(parse_millis);
        if expires.as_ref().is_some_and(|e| !e.as_ref().is_ok_and(|at| *at > now)) {
            errors.push(FieldError::new("/expires", "must be an RFC 3339 time in the future, or null"));
        }
        if errors.is_empty() { Ok(expires.and_then(Result::ok)) } else { Err(ApiError::Fields(errors)) }
    }
}

fn find(app: &App, entry: &str) -> Option<AllowView> {
    app.engine.allowlist().iter().find(|d| d.name == entry).map(AllowView::from)
}

fn absent(entry: &str) -> ApiError {
    ApiError::NotFound(format!("{entry} is not on the allowlist"))
}

/// The entry that a path names. A key that is on the list already may have any id.
async fn named(app: &App, text: &str) -> Result<String, ApiError> {
    let entry = canonical(text)?;
    if entry.starts_with("key:") && find(app, &entry).is_none() {
        params::subject(app, &entry, "/entry").await?;
    }
    Ok(entry)
}

/// One spelling for each entry, so that what is put under one is found and deleted under another.
fn canonical(text: &str) -> Result<String, ApiError> {
    let bad = |detail: String| ApiError::field("/entry", detail);
    match text.parse::<AllowEntry>().map_err(|e| bad(e.to_string()))? {
        AllowEntry::Key(_) | AllowEntry::Network(_) => {
            Subject::parse(text).map(|s| s.to_string()).map_err(|e| bad(e.to_string()))
        }
        AllowEntry::Place(Side::Asn(asn)) => Ok(format!("asn:{asn}")),
        AllowEntry::Place(Side::Country(code)) => Ok(format!("country:{}", String::from_utf8_lossy(&code))),
        AllowEntry::Pair(a, b) => Ok(format!("pair:{}~{}", side(a), side(b))),
    }
}

fn side(side: Side) -> String {
    match side {
        Side::Asn(asn) => format!("AS{asn}"),
        Side::Country(code) => String::from_utf8_lossy(&code).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_one_spelling() {
        for (given, kept) in [
            ("key:k1:1", "key:k1:1"),
            ("ip:203.0.113.9/24", "ip:203.0.113.0/24"),
            ("ip:2001:db8::1", "ip:2001:db8::/64"),
            ("ip:::ffff:203.0.113.0/120", "ip:203.0.113.0/24"),
            ("ip:2002:cb00:7107::/48", "ip:203.0.113.7"),
            ("asn:AS64500", "asn:64500"),
            ("country:sg", "country:SG"),
            ("pair:sg~AS3", "pair:SG~AS3"),
        ] {
            assert_eq!(canonical(given).unwrap(), kept);
        }
        assert_eq!(canonical("project:x").unwrap_err().into_problem().errors[0].pointer, "/entry");
    }

    #[test]
    fn an_order_needs_a_reason_and_a_future() {
        let errors = |reason: &str, expires: Option<&str>| {
            let order = AllowOrder { reason: reason.into(), expires: expires.map(Into::into) };
            order.checked(1_772_442_802_123).err().map(|e| e.into_problem().errors[0].pointer.clone())
        };
        assert_eq!(errors("office", None), None);
        assert_eq!(errors("office", Some("2027-01-01T00:00:00Z")), None);
        assert_eq!(errors("office", Some("2026-01-01T00:00:00Z")).as_deref(), Some("/expires"));
        assert_eq!(errors("office", Some("soon")).as_deref(), Some("/expires"));
        assert_eq!(errors("", None).as_deref(), Some("/reason"));
    }
}
