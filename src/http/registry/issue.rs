//! Keys of Keyward's own: one is issued, or another is put in its place. The secret is shown once and kept nowhere.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{absent, body, keys::KeyEntryView, kind::Resource, registry};
use crate::{
    domain::{
        Millis, SECOND,
        actor::Actor,
        event::format_millis,
        registry::{Entry, Held, KeyEntry},
    },
    http::{
        App, audit,
        error::{ApiError, Problem},
        input::{JsonDocument, MaybeJson},
        params::TextPath,
    },
    store::DocumentKind,
};

/// Bytes of a secret that nobody can guess.
const SECRET_BYTES: usize = 32;
/// The longest time that a key and the one in its place are both good: 30 days, in seconds.
const LONGEST_OVERLAP: u64 = 30 * 24 * 60 * 60;
/// What the path of a rotation ends with, behind the id of the key.
const ROTATE: &str = "/rotate";

/// A key that was issued.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    /// The secret: what clients send. It is shown this once.
    #[schema(example = "kwk_SECRET", pattern = "^kwk_[A-Za-z0-9_-]{43}$")]
    secret: String,
    /// The public id of the key whose place it takes; absent of a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    replaces: Option<String>,
    /// The key as it is registered.
    #[serde(flatten)]
    key: KeyEntryView,
}

/// How a key is put in the place of another.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rotation {
    /// For how many seconds the former key stays good; 0: it is refused at once.
    #[schema(maximum = 2_592_000)]
    overlap_seconds: u64,
}

/// Issues a key of Keyward's own: makes a secret, and registers its public id.
#[utoipa::path(
    post, path = "/v1/keys", tag = "registry", operation_id = "issue_key", request_body = KeyEntry,
    responses(
        (status = 201, body = IssuedKey, description = "The key, with its secret."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong, or its project or plan does not exist; none was issued."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer; none was issued."
        ),
    ),
)]
pub(crate) async fn issue(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    JsonDocument(document): JsonDocument,
) -> Result<Response, ApiError> {
    let entry: KeyEntry = body::read(&document, &registry(&app))?;
    let now = app.engine.now();
    let issued = register(&app, &actor, entry, None, now).await?;
    Ok((StatusCode::CREATED, Json(issued)).into_response())
}

/// Issues another key in the place of one, with all that is registered of it. The former one expires.
#[utoipa::path(
    post, path = "/v1/keys/{key_id}/rotate", tag = "registry", operation_id = "rotate_key",
    request_body = Option<Rotation>,
    params(("key_id" = String, Path, description = "The public id, as answers give it, percent-encoded.")),
    responses(
        (status = 201, body = IssuedKey, description = "The new key, with its secret."),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is none."),
        (
            status = 409, body = Problem, content_type = "application/problem+json",
            description = "Another key has its place already, which is named, or it has expired; nothing changed."
        ),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Something in it is wrong; nothing changed."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    TextPath(path): TextPath,
    MaybeJson(rotation): MaybeJson<Rotation>,
) -> Result<Response, ApiError> {
    let overlap = rotation.unwrap_or_default().overlap_seconds;
    if overlap > LONGEST_OVERLAP {
        return Err(ApiError::field("/overlap_seconds", format!("must be from 0 to {LONGEST_OVERLAP}")));
    }
    let Some(former) = path.strip_suffix(ROTATE) else {
        let detail = format!("POST is for {path}{ROTATE}, which puts another key in the place of this one");
        return Err(ApiError::NotFound(detail));
    };
    let changes = app.engine.registry_changes();
    let alone = changes.alone().await;
    let held = registry(&app).key(former).ok_or_else(|| absent(DocumentKind::Key, former))?;
    let now = app.engine.now();
    may_be_rotated(&held.body, now)?;
    // The new one first: a failure in between leaves two good keys, and not none.
    let issued = register(&app, &actor, (*held.body).clone(), Some(former.to_owned()), now).await?;
    app.engine.successions().take_place((former, &issued.key.key_id), &actor, now).await?;
    let expires = now + Millis::try_from(overlap).unwrap_or(0) * SECOND;
    let expires = held.body.expiry().map_or(expires, |earlier| earlier.min(expires));
    let (expires, replaced_by) = (Some(format_millis(expires)), Some(issued.key.key_id.clone()));
    let entry = KeyEntry { expires, replaced_by, ..(*held.body).clone() };
    changes.put(former, &Entry::Key(entry), &actor, now).await?;
    drop(alone);
    audit(&actor, "key rotated", former);
    Ok((StatusCode::CREATED, Json(issued)).into_response())
}

/// Whether another key may take the place of one: what is issued with the expiry of a key that is on its way out would
/// be refused as soon as that.
fn may_be_rotated(entry: &KeyEntry, now: Millis) -> Result<(), ApiError> {
    let detail = match &entry.replaced_by {
        Some(key_id) => format!("the key {key_id} has its place already: rotate that one"),
        None if entry.expiry().is_some_and(|expiry| expiry <= now) => {
            "it has expired: give it another `expires` first, or issue a new key".to_owned()
        }
        None => return Ok(()),
    };
    Err(ApiError::Conflict(detail))
}

async fn register(
    app: &App,
    actor: &Actor,
    entry: KeyEntry,
    replaces: Option<String>,
    now: Millis,
) -> Result<IssuedKey, ApiError> {
    let secret = secret().map_err(|_| ApiError::Internal)?;
    let key_id = app.intake.key_id(&secret);
    app.engine.registry_changes().put(&key_id, &Entry::Key(entry.clone()), actor, now).await?;
    audit(actor, "key issued", &key_id);
    let key = KeyEntry::view(&key_id, &Held { body: Arc::new(entry), updated: Some(now) });
    Ok(IssuedKey { secret: secret.to_string(), replaces, key })
}

fn secret() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut random = Zeroizing::new([0_u8; SECRET_BYTES]);
    getrandom::fill(random.as_mut())?;
    let text = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(random.as_ref()));
    Ok(Zeroizing::new(format!("kwk_{}", text.as_str())))
}
