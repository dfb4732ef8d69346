//! `POST /v1/record/batch`: many records, as many answers, in order. A bad item has its problem in its place.

use axum::{
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    input::{BATCH_LIMIT, Media, media, read},
};
use crate::{
    answer::Answer,
    domain::{Millis, decision::Decision, record::Record},
    intake::{WireRecord, read_whole},
};

/// Most records of one batch.
const MAX_ITEMS: usize = 1000;

/// What stands in an item's place.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum BatchItem<'a> {
    /// The decision about it.
    Decided(Answer<'a>),
    /// What is wrong with it; it was not recorded.
    Bad(Problem),
}

/// Reports up to 1,000 finished requests, as a JSON array or as NDJSON; the answer has the form of the question.
#[utoipa::path(
    post, path = "/v1/record/batch", tag = "records", operation_id = "record_batch",
    request_body(content((Vec<WireRecord> = "application/json"), (WireRecord = "application/x-ndjson"))),
    responses(
        (status = 200, description = "One answer per record, in order.", content(
            (Vec<BatchItem> = "application/json"), (BatchItem = "application/x-ndjson"),
        )),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "Nothing was recorded."
        ),
    ),
)]
pub(super) async fn batch(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let media = media(request.headers());
    let body = read(&app, request, BATCH_LIMIT).await?;
    if body.trim_ascii().is_empty() {
        return Err(ApiError::EmptyBody);
    }
    let media =
        media.ok_or(ApiError::MediaType("application/json, application/x-ndjson or application/jsonl"))?;
    let items = split(&body, media)?;
    let now = app.engine.now();
    let (records, places) = sort(items.iter().map(|item| take_item(&app, item, now)));
    let count = records.len();
    let decisions = app.record(records, now).await?;
    if decisions.len() != count {
        return Err(ApiError::Internal);
    }
    respond(&places, &decisions, media).map_err(|_| ApiError::Internal)
}

/// Cuts a body into its items, without looking into them.
fn split(body: &[u8], media: Media) -> Result<Vec<&[u8]>, ApiError> {
    let items: Vec<&[u8]> = match media {
        Media::Json => {
            let items: Vec<&RawValue> = parse_array(body)?;
            items.into_iter().map(|raw| raw.get().as_bytes()).collect()
        }
        Media::Ndjson => body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect(),
    };
    if items.len() > MAX_ITEMS {
        return Err(ApiError::field(
            "",
            format!("must have at most {MAX_ITEMS} records; it has {}", items.len()),
        ));
    }
    Ok(items)
}

fn parse_array(body: &[u8]) -> Result<Vec<&RawValue>, ApiError> {
    use serde_json::error::Category;
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => ApiError::field("", "must be an array of records"),
        _ => {
            let (line, column) = (error.line(), error.column());
            ApiError::Syntax(format!("not valid JSON: it cannot be read (line {line}, column {column})"))
        }
    })
}

fn take_item(app: &App, item: &[u8], now: Millis) -> Result<Record, ApiError> {
    app.take_whole(read_whole(item)?, now)
}

/// The good records, and for each item either its index among them or its problem.
fn sort(items: impl Iterator<Item = Result<Record, ApiError>>) -> (Vec<Record>, Vec<Result<usize, Problem>>) {
    let mut records = Vec::new();
    let places = items
        .map(|item| {
            let record = item.map_err(ApiError::into_problem)?;
            records.push(record);
            Ok(records.len() - 1)
        })
        .collect();
    (records, places)
}

fn respond(
    places: &[Result<usize, Problem>],
    decisions: &[Decision],
    media: Media,
) -> Result<Response, serde_json::Error> {
    let items = places.iter().filter_map(|place| match place {
        Ok(index) => decisions.get(*index).map(|d| BatchItem::Decided(Answer::from(d))),
        Err(problem) => Some(BatchItem::Bad(problem.clone())),
    });
    let mut body = Vec::with_capacity(places.len() * 400);
    let media = match media {
        Media::Json => {
            serde_json::to_writer(&mut body, &items.collect::<Vec<_>>())?;
            "application/json"
        }
        Media::Ndjson => {
            for item in items {
                serde_json::to_writer(&mut body, &item)?;
                body.push(b'\n');
            }
            "application/x-ndjson"
        }
    };
    Ok(([(header::CONTENT_TYPE, media)], body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(result: Result<Vec<&[u8]>, ApiError>) -> Result<usize, u16> {
        result.map(|items| items.len()).map_err(|e| e.into_problem().status)
    }

    #[test]
    fn both_forms_are_cut_into_items() {
        assert_eq!(status(split(b"[{\"a\":[1,2]}, 7 ,\"x\"]", Media::Json)), Ok(3));
        assert_eq!(status(split(b"{\"a\":1}\r\n\n{\"b\"\n", Media::Ndjson)), Ok(2));
        assert_eq!(status(split(b"[]", Media::Json)), Ok(0));
    }

    #[test]
    fn a_batch_that_is_none_is_refused_as_a_whole() {
        assert_eq!(status(split(b"[{}", Media::Json)), Err(400));
        assert_eq!(status(split(b"[\"\xff\"]", Media::Json)), Err(400));
        assert_eq!(status(split(b"{}", Media::Json)), Err(422));
        let many = format!("[{}]", vec!["1"; 1001].join(","));
        assert_eq!(status(split(many.as_bytes(), Media::Json)), Err(422));
        assert_eq!(status(split("1\n".repeat(1001).as_bytes(), Media::Ndjson)), Err(422));
    }

    #[test]
    fn a_bad_item_keeps_its_place() {
        let bad = || Err(ApiError::field("/endpoint", "is required"));
        let (records, places) = sort([bad(), bad()].into_iter());
        assert!(records.is_empty());
        let response = respond(&places, &[], Media::Ndjson).unwrap();
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        assert_eq!(places.len(), 2);
    }
}
