//! Elasticsearch and OpenSearch: the bulk API, `create` actions only.
//!
//! A data stream takes nothing but `create`, and with the event's id as the document's a second copy is a conflict,
//! which is as good as sent. So a batch may be sent again as often as need be.

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    domain::event::{Event, format_millis},
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, SendReport, Sink},
        error::{SendError, SendErrorKind},
        format::Format,
        http,
        secret::{Secret, UrlSource},
    },
    outbound::{HttpClient, HttpResponse},
    settings::{SettingError, SettingErrors},
};

/// By the naming scheme of data streams, type-dataset-namespace; the dataset is the `event.dataset` of our ECS events.
/// Elasticsearch makes a data stream of it by itself, by its own template for `logs-*-*`.
const INDEX: &str = "logs-keyward.events-default";
/// The members of an answer that are asked for; the rest is longer than what was sent.
const FILTER: &str =
    "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason,error";
/// Most characters of an error that people are shown.
const MAX_SHOWN: usize = 1_000;
/// Errors that come with status 400 and are about the index, not about what is in a document.
const ABOUT_THE_INDEX: [&str; 4] = [
    "index_closed_exception",
    "invalid_index_name_exception",
    "validation_exception",
    "action_request_validation_exception",
];

/// The own settings of a sink with `type = "elasticsearch"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Elasticsearch {
    url: UrlSource,
    index: Option<String>,
    /// The encoded form of an API key.
    api_key: Option<Secret>,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
}

impl KindSettings for Elasticsearch {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        errors.check(common.require_json());
        if self.api_key.is_some() && self.authorization.is_some() {
            let hint = "cannot be set together with api_key";
            errors.check(Err(SettingError::new("authorization", hint)));
        }
        if self.index.as_deref().is_some_and(|index| !is_index(index)) {
            let hint = "must be the name of an index, an alias or a data stream: lower case, without \\/*?\"<>|,#:% \
                        and blanks, and not beginning with -, _, + or .";
            errors.check(Err(SettingError::new("index", hint)));
        }
    }

    fn open(&self, common: &CommonSettings, _context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let url = self.url.read("url")?;
        let client = HttpClient::new(&url, &common.outbound)?.with_parameter("filter_path", FILTER);
        let mut headers = http::json_headers(self.authorization.as_ref())?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(key) = &self.api_key {
            let value = Zeroizing::new(format!("ApiKey {}", key.read("api_key")?.as_str()));
            headers.insert(AUTHORIZATION, http::sensitive("api_key", &value)?);
        }
        let path = format!("/{}/_bulk", self.index.as_deref().unwrap_or(INDEX));
        let format = common.format.unwrap_or(Format::Ecs);
        Ok(Box::new(ElasticsearchSink { client, headers, path, format }))
    }

    fn batch(&self) -> usize {
        500
    }
}

/// Whether Elasticsearch takes this as the name of an index.
fn is_index(name: &str) -> bool {
    let bad = |c: char| c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:%".contains(c);
    (1..=255).contains(&name.len()) && !name.starts_with(['-', '_', '+', '.']) && !name.contains(bad)
}

struct ElasticsearchSink {
    client: HttpClient,
    headers: HeaderMap,
    path: String,
    format: Format,
}

impl Sink for ElasticsearchSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let mut body = Vec::new();
            events.iter().for_each(|event| put_action(event, self.format, &mut body));
            let response = self.client.post(&self.path, self.headers.clone(), body).await?;
            report(response, events.len())
        })
    }
}

/// Appends the two lines of an event: the action and the document.
fn put_action(event: &Event, format: Format, out: &mut Vec<u8>) {
    out.extend(json!({ "create": { "_id": event.id } }).to_string().bytes());
    out.push(b'\n');
    if format == Format::Ecs {
        format.render(event, out);
    } else {
        // A data stream wants the time under this name.
        out.extend(format!("{{\"@timestamp\":\"{}\",", format_millis(event.time)).bytes());
        let mut document = Vec::new();
        format.render(event, &mut document);
        out.extend_from_slice(document.strip_prefix(b"{").unwrap_or(&document));
    }
    out.push(b'\n');
}

#[derive(Deserialize)]
struct BulkResponse {
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
struct BulkItem {
    create: CreateResult,
}

#[derive(Deserialize)]
struct CreateResult {
    status: u16,
    error: Option<ElasticError>,
}

/// What is wrong, with a document or with the whole request.
#[derive(Deserialize)]
struct ElasticError {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    caused_by: Option<ElasticCause>,
}

#[derive(Deserialize)]
struct ElasticCause {
    reason: Option<String>,
}

impl ElasticError {
    fn is_about_the_index(&self) -> bool {
        ABOUT_THE_INDEX.contains(&self.kind.as_str())
    }

