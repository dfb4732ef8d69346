//! Elasticsearch and OpenSearch: the bulk API, `create` actions only.
//!
//! A data stream takes nothing but `create`, and with the event's id as the document's a second copy is a conflict, which
//! is as good as sent. So a batch may be sent again as often as need be.

use futures::future::BoxFuture;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use super::{Failure, KindSettings, Sent, Sink, webhook};
use crate::{
    domain::event::{Event, format_millis},
    forward::{Answer, Common, HttpClient, Secret, SinkContext, UrlSource, format::Format},
};

/// By the naming scheme of data streams, type-dataset-namespace; the dataset is the `event.dataset` of our ECS events.
/// Elasticsearch makes a data stream of it by itself, by its own template for `logs-*-*`.
const INDEX: &str = "logs-keyward.events-default";
/// All of an answer that is read. The rest is longer than what was sent.
const FILTER: &str =
    "items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by.reason,error";
/// Errors that come with status 400 and are about the index, not about what is in a document.
const ABOUT_THE_INDEX: [&str; 4] = [
    "index_closed_exception",
    "invalid_index_name_exception",
    "validation_exception",
    "action_request_validation_exception",
];

/// `type = "elasticsearch"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elasticsearch {
    url: UrlSource,
    index: Option<String>,
    /// The encoded form of an API key.
    api_key: Option<Secret>,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
}

impl KindSettings for Elasticsearch {
    fn check(&self, common: &Common) -> Result<(), (&'static str, String)> {
        webhook::json_only(common)?;
        if self.api_key.is_some() && self.authorization.is_some() {
            return Err(("authorization", "cannot be set together with api_key".to_owned()));
        }
        let Some(index) = &self.index else { return Ok(()) };
        let bad = |c: char| c.is_uppercase() || c.is_control() || "\\/*?\"<>| ,#:%".contains(c);
        if !(1..=255).contains(&index.len()) || index.starts_with(['-', '_', '+', '.']) || index.contains(bad)
        {
            let hint = "must be the name of an index, an alias or a data stream: lower case, without \\/*?\"<>|,#:% \
                        and blanks, and not beginning with -, _, + or .";
            return Err(("index", hint.to_owned()));
        }
        Ok(())
    }

    fn open(&self, common: &Common, _context: &SinkContext) -> Result<Box<dyn Sink>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?.with_parameter("filter_path", FILTER);
        let mut headers = webhook::headers(self.authorization.as_ref())?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(key) = &self.api_key {
            let key = key.read().map_err(|hint| ("api_key", hint))?;
            let mut value = HeaderValue::from_str(&format!("ApiKey {}", key.as_str()))
                .map_err(|_| ("api_key", "must be printable text in one line".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let path = format!("/{}/_bulk", self.index.as_deref().unwrap_or(INDEX));
        let format = common.format.unwrap_or(Format::Ecs);
        Ok(Box::new(Bulk { client, headers, path, format }))
    }

    fn batch(&self) -> usize {
        500
    }
}

struct Bulk {
    client: HttpClient,
    headers: HeaderMap,
    path: String,
    format: Format,
}

impl Sink for Bulk {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let mut body = Vec::new();
            events.iter().for_each(|event| action(event, self.format, &mut body));
            let answer = self.client.exchange(&self.path, self.headers.clone(), body).await?;
            results(answer, events.len())
        })
    }
}

/// Appends the two lines of an event.
fn action(event: &Event, format: Format, out: &mut Vec<u8>) {
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
struct Items {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Problem>,
}

/// What is wrong, with a document or with the whole request.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    reason: Option<String>,
    caused_by: Option<Cause>,
}

#[derive(Deserialize)]
struct Cause {
    reason: Option<String>,
}

impl Problem {
    fn is_about_the_index(&self) -> bool {
        ABOUT_THE_INDEX.contains(&self.kind.as_str())
    }
}

impl Outcome {
    /// In a line, for people.
    fn shown(&self) -> String {
        let Some(problem) = &self.error else { return format!("status {}", self.status) };
        let cause = problem.caused_by.as_ref().and_then(|cause| cause.reason.as_deref());
        let reasons: Vec<&str> = problem.reason.as_deref().into_iter().chain(cause).collect();
        let text = format!("status {}, {}: {}", self.status, problem.kind, reasons.join(": "));
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1_000).collect()
    }
}

