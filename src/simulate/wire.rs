//! What a generated request looks like on the wire, and what is known of it.

use std::{net::IpAddr, sync::Arc};

use serde::{Serialize, Serializer};

use crate::domain::{Millis, event::rfc3339_millis};

/// A usage record with the field names of `POST /v1/record`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WireRecord {
    /// Unique in its run.
    #[serde(serialize_with = "request_id")]
    pub request_id: u64,
    /// The secret; either this or `key_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Arc<str>>,
    /// The caller's public name for the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Arc<str>>,
    /// The project that the record names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<Arc<str>>,
    /// Path of the endpoint.
    pub endpoint: Arc<str>,
    /// The model that the request was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// Prompt and completion together.
    pub tokens_used: u64,
    /// How many tokens were sent.
    pub prompt_tokens: u64,
    /// How many tokens were answered.
    pub completion_tokens: u64,
    /// How long the request took, in milliseconds.
    pub latency_ms: f64,
    /// Price in dollars, where the middleware knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Where it came from.
    pub source_ip: IpAddr,
    /// The client's name for itself; empty where the middleware does not tell it.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub user_agent: Arc<str>,
    /// HTTP status of the answer.
    pub response_status: u16,
    /// When it was finished.
    #[serde(with = "rfc3339_millis")]
    pub timestamp: Millis,
}

impl WireRecord {
    /// Whether it was made with this key.
    pub fn is_of(&self, key: &str) -> bool {
        [&self.api_key, &self.key_id].into_iter().flatten().any(|own| &**own == key)
    }
}

fn request_id<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("sim-{id:08x}"))
}

/// A generated request with the truth about it. As JSON it is the truth alone: a file of labels, line by line beside
/// a file of records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled<R = WireRecord> {
    /// When it happened; the order of the traffic.
    #[serde(with = "rfc3339_millis")]
    pub time: Millis,
    /// The request as it is reported.
    #[serde(skip)]
    pub record: R,
    /// The kind of attack that it belongs to; `None` for the rightful owner's requests.
    pub label: Option<&'static str>,
    /// The attack that it belongs to, counted from 0.
    pub attack_id: Option<u32>,
    /// What sort of key it is.
    pub archetype: &'static str,
    /// The key, counted from 0. An address that stuffs unknown keys counts as one.
    pub key: u32,
    /// Whether the key is attacked at any time of the run, so that it does not count as benign.
    pub attacked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_fields_of_the_api_and_no_others() {
        let record = WireRecord {
            request_id: 0x2a,
            api_key: Some("sk-1".into()),
            key_id: None,
            project_id: Some("p".into()),
            endpoint: "/v1/chat/completions".into(),
            model: None,
            tokens_used: 3,
            prompt_tokens: 2,
            completion_tokens: 1,
            latency_ms: 1.5,
            cost_usd: None,
            source_ip: IpAddr::from([203, 0, 113, 7]),
            user_agent: "test/1".into(),
            response_status: 200,
            timestamp: 1_772_442_802_123,
        };
        let expected = serde_json::json!({
            "request_id": "sim-0000002a", "api_key": "sk-1", "project_id": "p",
            "endpoint": "/v1/chat/completions", "tokens_used": 3, "prompt_tokens": 2, "completion_tokens": 1,
            "latency_ms": 1.5, "source_ip": "203.0.113.7", "user_agent": "test/1", "response_status": 200,
            "timestamp": "2026-03-02T09:13:22.123Z",
        });
        assert_eq!(serde_json::to_value(record).unwrap(), expected);
    }
}