    /// The type and the reasons, for people.
    fn shown(&self) -> String {
        let cause = self.caused_by.as_ref().and_then(|cause| cause.reason.as_deref());
        let reasons: Vec<&str> = self.reason.as_deref().into_iter().chain(cause).collect();
        let text = format!("{}: {}", self.kind, reasons.join(": "));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN).collect()
    }
}

impl CreateResult {
    /// The status and the error on one line, for people.
    fn shown(&self) -> String {
        let status = format!("status {}", self.status);
        self.error.as_ref().map_or(status.clone(), |error| format!("{status}, {}", error.shown()))
    }

    fn failed(&self, kind: SendErrorKind) -> SendError {
        let error = self.error.as_ref().map(ElasticError::shown).unwrap_or_default();
        SendError::new(kind, format!("status {}", self.status)).detail(error)
    }
}

/// What became of so many events.
fn report(response: HttpResponse, expected: usize) -> Result<SendReport, SendError> {
    if !response.is_success() {
        return Err(whole_request_failed(response));
    }
    if response.is_too_long() {
        return Err(
            SendError::refused("its answer is too long to be read").detail("smaller batches are tried")
        );
    }
    let Some(BulkResponse { items }) = response.object() else {
        return Err(http::answered(SendErrorKind::Unreachable, &response)
            .detail("that is no result of a bulk request, or broke off"));
    };
    if items.len() != expected {
        return Err(SendError::unreachable(format!("it answered for {} of {expected} events", items.len())));
    }
    let (mut created, mut known, mut refused) = (0, 0, Vec::new());
    let mut again: Option<SendError> = None;
    for (n, BulkItem { create }) in items.iter().enumerate() {
        let about_the_index = create.error.as_ref().is_some_and(ElasticError::is_about_the_index);
        let busy = SendErrorKind::Busy { retry_after: response.retry_after };
        match create.status {
            200..=299 => created += 1,
            409 => known += 1,
            401 | 403 | 404 => return Err(create.failed(SendErrorKind::Denied)),
            _ if about_the_index => return Err(create.failed(SendErrorKind::Denied)),
            429 | 503 => again = Some(create.failed(busy)),
            400..=499 => refused.push((n, create.shown())),
            _ => again = again.or_else(|| Some(create.failed(SendErrorKind::Broken))),
        }
    }
    match again {
        Some(error) => Err(error),
        None => Ok(SendReport { answer: format!("{created} created, {known} were there already"), refused }),
    }
}

