//! Maps: which field of a record is where in a logged request, read strictly from TOML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map as Object, Value};

use super::value;

/// The maps that are built in, by name.
pub const NAMED: [(&str, &str); 6] = [
    ("cloudtrail", include_str!("../../config/maps/cloudtrail.toml")),
    ("litellm", include_str!("../../config/maps/litellm.toml")),
    ("nginx", include_str!("../../config/maps/nginx.toml")),
    ("caddy", include_str!("../../config/maps/caddy.toml")),
    ("envoy", include_str!("../../config/maps/envoy.toml")),
    ("combined", include_str!("../../config/maps/combined.toml")),
];

/// The fields of a record that a map may fill.
const FIELDS: [&str; 26] = [
    "request_id",
    "api_key",
    "key_id",
    "project_id",
    "endpoint",
    "user",
    "model",
    "tokens_used",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "images",
    "seconds",
    "characters",
    "cost_usd",
    "latency_ms",
    "source_ip",
    "user_agent",
    "response_status",
    "timestamp",
    "service_tier",
];

/// Why a map cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is not TOML of the form of a map.
    #[error("is no map: {0}")]
    Form(String),
    /// It fills what is no field.
    #[error("fields.{name} is no field of {what}; there are {known}")]
    UnknownField {
        /// The name in the map.
        name: String,
        /// Of what it is none.
        what: &'static str,
        /// The fields that there are.
        known: String,
    },
    /// What it names as a place is none.
    #[error("fields.{name}: {pointer:?} is no JSON pointer: it begins with a /")]
    Pointer {
        /// The name of the field.
        name: String,
        /// What stands where a pointer belongs.
        pointer: String,
    },
    /// No request could become a record.
    #[error("fills no {0}: each record needs one")]
    Lacks(&'static str),
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Format {
    /// As JSON: a value per line, or documents of many.
    #[default]
    Json,
    /// The combined format of Apache and nginx.
    Combined,
}

/// Which field of a record is where in a logged request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Map {
    #[serde(default)]
    pub(super) format: Format,
    /// Where in a document its requests are, if it has many.
    #[serde(default)]
    pub(super) records: Option<String>,
    fields: BTreeMap<String, Source>,
}

/// One place, or several of which the first is taken that has something.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Places {
    One(String),
    Several(Vec<String>),
}

impl Places {
    fn all(&self) -> &[String] {
        match self {
            Self::One(pointer) => std::slice::from_ref(pointer),
            Self::Several(pointers) => pointers,
        }
    }
}

/// Where a field is, and what it becomes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Source {
    /// What is at a place, as it is.
    At(Places),
    /// A place, and more about it.
    Detailed(Box<Detail>),
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Detail {
    /// Where the value is logged.
    at: Option<Places>,
    /// Places that become a path together.
    join: Vec<String>,
    /// The value, whatever is logged.
    #[serde(rename = "const")]
    constant: Option<Value>,
    /// What a number is multiplied by.
    scale: Option<f64>,
    /// What certain values become.
    values: BTreeMap<String, Value>,
    /// What any other value becomes where `values` has some.
    other: Option<Value>,
    /// The value where nothing is logged.
    missing: Option<Value>,
}

impl Map {
    /// Reads a map.
    ///
    /// # Errors
    /// [`MapError`] names what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, MapError> {
        let map: Self = toml::from_str(text).map_err(|error| MapError::Form(error.message().to_owned()))?;
        check(&map.fields, &FIELDS, "a record")?;
        let fills = |name: &str| map.fields.contains_key(name);
        if !fills("key_id") && !fills("api_key") {
            return Err(MapError::Lacks("key_id or api_key"));
        }
        for name in ["endpoint", "source_ip", "timestamp"] {
            if !fills(name) {
                return Err(MapError::Lacks(name));
            }
        }
        Ok(map)
    }

    /// The map that is built in by a name.
    pub fn named(name: &str) -> Option<Result<Self, MapError>> {
        NAMED.iter().find(|(known, _)| *known == name).map(|(_, text)| Self::parse(text))
    }

    /// The record of a logged request, `None` where a key, an address or a time is missing.
    pub fn record(&self, logged: &Value) -> Option<Value> {
        let mut record = Object::new();
        for (name, source) in &self.fields {
            if let Some(value) = source.of(logged).and_then(|value| value::of_field(name, &value)) {
                record.insert(name.clone(), value);
            }
        }
        // One that names its key publicly needs no secret.
        if record.contains_key("key_id") {
            record.remove("api_key");
        }
        let has = |name: &str| record.contains_key(name);
        let is_whole =
            (has("key_id") || has("api_key")) && has("source_ip") && has("timestamp") && has("endpoint");
        is_whole.then_some(Value::Object(record))
    }
}