/// What became of so many events.
fn results(answer: Answer, expected: usize) -> Result<Sent, Failure> {
    if !answer.is_success() {
        return Err(failed(answer));
    }
    if answer.is_too_long() {
        return Err(Failure::Refused(
            "its answer is too long to be read: smaller batches are tried".to_owned(),
        ));
    }
    let Some(Items { items }) = answer.object() else {
        let shown = answer.shown();
        return Err(Failure::Unreachable(format!(
            "{shown}: that is no result of a bulk request, or broke off"
        )));
    };
    if items.len() != expected {
        let why = format!("it answered for {} of {expected} events", items.len());
        return Err(Failure::Unreachable(why));
    }
    let (mut created, mut known, mut refused) = (0, 0, Vec::new());
    let mut again: Option<Failure> = None;
    for (n, Item { create: outcome }) in items.iter().enumerate() {
        let about_the_index = outcome.error.as_ref().is_some_and(Problem::is_about_the_index);
        match outcome.status {
            200..=299 => created += 1,
            409 => known += 1,
            401 | 403 | 404 => return Err(Failure::Denied(outcome.shown())),
            _ if about_the_index => return Err(Failure::Denied(outcome.shown())),
            429 | 503 => again = Some(Failure::Busy { why: outcome.shown(), after: answer.after }),
            400..=499 => refused.push((n, outcome.shown())),
            _ => again = again.or_else(|| Some(Failure::Broken(outcome.shown()))),
        }
    }
    match again {
        Some(failure) => Err(failure),
        None => Ok(Sent { answer: format!("{created} created, {known} were there already"), refused }),
    }
}

/// Why a whole request failed.
fn failed(answer: Answer) -> Failure {
    #[derive(Deserialize)]
    struct Whole {
        error: Problem,
    }
    let why = answer.shown();
    if answer.object::<Whole>().is_some_and(|whole| whole.error.is_about_the_index()) {
        return Failure::Denied(why);
    }
    match answer.judged() {
        Err(failure) => failure,
        Ok(_) => Failure::Unreachable(why),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::forward::sink::samples;

    fn of(status: u16, body: &str, expected: usize) -> Result<Sent, Failure> {
        results(Answer { status, after: None, body: body.as_bytes().to_vec(), whole: true }, expected)
    }

    fn item(status: u16, kind: &str) -> Value {
        if kind.is_empty() {
            return json!({ "create": { "status": status } });
        }
        json!({ "create": { "status": status, "error": { "type": kind, "reason": "so\nit is" } } })
    }

    fn items(items: &[Value]) -> Result<Sent, Failure> {
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
            assert!(matches!(again, Err(Failure::Busy { .. })), "{status}");
        }
        let broken = items(&[fine.clone(), item(500, "illegal_state_exception")]);
        assert!(matches!(broken, Err(Failure::Broken(_))));
        for (status, kind) in [
            (403, "cluster_block_exception"),
            (403, "security_exception"),
            (404, "index_not_found_exception"),
            (400, "index_closed_exception"),
            (400, "validation_exception"),
        ] {
            let denied = items(&[fine.clone(), bad.clone(), item(status, kind)]);
            assert!(matches!(denied, Err(Failure::Denied(_))), "{kind}");
        }
    }

    #[test]
    fn an_answer_that_does_not_tell_of_each_event_tells_nothing() {
        let one = json!({ "items": [item(201, "")] }).to_string();
        assert!(matches!(of(200, &one, 2), Err(Failure::Unreachable(_))));
        for text in ["", "{}", "<html>", r#"{"items":[{"index":{"status":201}}]}"#, &one[..one.len() - 3]] {
            assert!(matches!(of(200, text, 1), Err(Failure::Unreachable(_))), "{text}");
        }
        let cut = Answer { status: 200, after: None, body: one.into_bytes(), whole: false };
        assert!(matches!(results(cut, 1), Err(Failure::Unreachable(_))));
        let long = Answer { status: 200, after: None, body: vec![b' '; 1024 * 1024], whole: false };
        assert!(matches!(results(long, 1), Err(Failure::Refused(_))), "smaller batches have shorter answers");
    }

    #[test]
    fn a_request_that_fails_as_a_whole_is_as_its_status_says() {
        let whole = |status: u16, kind: &str| {
            of(status, &json!({ "error": { "type": kind, "reason": "x" }, "status": status }).to_string(), 1)
        };
        assert!(matches!(whole(401, "security_exception"), Err(Failure::Denied(_))));
        assert!(matches!(whole(404, "index_not_found_exception"), Err(Failure::Denied(_))));
        assert!(matches!(whole(400, "invalid_index_name_exception"), Err(Failure::Denied(_))));
        assert!(matches!(whole(400, "illegal_argument_exception"), Err(Failure::Refused(_))));
        assert!(matches!(of(413, "", 1), Err(Failure::Refused(_))));
        assert!(matches!(whole(429, "circuit_breaking_exception"), Err(Failure::Busy { .. })));
        assert!(matches!(of(502, "", 1), Err(Failure::Broken(_))));
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let read = |own: &str| {
            let text =
                format!("name = 'e'\ntype = 'elasticsearch'\nurl = 'https://elastic.example:9200'\n{own}");
            crate::forward::SinkSettings::read(text.parse().unwrap()).map(|_| ()).map_err(|e| e.setting)
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
            events.iter().for_each(|event| action(event, format, &mut body));
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
