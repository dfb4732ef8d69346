//! Which attribute of a span is which field of a record: `[traces]` of the settings.

use serde::{Deserialize, Serialize};

use super::span::{Attribute, Span};
use crate::{
    domain::{address, event::format_millis},
    intake::WireRecord,
};

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
    /// The record that a span is; `None`: it is no usage of a key.
    ///
    /// # Errors
    /// Why a span of a key cannot be a record.
    pub fn record(&self, span: &Span) -> Option<Result<WireRecord, &'static str>> {
        let key = span.first(&self.key_id).filter(|_| span.is_usage())?.text();
        let text =
            |names: &[String], most: usize| span.first(names).map(|attribute| cut(attribute.text(), most));
        let number = |names: &[String]| span.first(names).and_then(Attribute::whole);
        let Some(Ok(source)) = text(&self.source_ip, 128).map(|ip| address::parse(address::bare(&ip))) else {
            return Some(Err("a span with a key has no address of a client"));
        };
        let status = number(&self.response_status).unwrap_or(if span.failed { 500 } else { 200 });
        let Ok(status) = u16::try_from(status) else {
            return Some(Err("a span with a key has a status that is none of HTTP"));
        };
        let endpoint = text(&self.endpoint, 2048).unwrap_or_else(|| "/".to_owned());
        let id = text(&self.request_id, 128).unwrap_or_else(|| span.id.clone());
        let mut record = WireRecord::new(endpoint, source.to_string());
        record.key_id = Some(key);
        record.request_id = Some(id).filter(|id| !id.is_empty());
        record.project_id = text(&self.project_id, 128);
        record.reservation_id = text(&self.reservation_id, 128);
        record.model = text(&self.model, 128);
        record.prompt_tokens = number(&self.prompt_tokens);
        record.completion_tokens = number(&self.completion_tokens);
        record.cached_tokens = number(&self.cached_tokens);
        record.user_agent = text(&self.user_agent, 1024);
        record.response_status = Some(status);
        record.latency_ms = Some(span.end.saturating_sub(span.start) as f64 / MILLI as f64);
        record.timestamp = time(span);
        Some(Ok(record))
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
    use serde_json::{Value, json};

    use super::*;
    use crate::config::{Config, DEFAULT_TOML};

    fn names() -> Names {
        toml::from_str::<Config>(DEFAULT_TOML).unwrap().traces
    }

    fn span(kind: u64, attributes: &[(&str, &str)]) -> Span {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), Attribute::Text((*value).to_owned()));
        let attributes = attributes.iter().map(text).collect();
        let start = 1_772_442_801_283_000_000;
        Span { id: "ab".to_owned(), kind, start, end: start + 840 * MILLI, attributes, ..Span::default() }
    }

    fn record(span: &Span) -> Value {
        serde_json::to_value(names().record(span).unwrap().unwrap()).unwrap()
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
        assert_eq!(
            record(&span),
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
        let record = record(&span);
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
        let nobodys = span(2, &[("url.path", "/a"), ("client.address", "203.0.113.7")]);
        assert!(names.record(&nobodys).is_none());
        let query =
            [("enduser.id", "team-a"), ("db.system", "postgresql"), ("client.address", "203.0.113.7")];
        assert!(names.record(&span(3, &query)).is_none(), "a query of a database");
        for address in [&[][..], &[("client.address", "a.example")]] {
            let attributes = [&[("enduser.id", "team-a")][..], address].concat();
            assert!(names.record(&span(2, &attributes)).unwrap().is_err(), "{address:?}");
        }
        let of_status = |status: &str| {
            let attributes =
                [("enduser.id", "a"), ("client.address", "203.0.113.7"), ("http.status_code", status)];
            names.record(&span(2, &attributes)).unwrap().is_ok()
        };
        assert!(of_status("404") && !of_status("70000"));
    }
}
