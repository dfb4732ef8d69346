//! OpenTelemetry logs: OTLP over HTTP, in JSON.
//!
//! The JSON encoding is part of the protocol and needs nothing but JSON; receivers take both encodings on one port, by
//! the content type. Numbers of 64 bits are strings in it, enumerations are numbers, names are in lower camel case.

use futures::future::BoxFuture;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{event::Event, finding::Severity},
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

const LOGS: &str = "/v1/logs";
/// Headers that the setting `headers` cannot set.
const RESERVED: [HeaderName; 3] = [CONTENT_TYPE, CONTENT_LENGTH, HOST];

/// The own settings of a sink with `type = "otlp"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Otlp {
    url: UrlSource,
    /// Lines such as `authorization: Bearer …`.
    headers: Option<Secret>,
}

impl KindSettings for Otlp {
    fn check(&self, _common: &CommonSettings, _errors: &mut SettingErrors) {}

    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        let client = HttpClient::new(&self.url.read("url")?, &common.outbound)?;
        let mut headers = http::json_headers(None)?;
        if let Some(secret) = &self.headers {
            headers.extend(header_lines(&secret.read("headers")?)?);
        }
        let format = common.format.unwrap_or(Format::Json);
        let instance = context.instance.clone();
        Ok(Box::new(OtlpSink { client, headers, format, instance, warning: String::new() }))
    }
}

/// Headers as they are written, one a line. An error says nothing of what is in them.
fn header_lines(text: &str) -> Result<HeaderMap, SettingError> {
    let mut headers = HeaderMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || {
            let hint = format!("must hold lines such as `authorization: Bearer …`; line {} is none", n + 1);
            SettingError::new("headers", hint)
        };
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        if RESERVED.contains(&name) {
            return Err(SettingError::new("headers", format!("must not set {name}")));
        }
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

struct OtlpSink {
    client: HttpClient,
    headers: HeaderMap,
    format: Format,
    instance: String,
    /// The last warning of the receiver.
    warning: String,
}

impl Sink for OtlpSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let body = request(events, self.format, &self.instance).to_string().into_bytes();
            let response = self.client.post(LOGS, self.headers.clone(), body).await?;
            let response = accepted(response)?;
            let answer = response.summary();
            let partial = partial_success(&response)?;
            if partial.rejected == 0 {
                self.warn(partial.message);
                return Ok(SendReport::all_taken(answer));
            }
            Ok(SendReport { refused: partial.refused(events.len()), answer })
        })
    }
}

impl OtlpSink {
    /// Logs a warning of the receiver, once.
    fn warn(&mut self, message: String) {
        if message != self.warning && !message.is_empty() {
            tracing::warn!(message, "the OTLP receiver took the events and warns");
        }
        self.warning = message;
    }
}

/// An `ExportLogsServiceRequest` with a record for each event.
fn request(events: &[Event], format: Format, instance: &str) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        attribute("service.name", text("keyward")),
        attribute("service.version", text(version)),
        attribute("service.instance.id", text(instance)),
    ];
    let records: Vec<Value> = events.iter().map(|event| record(event, format)).collect();
    json!({
        "resourceLogs": [{
            "resource": { "attributes": resource },
            "scopeLogs": [{ "scope": { "name": "keyward", "version": version }, "logRecords": records }],
        }],
    })
}

/// A `LogRecord`. An event is observed where it comes to be, so both of its times are the same.
fn record(event: &Event, format: Format) -> Value {
    let nanos = (i128::from(event.time.max(0)) * 1_000_000).to_string();
    let mut line = Vec::new();
    format.render(event, &mut line);
    json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": severity_number(event.severity),
        "severityText": event.severity.name(),
        "eventName": format!("keyward.{}", event.kind.name().to_lowercase()),
        "body": text(&String::from_utf8_lossy(&line)),
        "attributes": attributes(event),
    })
}

/// INFO, WARN, ERROR and FATAL: the first number of each range.
fn severity_number(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 9,
        Severity::Medium => 13,
        Severity::High => 17,
        Severity::Critical => 21,
    }
}

