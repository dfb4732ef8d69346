//! Bodies: their type, their size, the time they may take, how they are packed, and their form.
//!
//! Tokens are checked before a body is read, and a body takes memory only as its bytes arrive.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, Method, header},
};
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::{App, error::ApiError, packing::Packing};
use crate::{
    clock,
    intake::{Whole, read_whole},
};

/// Most bytes of a body, in general.
pub(crate) const BODY_LIMIT: usize = 64 * 1024;
/// Most bytes of a batch.
pub(super) const BATCH_LIMIT: usize = 4 * 1024 * 1024;
/// Where it stands, the first bytes of a text in UTF-8: the mark of the order of its bytes.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// How much of a body that is too large is read and dropped, so that a client that sends first and reads then
/// still gets its answer instead of a broken connection.
const DISCARD_LIMIT: usize = 64 * 1024 * 1024;

/// What a body claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    /// One value: `application/json`.
    Json,
    /// A value per line: `application/x-ndjson` or `application/jsonl`.
    Ndjson,
}

/// The type of a body, when it is one that any route takes.
pub(super) fn media(headers: &HeaderMap) -> Option<Media> {
    match content_type(headers)?.as_str() {
        "application/json" => Some(Media::Json),
        "application/x-ndjson" | "application/jsonl" => Some(Media::Ndjson),
        _ => None,
    }
}

/// The content type of a body in lower case, without parameters; `None` where it is none of text in UTF-8.
fn content_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next()?.to_ascii_lowercase();
    parts.all(is_utf8_or_no_charset).then_some(essence)
}

fn is_utf8_or_no_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else { return true };
    let value = value.trim_matches('"');
    !name.eq_ignore_ascii_case("charset") || ["utf-8", "utf8"].iter().any(|c| value.eq_ignore_ascii_case(c))
}

/// Reads a whole body of at most `limit` bytes, as it was sent and unpacked.
///
/// # Errors
/// Too large, too slow, broken off, packed in a way that is not known here.
pub(crate) async fn read(app: &App, request: Request, limit: usize) -> Result<Bytes, ApiError> {
    read_unpacked(app, request, limit, limit).await
}

/// Reads a whole body of at most `limit` bytes as it was sent, and at most `unpacked` bytes unpacked, without a mark of
/// the order of its bytes.
///
/// # Errors
/// As [`read`].
pub(super) async fn read_unpacked(
    app: &App,
    request: Request,
    limit: usize,
    unpacked: usize,
) -> Result<Bytes, ApiError> {
    let packing = Packing::of(request.headers());
    let sent = receive(app, request, limit).await?;
    let body = match packing? {
        Some(packing) if !sent.is_empty() => packing.unpack(&sent, unpacked)?,
        _ => sent,
    };
    Ok(if body.starts_with(MARK) { body.slice(MARK.len()..) } else { body })
}

async fn receive(app: &App, request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    let asks_first = parts.headers.contains_key(header::EXPECT);
    if asks_first && announced.is_some_and(|length| length > limit) {
        return Err(ApiError::TooLarge(limit));
    }
    match clock::timeout(app.body_timeout, gather(body, limit)).await {
        Ok(result) => result,
        Err(_) => Err(ApiError::SlowBody),
    }
}

async fn gather(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut all = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| ApiError::BrokenBody)?;
        seen = seen.saturating_add(chunk.len());
        if seen <= limit {
            all.extend_from_slice(&chunk);
        } else {
            all = BytesMut::new();
            if seen > DISCARD_LIMIT {
                break;
            }
        }
    }
    if seen > limit { Err(ApiError::TooLarge(limit)) } else { Ok(all.freeze()) }
}

/// A JSON body of a given form.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        json(app, request).await?.map(Self).ok_or(ApiError::EmptyBody)
    }
}

/// A JSON body of a given form as far as it can be read, so that all that is wrong with it is said together.
pub(super) struct WholeBody<T>(pub Whole<T>);

impl<T: DeserializeOwned> FromRequest<App> for WholeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = document(app, request, BODY_LIMIT).await?.ok_or(ApiError::EmptyBody)?;
        Ok(Self(read_whole(&bytes)?))
    }
}

/// A JSON body of a given form, as large as a batch may be.
pub(super) struct LargeJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for LargeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = document(app, request, BATCH_LIMIT).await?.ok_or(ApiError::EmptyBody)?;
        Ok(Self(read_whole(&bytes)?.good()?))
    }
}

/// A JSON body of a given form, or none.
pub(super) struct MaybeJson<T>(pub Option<T>);

impl<T: DeserializeOwned> FromRequest<App> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        json(app, request).await.map(Self)
    }
}

/// A JSON document as it was sent; it is read where it is known what else must hold. A PATCH may be of the type of a
/// merge patch, too.
pub(super) struct JsonDocument(pub Bytes);

impl FromRequest<App> for JsonDocument {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        document(app, request, BODY_LIMIT).await?.map(Self).ok_or(ApiError::EmptyBody)
    }
}

/// The document in a body, read; `None` where there is no body.
async fn json<T: DeserializeOwned>(app: &App, request: Request) -> Result<Option<T>, ApiError> {
    let bytes = document(app, request, BODY_LIMIT).await?;
    Ok(bytes.map(|bytes| read_whole(&bytes)?.good()).transpose()?)
}

/// The document in a body of at most `limit` bytes; `None` where there is no body. Only a DELETE may then leave its
/// content type out.
async fn document(app: &App, request: Request, limit: usize) -> Result<Option<Bytes>, ApiError> {
    let content_type = content_type(request.headers());
    let patches = request.method() == Method::PATCH;
    let is_json = content_type.is_some_and(|content_type| match content_type.as_str() {
        "application/json" => true,
        // RFC 7396.
        "application/merge-patch+json" => patches,
        _ => false,
    });
    let needs_type = request.method() != Method::DELETE;
    let bytes = read(app, request, limit).await?;
    let is_empty = bytes.trim_ascii().is_empty();
    if !is_json && (needs_type || !is_empty) {
        let wanted =
            if patches { "application/merge-patch+json or application/json" } else { "application/json" };
        return Err(ApiError::MediaType(wanted));
    }
    Ok((!is_empty).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media_of(content_type: &str) -> Option<Media> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        media(&headers)
    }

    #[test]
    fn json_in_utf_8_is_taken_however_it_is_spelled() {
        for text in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert_eq!(media_of(text), Some(Media::Json), "{text}");
        }
        for text in ["application/x-ndjson", "application/jsonl; charset=utf-8"] {
            assert_eq!(media_of(text), Some(Media::Ndjson), "{text}");
        }
    }

    #[test]
    fn other_types_and_charsets_are_not() {
        for text in
            ["text/plain", "application/jsonx", "application/json; charset=latin1", "", "multipart/form-data"]
        {
            assert_eq!(media_of(text), None, "{text}");
        }
        assert_eq!(media(&HeaderMap::new()), None);
    }

    #[tokio::test]
    async fn a_body_is_taken_up_to_its_limit_and_not_beyond() {
        assert_eq!(gather(Body::from(vec![0; 10]), 10).await.unwrap().len(), 10);
        assert!(matches!(gather(Body::from(vec![0; 11]), 10).await, Err(ApiError::TooLarge(10))));
    }
}