/// Whether all fields of a map are ones that `what` has, at places that can be.
pub(super) fn check(
    fields: &BTreeMap<String, Source>,
    known: &[&str],
    what: &'static str,
) -> Result<(), MapError> {
    for (name, source) in fields {
        if !known.contains(&name.as_str()) {
            return Err(MapError::UnknownField { name: name.clone(), what, known: known.join(", ") });
        }
        let wrong = source.pointers().find(|pointer| !pointer.starts_with('/'));
        if let Some(pointer) = wrong {
            return Err(MapError::Pointer { name: name.clone(), pointer: pointer.clone() });
        }
    }
    Ok(())
}

impl Source {
    fn pointers(&self) -> impl Iterator<Item = &String> {
        let (at, join): (&[String], &[String]) = match self {
            Self::At(places) => (places.all(), &[]),
            Self::Detailed(detail) => (detail.at.as_ref().map_or(&[][..], Places::all), &detail.join),
        };
        at.iter().chain(join)
    }

    /// What a logged value has there.
    pub(super) fn of(&self, logged: &Value) -> Option<Value> {
        match self {
            Self::At(places) => first(places, logged).cloned(),
            Self::Detailed(detail) => detail.of(logged),
        }
    }
}

impl Detail {
    fn of(&self, logged: &Value) -> Option<Value> {
        if let Some(constant) = &self.constant {
            return Some(constant.clone());
        }
        if !self.join.is_empty() {
            let parts = self.join.iter().filter_map(|pointer| value::text(logged.pointer(pointer)?));
            return Some(format!("/{}", parts.collect::<Vec<_>>().join("/")).into());
        }
        let Some(found) = self.at.as_ref().and_then(|places| first(places, logged)) else {
            return self.missing.clone();
        };
        if !self.values.is_empty() {
            let named = value::text(found).and_then(|text| self.values.get(&text).cloned());
            return named.or_else(|| self.other.clone());
        }
        match self.scale {
            Some(scale) => Some((value::number(found)? * scale).into()),
            None => Some(found.clone()),
        }
    }
}