/// By the semantic conventions where they have a name, else under `keyward`.
fn attributes(event: &Event) -> Vec<Value> {
    let place = event.place.as_ref();
    let some = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(text);
    let number = |value: Option<f64>| value.filter(|v| v.is_finite()).map(|v| json!({ "doubleValue": v }));
    let named = [
        ("log.record.uid", some(Some(&event.id))),
        ("client.address", some(event.source_ip.as_deref())),
        ("geo.country.iso_code", some(place.and_then(|place| place.country.as_deref()))),
        ("geo.locality.name", some(place.and_then(|place| place.city.as_deref()))),
        ("geo.location.lat", number(place.and_then(|place| place.latitude))),
        ("geo.location.lon", number(place.and_then(|place| place.longitude))),
        ("keyward.type", some(Some(event.kind.name()))),
        ("keyward.subject", some(event.subject.as_ref().map(|subject| subject.as_str()))),
        ("keyward.key_id", some(event.key_id.as_deref())),
        ("keyward.detector", some(event.detector.as_deref())),
        ("keyward.action", some(event.action.as_deref())),
        ("keyward.would.action", event.would.map(|would| text(would.action.name()))),
        ("keyward.would.reason", event.would.and_then(|would| Some(text(would.reason?.name())))),
        ("keyward.request_id", some(event.request_id.as_deref())),
        ("keyward.policy_version", some(event.policy_version.as_deref())),
        ("keyward.count", Some(json!({ "intValue": event.count.to_string() }))),
    ];
    named.into_iter().filter_map(|(name, value)| Some(attribute(name, value?))).collect()
}

fn attribute(name: &str, value: Value) -> Value {
    json!({ "key": name, "value": value })
}

fn text(value: &str) -> Value {
    json!({ "stringValue": value })
}

/// The answer, if its status says that the request was taken. What may be sent again is by the protocol's list. Where
/// the protocol has an exporter give events up (other statuses in the 400s and 500s), ours stay in the log until
/// somebody has corrected the settings.
fn accepted(response: HttpResponse) -> Result<HttpResponse, SendError> {
    match response.status {
        502 | 504 => {
            let busy = SendErrorKind::Busy { retry_after: response.retry_after };
            Err(http::answered(busy, &response))
        }
        _ => http::accepted(response),
    }
}

/// What was rejected of a request that was taken.
#[derive(Debug, PartialEq)]
struct PartialSuccess {
    rejected: u64,
    message: String,
}

/// Reads an `ExportLogsServiceResponse`: what was rejected, which is mostly nothing.
fn partial_success(response: &HttpResponse) -> Result<PartialSuccess, SendError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ExportResponse {
        #[serde(default)]
        partial_success: Option<Rejected>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Rejected {
        #[serde(default)]
        rejected_log_records: Value,
        #[serde(default)]
        error_message: String,
    }
    let none = || PartialSuccess { rejected: 0, message: String::new() };
    if response.complete && response.body.is_empty() {
        return Ok(none());
    }
    let Some(export) = response.object::<ExportResponse>() else {
        return Err(http::answered(SendErrorKind::Unreachable, response)
            .detail("that is no OTLP receiver, or its answer broke off"));
    };
    let Some(partial) = export.partial_success else { return Ok(none()) };
    let number = &partial.rejected_log_records;
    let rejected = number.as_u64().or_else(|| number.as_str()?.parse().ok()).unwrap_or_default();
    Ok(PartialSuccess { rejected, message: partial.error_message })
}

