//! `POST /v1/traces`: spans of OpenTelemetry, by OTLP over HTTP, as usage records.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    input::{BATCH_LIMIT, read_unpacked},
};
use crate::{
    domain::{Millis, record::Record},
    traces::{Span, Untaken, read_json, read_protobuf},
};

/// Most bytes of an unpacked body.
const UNPACKED_LIMIT: usize = 16 * 1024 * 1024;
/// Records that are decided at a time.
const AT_A_TIME: usize = 500;
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// What an exporter is told: how many spans were no good, and why.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TracesTaken {
    /// Absent when every span was taken or is nobody's usage.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    partial_success: Option<PartialSuccess>,
}

/// What was not taken of an export.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialSuccess {
    /// Spans of a key that could not be records.
    #[schema(example = "2")]
    rejected_spans: String,
    /// Why the first of them could not.
    error_message: String,
}

/// Takes spans of OpenTelemetry: those of a key become records, all others are passed over.
#[utoipa::path(
    post, path = "/v1/traces", tag = "records", operation_id = "traces",
    request_body(content(
        (serde_json::Value = "application/json"), (Vec<u8> = "application/x-protobuf"),
    )),
    responses(
        (status = 200, body = TracesTaken, description = "It was taken; in protobuf where it was sent so."),
        (status = "4XX", body = Problem, content_type = "application/problem+json", description = "Nothing was taken."),
    ),
)]
pub(super) async fn traces(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let is_json = media(request.headers())?;
    let body = read_unpacked(&app, request, BATCH_LIMIT, UNPACKED_LIMIT).await?;
    let read = if is_json { read_json(&body) } else { read_protobuf(&body) };
    let spans = read.map_err(|error| match error {
        Untaken::Unreadable(_) => ApiError::Syntax(error.to_string()),
        Untaken::TooMany => ApiError::TooMany(error.to_string()),
    })?;
    let now = app.engine.now();
    let (mut records, rejected) = sort(&app, &spans, now);
    while !records.is_empty() {
        let rest = records.split_off(records.len().min(AT_A_TIME));
        app.record(records, now).await?;
        records = rest;
    }
    Ok(answer(rejected, is_json))
}

/// Whether a body is JSON, or else protobuf.
fn media(headers: &HeaderMap) -> Result<bool, ApiError> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        JSON => Ok(true),
        PROTOBUF => Ok(false),
        _ => Err(ApiError::MediaType("application/x-protobuf or application/json")),
    }
}

/// The records of spans, and how many could not be one, with why the first could not.
fn sort(app: &App, spans: &[Span], now: Millis) -> (Vec<Record>, Option<(usize, String)>) {
    let (mut records, mut rejected) = (Vec::new(), None);
    for made in spans.iter().filter_map(|span| app.traces.record(span)) {
        let taken = made
            .map_err(str::to_owned)
            .and_then(|wire| app.take(wire, now).map_err(|error| ApiError::from(error).to_string()));
        match taken {
            Ok(record) => records.push(record),
            Err(why) => rejected = Some(rejected.map_or((1, why), |(count, first)| (count + 1, first))),
        }
    }
    (records, rejected)
}

/// The answer in the form of the question, as the protocol has it.
fn answer(rejected: Option<(usize, String)>, is_json: bool) -> Response {
    if is_json {
        let partial_success = rejected.map(|(count, error_message)| PartialSuccess {
            rejected_spans: count.to_string(),
            error_message,
        });
        return axum::Json(TracesTaken { partial_success }).into_response();
    }
    let mut inner = Vec::new();
    if let Some((count, why)) = rejected {
        inner.push(1 << 3);
        varint(count as u64, &mut inner);
        field(2, why.as_bytes(), &mut inner);
    }
    let mut body = Vec::new();
    if !inner.is_empty() {
        field(1, &inner, &mut body);
    }
    ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

fn field(number: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push((number << 3) | 2);
    varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_said_in_protobuf_as_the_protocol_has_it() {
        let body = |rejected| {
            let response = answer(rejected, false);
            futures::executor::block_on(axum::body::to_bytes(response.into_body(), 1000)).unwrap().to_vec()
        };
        assert_eq!(body(None), b"");
        let why = "x".repeat(130);
        let said = body(Some((300, why.clone())));
        // partial_success (1) of 136 bytes: rejected_spans (1) 300, error_message (2) of 130 bytes.
        assert_eq!(said[..9], [0x0a, 0x88, 0x01, 0x08, 0xac, 0x02, 0x12, 0x82, 0x01]);
        assert_eq!(&said[9..], why.as_bytes());
    }
}