/// The first place that has something: not nothing, no empty text, and not the dash that logs have for nothing.
fn first<'v>(places: &Places, logged: &'v Value) -> Option<&'v Value> {
    let is_something =
        |value: &&Value| !matches!(value, Value::Null) && !matches!(value.as_str(), Some("" | "-"));
    places.all().iter().filter_map(|pointer| logged.pointer(pointer)).find(is_something)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::intake::{WireRecord, parse};

    fn record(name: &str, logged: Value) -> Value {
        let record = Map::named(name).unwrap().unwrap().record(&logged).unwrap();
        parse::<WireRecord>(record.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("{record}: {error}"));
        record
    }

    #[test]
    fn every_map_that_is_built_in_can_be_read() {
        for (name, _) in NAMED {
            Map::named(name).unwrap().unwrap_or_else(|error| panic!("{name} {error}"));
        }
        assert!(Map::named("none").is_none());
    }

    #[test]
    fn a_request_to_aws_counts_under_its_access_key_and_its_error_is_a_status() {
        let logged = json!({
            "eventID": "e-1", "eventTime": "2026-03-02T09:13:22Z", "eventSource": "s3.amazonaws.com",
            "eventName": "GetObject", "sourceIPAddress": "203.0.113.7", "userAgent": "[aws-cli/2.1]",
            "recipientAccountId": "111122223333", "errorCode": "AccessDenied",
            "userIdentity": { "accessKeyId": "AKIAIOSFODNN7EXAMPLE", "accountId": "111122223333" },
        });
        assert_eq!(
            record("cloudtrail", logged.clone()),
            json!({
                "request_id": "e-1", "key_id": "AKIAIOSFODNN7EXAMPLE", "project_id": "111122223333",
                "endpoint": "/s3.amazonaws.com/GetObject", "source_ip": "203.0.113.7", "user_agent": "[aws-cli/2.1]",
                "timestamp": "2026-03-02T09:13:22.000Z", "response_status": 403,
            })
        );
        let map = Map::named("cloudtrail").unwrap().unwrap();
        for (pointer, other) in [("userIdentity", json!({})), ("sourceIPAddress", json!("s3.amazonaws.com"))]
        {
            let mut service = logged.clone();
            service[pointer] = other;
            assert_eq!(map.record(&service), None, "{pointer}: made by a service of AWS");
        }
        let mut other = logged;
        other["errorCode"] = "SomethingNew".into();
        assert_eq!(record("cloudtrail", other.clone())["response_status"], 400);
        other.as_object_mut().unwrap().remove("errorCode");
        assert_eq!(record("cloudtrail", other)["response_status"], 200);
    }

    #[test]
    fn a_request_of_litellm_has_its_tokens_its_cost_and_its_time_in_either_form() {
        let payload = json!({
            "id": "chatcmpl-1", "call_type": "acompletion", "model": "gpt-4.1", "prompt_tokens": 812,
            "completion_tokens": 120, "total_tokens": 932, "response_cost": 0.0025, "startTime": 1_772_442_802.123,
            "response_time": 0.84, "status": "failure",
            "metadata": { "user_api_key_hash": "88dc28d0", "requester_ip_address": "203.0.113.7,10.0.0.1" },
        });
        let made = record("litellm", payload);
        assert_eq!(made["source_ip"], "203.0.113.7");
        assert_eq!(
            (&made["timestamp"], &made["latency_ms"]),
            (&json!("2026-03-02T09:13:22.123Z"), &json!(840.0))
        );
        assert_eq!((&made["tokens_used"], &made["response_status"]), (&json!(932), &json!(500)));
        let row = json!({
            "request_id": "r", "api_key": "88dc28d0", "startTime": "2026-03-02 09:13:22.123+00:00", "spend": "0.1",
        });
        let made = record("litellm", row);
        assert_eq!(
            (&made["source_ip"], &made["timestamp"]),
            (&json!("0.0.0.0"), &json!("2026-03-02T09:13:22.123Z"))
        );
        assert_eq!((&made["endpoint"], &made["cost_usd"]), (&json!("/chat/completions"), &json!(0.1)));
    }

    #[test]
    fn logs_of_proxies_become_records_with_numbers_that_were_text_and_addresses_without_ports() {
        let made = record(
            "nginx",
            json!({
                "time_iso8601": "2026-03-02T09:13:22+00:00", "remote_addr": "203.0.113.7", "request_uri": "/a?b=c",
                "realip_remote_addr": "192.0.2.1", "status": "404", "request_time": "0.012",
                "keyward_key_id": "team-a", "http_user_agent": "-",
            }),
        );
        assert_eq!((&made["response_status"], &made["latency_ms"]), (&json!(404), &json!(12.0)));
        assert_eq!((&made["endpoint"], made.get("user_agent")), (&json!("/a?b=c"), None));
        assert_eq!(made["source_ip"], "203.0.113.7", "the client's, and not the balancer's");
        let made = record(
            "envoy",
            json!({
                "start_time": "2026-03-02T09:13:22.123Z", "path": "/a", "response_code": 200, "duration": 7,
                "downstream_remote_address": "[2001:db8::7]:443", "x_keyward_key_id": "team-a",
            }),
        );
        assert_eq!((&made["source_ip"], &made["latency_ms"]), (&json!("2001:db8::7"), &json!(7)));
        let made = record(
            "caddy",
            json!({
                "ts": 1_772_442_802.5, "duration": 0.5, "status": 200,
                "request": { "remote_ip": "203.0.113.7", "uri": "/a", "headers": { "X-Api-Key": ["sk-1"] } },
            }),
        );
        assert_eq!(
            (&made["api_key"], &made["timestamp"]),
            (&json!("sk-1"), &json!("2026-03-02T09:13:22.500Z"))
        );
    }

    #[test]
    fn a_log_of_nginx_may_have_the_time_and_the_request_as_its_own_default_has_them() {
        let made = record(
            "nginx",
            json!({
                "time_local": "02/Mar/2026:10:13:22 +0100", "remote_addr": "203.0.113.7", "remote_user": "team-a",
                "request": "POST /v1/chat?a=b HTTP/1.1", "status": "200", "request_time": "-1",
            }),
        );
        assert_eq!(made["timestamp"], "2026-03-02T09:13:22.000Z");
        assert_eq!((&made["endpoint"], made.get("latency_ms")), (&json!("/v1/chat?a=b"), None));
    }

    #[test]
    fn a_map_may_fill_every_field_of_a_record_but_those_of_a_check_and_a_refusal() {
        let mut text = "[fields]\n".to_owned();
        FIELDS.iter().for_each(|name| text.push_str(&format!("{name} = '/{name}'\n")));
        let mut logged = json!({
            "timestamp": "2026-03-02T09:13:22Z", "source_ip": "203.0.113.7", "service_tier": "default",
        });
        for name in FIELDS.iter().filter(|name| !matches!(**name, "timestamp" | "source_ip" | "service_tier"))
        {
            logged[name] = "200".into();
        }
        let mut made = Map::parse(&text).unwrap().record(&logged).unwrap();
        parse::<WireRecord>(made.to_string().as_bytes()).unwrap_or_else(|error| panic!("{made}: {error}"));
        made["api_key"] = "200".into();
        let schema = serde_json::to_value(<WireRecord as utoipa::PartialSchema>::schema()).unwrap();
        let left_out = ["reservation_id", "refused_by", "admit"];
        for name in schema["properties"].as_object().unwrap().keys() {
            assert_ne!(made.get(name).is_some(), left_out.contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_map_is_named() {
        let good = "[fields]\nkey_id = '/k'\nendpoint = '/e'\nsource_ip = '/i'\ntimestamp = '/t'\n";
        Map::parse(good).unwrap();
        for (text, words) in [
            ("fields = 1", "is no map"),
            (good.replace("key_id", "keyid").as_str(), "fields.keyid is no field"),
            (good.replace("'/k'", "'k'").as_str(), "fields.key_id: \"k\" is no JSON pointer"),
            (good.replace("timestamp", "user").as_str(), "fills no timestamp"),
            (good.replace("key_id", "model").as_str(), "fills no key_id or api_key"),
        ] {
            let said = Map::parse(text).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