impl PartialSuccess {
    /// Every event of the request. The answer gives a number, not which; the protocol forbids to send the request
    /// again, and nothing may be lost. So all of it is refused, and a person may have them sent again, each alone.
    fn refused(&self, sent: usize) -> Vec<(usize, String)> {
        let why = if self.rejected >= sent as u64 {
            format!("rejected: {}", self.message)
        } else {
            let (rejected, message) = (self.rejected, &self.message);
            format!("the receiver rejected {rejected} of {sent} and does not say which: {message}")
        };
        (0..sent).map(|n| (n, why.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::forward::sink::samples;

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse { status, retry_after: None, body: body.as_bytes().to_vec(), complete: true }
    }

    fn failure(status: u16) -> SendErrorKind {
        accepted(response(status, "")).unwrap_err().kind
    }

    #[test]
    fn only_what_the_protocol_lets_be_sent_again_is_busy() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(failure(status), SendErrorKind::Busy { .. }), "{status}");
        }
        for status in [400, 413] {
            assert!(matches!(failure(status), SendErrorKind::Refused), "{status}");
        }
        for status in [301, 401, 403, 404] {
            assert!(matches!(failure(status), SendErrorKind::Denied), "{status}");
        }
        assert!(matches!(failure(500), SendErrorKind::Broken));
    }

    #[test]
    fn a_partial_success_refuses_all_that_may_be_meant() {
        let of = |body: &str| partial_success(&response(200, body)).unwrap();
        for full in ["", "{}", r#"{"partialSuccess":{}}"#, r#"{"partialSuccess":null}"#] {
            assert_eq!(of(full), PartialSuccess { rejected: 0, message: String::new() }, "{full}");
        }
        let warning = of(r#"{"partialSuccess":{"errorMessage":"soon full"}}"#);
        assert_eq!(warning, PartialSuccess { rejected: 0, message: "soon full".to_owned() });
        for number in ["2", "\"2\""] {
            let body =
                format!(r#"{{"partialSuccess":{{"rejectedLogRecords":{number},"errorMessage":"too old"}}}}"#);
            let refused = of(&body).refused(3);
            assert_eq!(refused.len(), 3);
            assert!(refused[0].1.contains("2 of 3") && refused[0].1.contains("too old"));
            assert_eq!(of(&body).refused(2)[0].1, "rejected: too old");
        }
        for garbage in ["<html>", "ok", "[]", r#"{"partialSuccess":"#] {
            let error = partial_success(&response(200, garbage)).unwrap_err();
            assert_eq!(error.kind, SendErrorKind::Unreachable, "{garbage}");
        }
    }

    #[test]
    fn headers_are_lines_and_a_bad_one_is_not_repeated() {
        let headers = header_lines("Authorization: Bearer a:b=c\n\nX-Scope-OrgID: 7\n").unwrap();
        assert_eq!(headers["authorization"], "Bearer a:b=c");
        assert_eq!(headers["x-scope-orgid"], "7");
        for bad in ["hunter2", "a b: hunter2", "x: hun\u{7}ter2", "content-type: hunter2"] {
            let error = header_lines(bad).unwrap_err().to_string();
            assert!(!error.contains("hun"), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_in_events_a_receiver_reads_it_back(
            events in prop::collection::vec(samples::event(), 1..5),
            format in prop::sample::select(Format::ALL.to_vec()),
        ) {
            let body = request(&events, format, "node-1").to_string();
            let read: Value = serde_json::from_str(&body).unwrap();
            let records = read["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
            prop_assert_eq!(records.len(), events.len());
            for (record, event) in records.iter().zip(&events) {
                prop_assert_eq!(&record["body"]["stringValue"], &json!(samples::rendered(format, event)));
                let nanos: u64 = record["timeUnixNano"].as_str().unwrap().parse().unwrap();
                prop_assert_eq!(nanos, event.time as u64 * 1_000_000);
                let found = |name: &str| {
                    let attributes = record["attributes"].as_array().unwrap();
                    let found: Vec<&Value> = attributes.iter().filter(|a| a["key"] == name).collect();
                    assert!(found.len() <= 1, "attribute keys are unique");
                    found.first().map(|attribute| attribute["value"]["stringValue"].clone())
                };
                prop_assert_eq!(found("log.record.uid"), Some(json!(event.id)));
                let key = event.key_id.clone().filter(|key| !key.is_empty());
                prop_assert_eq!(found("keyward.key_id"), key.map(|key| json!(key)));
            }
        }
    }
}