/// Why a whole request failed.
fn whole_request_failed(response: HttpResponse) -> SendError {
    #[derive(Deserialize)]
    struct FailedRequest {
        error: ElasticError,
    }
    let failed: Option<FailedRequest> = response.object();
    if failed.is_some_and(|failed| failed.error.is_about_the_index()) {
        return http::answered(SendErrorKind::Denied, &response);
    }
    match http::accepted(response) {
        Err(error) => error,
        Ok(response) => http::answered(SendErrorKind::Unreachable, &response),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::forward::{SinkSettings, sink::samples};

    fn response(body: &str, complete: bool) -> HttpResponse {
        HttpResponse { status: 200, retry_after: None, body: body.as_bytes().to_vec(), complete }
    }

    fn of(status: u16, body: &str, expected: usize) -> Result<SendReport, SendErrorKind> {
        report(HttpResponse { status, ..response(body, true) }, expected).map_err(|error| error.kind)
    }

    fn item(status: u16, kind: &str) -> Value {
        if kind.is_empty() {
            return json!({ "create": { "status": status } });
        }
        json!({ "create": { "status": status, "error": { "type": kind, "reason": "so\nit is" } } })
    }

    fn items(items: &[Value]) -> Result<SendReport, SendErrorKind> {
        of(200, &json!({ "items": items }).to_string(), items.len())
    }

    #[test]
    fn each_item_says_whether_it_is_there_refused_or_to_be_sent_again() {
        let (fine, known) = (item(201, ""), item(409, "version_conflict_engine_exception"));
        let bad = item(400, "document_parsing_exception");
        let sent = items(&[fine.clone(), known.clone(), bad.clone()]).unwrap();
        assert_eq!(sent.answer, "1 created, 1 were there already");
        assert_eq!(sent.refused, vec![(2, "status 400, document_parsing_exception: so it is".to_owned())]);
        for status in [429, 503] {
            let again = items(&[fine.clone(), bad.clone(), item(status, "es_rejected_execution_exception")]);
            assert!(matches!(again, Err(SendErrorKind::Busy { .. })), "{status}");
        }
        let broken = items(&[fine.clone(), item(500, "illegal_state_exception")]);
        assert!(matches!(broken, Err(SendErrorKind::Broken)));
        for (status, kind) in [
            (403, "cluster_block_exception"),
            (403, "security_exception"),
            (404, "index_not_found_exception"),
            (400, "index_closed_exception"),
            (400, "validation_exception"),
        ] {
            let denied = items(&[fine.clone(), bad.clone(), item(status, kind)]);
            assert!(matches!(denied, Err(SendErrorKind::Denied)), "{kind}");
        }
    }

    #[test]
    fn an_answer_that_does_not_tell_of_each_event_tells_nothing() {
        let one = json!({ "items": [item(201, "")] }).to_string();
        assert!(matches!(of(200, &one, 2), Err(SendErrorKind::Unreachable)));
        for text in ["", "{}", "<html>", r#"{"items":[{"index":{"status":201}}]}"#, &one[..one.len() - 3]] {
            assert!(matches!(of(200, text, 1), Err(SendErrorKind::Unreachable)), "{text}");
        }
        let cut = report(response(&one, false), 1).unwrap_err();
        assert_eq!(cut.kind, SendErrorKind::Unreachable);
        let long = report(response(&" ".repeat(1024 * 1024), false), 1).unwrap_err();
        assert_eq!(long.kind, SendErrorKind::Refused, "smaller batches have shorter answers");
    }

    #[test]
    fn a_request_that_fails_as_a_whole_is_as_its_status_says() {
        let whole = |status: u16, kind: &str| {
            of(status, &json!({ "error": { "type": kind, "reason": "x" }, "status": status }).to_string(), 1)
        };
        assert!(matches!(whole(401, "security_exception"), Err(SendErrorKind::Denied)));
        assert!(matches!(whole(404, "index_not_found_exception"), Err(SendErrorKind::Denied)));
        assert!(matches!(whole(400, "invalid_index_name_exception"), Err(SendErrorKind::Denied)));
        assert!(matches!(whole(400, "illegal_argument_exception"), Err(SendErrorKind::Refused)));
        assert!(matches!(of(413, "", 1), Err(SendErrorKind::Refused)));
        assert!(matches!(whole(429, "circuit_breaking_exception"), Err(SendErrorKind::Busy { .. })));
        assert!(matches!(of(502, "", 1), Err(SendErrorKind::Broken)));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let read = |own: &str| {
            let text =
                format!("name = 'e'\ntype = 'elasticsearch'\nurl = 'https://elastic.example:9200'\n{own}");
            let read = SinkSettings::read(text.parse().unwrap());
            read.map(|_| ()).map_err(|errors| errors.iter().next().unwrap().setting.clone())
        };
        assert_eq!(read("index = 'logs-keyward.events-prod'\napi_key = 'env:K'"), Ok(()));
        for index in ["Keyward", "_all", "a b", "a,b", "a*", "a/b", ""] {
            assert_eq!(read(&format!("index = '{index}'")), Err("sinks.e.index".to_owned()), "{index}");
        }
        assert_eq!(
            read("api_key = 'env:K'\nauthorization = 'env:K'"),
            Err("sinks.e.authorization".to_owned())
        );
        assert_eq!(read("format = 'cef'"), Err("sinks.e.format".to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Two lines for each event, whatever is in it: an action and the whole document, with its time.
        #[test]
        fn whatever_is_in_events_the_lines_are_read_back(
            events in prop::collection::vec(samples::event(), 1..5),
            format in prop::sample::select(vec![Format::Json, Format::Ocsf, Format::Ecs]),
        ) {
            let mut body = Vec::new();
            events.iter().for_each(|event| put_action(event, format, &mut body));
            let body = String::from_utf8(body).unwrap();
            prop_assert!(body.ends_with('\n'));
            let lines: Vec<&str> = body.trim_end_matches('\n').split('\n').collect();
            prop_assert_eq!(lines.len(), 2 * events.len());
            for (pair, event) in lines.chunks(2).zip(&events) {
                let action: Value = serde_json::from_str(pair[0]).unwrap();
                prop_assert_eq!(action, json!({ "create": { "_id": event.id } }));
                let mut document: Value = serde_json::from_str(pair[1]).unwrap();
                prop_assert_eq!(&document["@timestamp"], &json!(format_millis(event.time)));
                if format != Format::Ecs {
                    document.as_object_mut().unwrap().remove("@timestamp");
                }
                let expected: Value = serde_json::from_str(&samples::rendered(format, event)).unwrap();
                prop_assert_eq!(document, expected);
            }
        }
    }
}
