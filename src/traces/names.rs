//! Which attribute of a span is which field of a record: `[traces]` of the settings.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::span::{Attribute, Span};
use crate::domain::{address, event::format_millis};

/// Nanoseconds of a millisecond.
const MILLI: u64 = 1_000_000;

/// For each field of a record the attributes that may be it; the first that a span has counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "documented where the defaults are, in config/default.toml")]
pub struct Names {
    pub key_id: Vec<String>,
    pub request_id: Vec<String>,
    pub project_id: Vec<String>,
    pub reservation_id: Vec<String>,
    pub endpoint: Vec<String>,
    pub model: Vec<String>,
    pub prompt_tokens: Vec<String>,
    pub completion_tokens: Vec<String>,
    pub cached_tokens: Vec<String>,
    pub source_ip: Vec<String>,
    pub user_agent: Vec<String>,
    pub response_status: Vec<String>,
}

impl Names {
    /// The record that a span is, as `POST /v1/record` takes it; `None`: it is no usage of a key.
    ///
    /// # Errors
    /// Why a span of a key cannot be a record.
    pub fn record(&self, span: &Span) -> Option<Result<Value, &'static str>> {
        let key = span.first(&self.key_id).filter(|_| span.is_usage())?.text();
        let text =
            |names: &[String], most: usize| span.first(names).map(|attribute| cut(attribute.text(), most));
        let Some(Ok(source)) = text(&self.source_ip, 128).map(|ip| address::parse(address::bare(&ip))) else {
            return Some(Err("a span with a key has no address of a client"));
        };
        let status = span.first(&self.response_status).and_then(Attribute::whole);
        let mut record = Map::new();
        let id = text(&self.request_id, 128).unwrap_or_else(|| span.id.clone());
        let fields = [
            ("key_id", Some(json!(key))),
            ("request_id", Some(json!(id)).filter(|_| !id.is_empty())),
            ("project_id", text(&self.project_id, 128).map(Value::from)),
            ("reservation_id", text(&self.reservation_id, 128).map(Value::from)),
            ("endpoint", Some(text(&self.endpoint, 2048).unwrap_or_else(|| "/".to_owned()).into())),
            ("model", text(&self.model, 128).map(Value::from)),
            ("prompt_tokens", span.first(&self.prompt_tokens).and_then(Attribute::whole).map(Value::from)),
            (
                "completion_tokens",
                span.first(&self.completion_tokens).and_then(Attribute::whole).map(Value::from),
            ),
            ("cached_tokens", span.first(&self.cached_tokens).and_then(Attribute::whole).map(Value::from)),
            ("source_ip", Some(source.to_string().into())),
            ("user_agent", text(&self.user_agent, 1024).map(Value::from)),
            ("response_status", Some(status.unwrap_or(if span.failed { 500 } else { 200 }).into())),
            ("latency_ms", Some((span.end.saturating_sub(span.start) as f64 / MILLI as f64).into())),
            ("timestamp", time(span).map(Value::from)),
        ];
        record.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        Some(Ok(Value::Object(record)))
    }
}

/// When a span ended, if it says so.
fn time(span: &Span) -> Option<String> {
    let end = if span.end > 0 { span.end } else { span.start };
    i64::try_from(end / MILLI).ok().filter(|end| *end > 0).map(format_millis)
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, DEFAULT_TOML},
        intake::{WireRecord, parse},
    };

    fn names() -> Names {
        toml::from_str::<Config>(DEFAULT_TOML).unwrap().traces
    }

    fn span(kind: u64, attributes: &[(&str, &str)]) -> Span {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), Attribute::Text((*value).to_owned()));
        let attributes = attributes.iter().map(text).collect();
        let start = 1_772_442_801_283_000_000;
        Span { id: "ab".to_owned(), kind, start, end: start + 840 * MILLI, failed: false, attributes }
    }

    #[test]
    fn a_request_that_a_server_served_is_a_record() {
        let span = span(
            2,
            &[
                ("enduser.id", "team-a"),
                ("url.path", "/v1/chat"),
                ("client.address", "203.0.113.7"),
                ("user_agent.original", "curl/8"),
                ("http.response.status_code", "404"),
            ],
        );
        let record = names().record(&span).unwrap().unwrap();
        parse::<WireRecord>(record.to_string().as_bytes()).unwrap();
        assert_eq!(
            record,
            json!({
                "key_id": "team-a", "request_id": "ab", "endpoint": "/v1/chat", "source_ip": "203.0.113.7",
                "user_agent": "curl/8", "response_status": 404, "latency_ms": 840.0,
                "timestamp": "2026-03-02T09:13:22.123Z",
            })
        );
    }

    #[test]
    fn a_call_of_a_model_has_its_tokens_and_the_key_that_keyward_named() {
        let mut span = span(
            3,
            &[
                ("enduser.id", "somebody"),
                ("keyward.key_id", "team-a"),
                ("keyward.request_id", "r-1"),
                ("gen_ai.request.model", "gpt-4.1"),
                ("client.address", "[2001:db8::7]:443"),
            ],
        );
        span.attributes.push(("gen_ai.usage.input_tokens".to_owned(), Attribute::Whole(812)));
        span.attributes.push(("gen_ai.usage.output_tokens".to_owned(), Attribute::Number(120.0)));
        span.failed = true;
        let record = names().record(&span).unwrap().unwrap();
        parse::<WireRecord>(record.to_string().as_bytes()).unwrap();
        for (field, value) in [
            ("key_id", json!("team-a")),
            ("request_id", json!("r-1")),
            ("model", json!("gpt-4.1")),
            ("prompt_tokens", json!(812)),
            ("completion_tokens", json!(120)),
            ("response_status", json!(500)),
            ("source_ip", json!("2001:db8::7")),
            ("endpoint", json!("/")),
        ] {
            assert_eq!(record[field], value, "{field}");
        }
    }

    #[test]
    fn a_span_of_no_key_or_of_no_request_is_passed_over_and_one_without_an_address_is_rejected() {
        let names = names();
        assert_eq!(names.record(&span(2, &[("url.path", "/a"), ("client.address", "203.0.113.7")])), None);
        let query =
            [("enduser.id", "team-a"), ("db.system", "postgresql"), ("client.address", "203.0.113.7")];
        assert_eq!(names.record(&span(3, &query)), None, "a query of a database");
        for address in [&[][..], &[("client.address", "a.example")]] {
            let attributes = [&[("enduser.id", "team-a")][..], address].concat();
            assert!(names.record(&span(2, &attributes)).unwrap().is_err(), "{address:?}");
        }
    }
}
