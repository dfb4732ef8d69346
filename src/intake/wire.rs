//! Records as they are written on the wire, and what is wrong with those that are not.

use std::net::IpAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    asked::Asked,
    check_id, check_key_id,
    cost::WireCost,
    number::{WireSeconds, WireServiceTier, whole},
};
use crate::domain::{
    Millis, address,
    event::parse_millis,
    key::{API_KEY_FORM, canonical_api_key},
};

/// Longest name of a field that is repeated in an error.
const LONGEST_NAME: usize = 32;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer to the field.
    pub pointer: String,
    /// What it must be. Never repeats the value.
    pub detail: String,
}

impl FieldError {
    /// An error about the field at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why input was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// It is not JSON.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// It is JSON, but not of this form.
    #[error("{} field(s) are not as they must be", .0.len())]
    Fields(Vec<FieldError>),
}

/// Reads JSON of a given form. Errors name the field and what it must be, and never repeat a value.
///
/// # Errors
/// [`InputError`]: not JSON, or JSON of another form.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, InputError> {
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(InputError::Fields(vec![FieldError::new("", "must be a JSON object")]));
    }
    // Keeping track of the path costs as much as half of the parsing, and only an error needs it.
    let value = std::str::from_utf8(bytes).ok().and_then(|text| serde_json::from_str(text).ok());
    if let Some(value) = value {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let error = error.into_inner();
        misplaced(&error, bytes).map_or_else(
            || describe(&error, pointer.clone()),
            |detail| InputError::Fields(vec![FieldError::new(pointer.clone(), detail)]),
        )
    })?;
    json.end().map_err(|e| InputError::Syntax(position(&e, "one JSON value was expected and more came")))?;
    Ok(value)
}

/// What a value must be that `serde_json` calls a mistake of syntax although the JSON is valid: where one of several
/// words is expected and something else stands, and where a number is beyond every number.
fn misplaced(error: &serde_json::Error, bytes: &[u8]) -> Option<&'static str> {
    let is_valid = || serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let text = error.to_string();
    let detail = if text.starts_with("expected value") {
        "must be a text, one of those that are known here"
    } else if text.starts_with("number out of range") {
        "must be a number within range"
    } else {
        return None;
    };
    is_valid().then_some(detail)
}

fn describe(error: &serde_json::Error, pointer: String) -> InputError {
    use serde_json::error::Category;
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            let named = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
            if let Some(field) = named("missing field `") {
                return InputError::Fields(vec![FieldError::new(
                    format!("{pointer}/{field}"),
                    "is required",
                )]);
            }
            if let Some(field) = named("duplicate field `") {
                return InputError::Fields(vec![FieldError::new(
                    format!("{pointer}/{field}"),
                    "is given twice",
                )]);
            }
            let detail = if text.starts_with("unknown field") {
                "is not a field that is known here".to_owned()
            } else {
                expected(&text)
            };
            InputError::Fields(vec![FieldError::new(pointer, detail)])
        }
        Category::Eof => InputError::Syntax(position(error, "it ends too early")),
        Category::Syntax | Category::Io => InputError::Syntax(position(error, "it cannot be read")),
    }
}

/// What serde expected, without the value that it got instead. `serde_json` keeps that as text alone, and it has to
/// read the numbers, so that an amount of money is what its digits say.
fn expected(text: &str) -> String {
    let what = text.rsplit_once("expected ").map_or("another value", |(_, rest)| rest);
    let what = what.split(" at line ").next().unwrap_or(what);
    let plain = match what {
        "u64" | "u32" | "u16" => "a whole number, not negative",
        "f64" => "a number",
        _ if what.starts_with("struct ") => "a JSON object",
        other => other,
    };
    format!("must be {plain}")
}

fn position(error: &serde_json::Error, what: &str) -> String {
    format!("{what} (line {}, column {})", error.line(), error.column())
}

/// A field is named as it was sent, but for a name longer than any field's: it may be a secret in the wrong place.
fn named(key: &str) -> String {
    if key.len() > LONGEST_NAME { "…".to_owned() } else { key.replace('~', "~0").replace('/', "~1") }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", named(key)),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

/// The only value of `refused_by`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBy {
    /// Keyward refused the request that is reported.
    Keyward,
}

/// One finished API request, as middleware reports it.
#[derive(Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WireRecord {
    /// Makes a retry safe: the same id, key and body within `idempotency.seconds` (120) is counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The secret; hashed at the door. 1 to 512 visible ASCII characters; blanks around it are taken off. This or
    /// `key_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1)]
    pub api_key: Option<String>,
    /// The caller's own public name for the key; case matters. One that begins as a secret does (`sk-`, `ghp_`, …)
    /// must be registered. This or `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256, pattern = "^[!-~]+$")]
    pub key_id: Option<String>,
    /// Project that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Path that was called.
    pub endpoint: String,
    /// The caller's own name for its end user, 1 to 128 bytes: no personal data. Usage is summed by it where
    /// `usage.by_user` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 128)]
    pub user: Option<String>,
    /// Model that was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens; by default prompt + completion, else 0. Where it is less than the two, they count.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub tokens_used: Option<u64>,
    /// Prompt tokens, all of them.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub prompt_tokens: Option<u64>,
    /// Completion tokens, all of them.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub completion_tokens: Option<u64>,
    /// Another name of `prompt_tokens`; where both are given they are the same number.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub input_tokens: Option<u64>,
    /// Another name of `completion_tokens`; where both are given they are the same number.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub output_tokens: Option<u64>,
    /// Prompt tokens that came from a cache; they are part of the prompt tokens.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub cached_tokens: Option<u64>,
    /// Prompt tokens that were written to a cache for five minutes; they are part of the prompt tokens.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub cache_write_tokens: Option<u64>,
    /// Prompt tokens that were written to a cache for an hour; they are part of the prompt tokens.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub cache_write_1h_tokens: Option<u64>,
    /// Completion tokens that were spent on reasoning; they are part of the completion tokens.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub reasoning_tokens: Option<u64>,
    /// The service tier that the provider answered in; `default` and `standard` are the ordinary one, as when it is
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<WireServiceTier>,
    /// Images, asked for or answered.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000)]
    pub images: Option<u64>,
    /// Seconds of sound or film, kept to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1_000_000)]
    pub seconds: Option<WireSeconds>,
    /// Characters of text, where the provider counts them.
    #[serde(default, deserialize_with = "whole", skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub characters: Option<u64>,
    /// Cost in US dollars from 0 to 1000000, when the caller knows it: a number, or the same as text. Without it, the
    /// cost is worked out from model and tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub cost_usd: Option<WireCost>,
    /// How long the client waited for its answer, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Address that the request came from. An IPv6 address that stands for an IPv4 address is that one.
    pub source_ip: String,
    /// The client's `User-Agent`, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// HTTP status that the client got; 200 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_status: Option<u16>,
    /// When it happened, RFC 3339; now by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// `keyward` when the request reported is one that Keyward refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<RefusedBy>,
    /// A reservation that this record settles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<String>,
    /// `true` asks before the request is made, and reports it in the same call: refused, it is charged to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admit: Option<bool>,
    /// Its tokens may be of the prompt or of the completion: an estimate that does not say which.
    #[serde(skip)]
    pub(super) of_either_kind: bool,
    /// What a check says beside it; `None`: it is no check.
    #[serde(skip)]
    pub(super) asked: Option<Asked>,
}

impl WireRecord {
    /// Brings the key into its one form. Says what is wrong with it; `registered` says whether an id is.
    pub(super) fn settle_key(&mut self, registered: impl Fn(&str) -> bool) -> Vec<FieldError> {
        let mut errors = Vec::new();
        match (&mut self.api_key, &self.key_id) {
            (None, None) => errors.push(FieldError::new("/api_key", "api_key or key_id is required")),
            (Some(_), Some(_)) => errors.push(FieldError::new("/key_id", "give api_key or key_id, not both")),
            (Some(secret), None) => {
                if !canonical_api_key(secret) {
                    errors.push(FieldError::new("/api_key", API_KEY_FORM));
                }
            }
            (None, Some(id)) => check_key_id("/key_id", id, registered, &mut errors),
        }
        errors
    }

    /// Notes what is wrong with the fields, apart from key, time and address.
    pub(super) fn note_errors(&self, errors: &mut Vec<FieldError>) {
        if let Some(id) = &self.project_id {
            check_id("/project_id", id, errors);
        }
        bounded("/request_id", self.request_id.as_deref(), 0, 128, errors);
        bounded("/endpoint", Some(&self.endpoint), 1, 2048, errors);
        bounded("/model", self.model.as_deref(), 1, 128, errors);
        bounded("/user", self.user.as_deref(), 1, 128, errors);
        bounded("/user_agent", self.user_agent.as_deref(), 0, 1024, errors);
        bounded("/reservation_id", self.reservation_id.as_deref(), 1, 128, errors);
        self.note_quantities(errors);
        if self.latency_ms.is_some_and(|l| !(0.0..=1e12).contains(&l)) {
            errors.push(FieldError::new("/latency_ms", "must be from 0 to 1e12"));
        }
        if self.response_status.is_some_and(|s| !(100..=599).contains(&s)) {
            errors.push(FieldError::new("/response_status", "must be an HTTP status from 100 to 599"));
        }
    }

    /// Calls `tell` with all that the record says, each field in a form that cannot be taken for another or for two.
    pub(super) fn spell(&self, mut tell: impl FnMut(&[u8])) {
        let Self {
            request_id,
            api_key,
            key_id,
            project_id,
            endpoint,
            user,
            model,
            tokens_used,
            prompt_tokens,
            completion_tokens,
            // Brought together with the two above before.
            input_tokens: _,
            output_tokens: _,
            cached_tokens,
            cache_write_tokens,
            cache_write_1h_tokens,
            reasoning_tokens,
            service_tier,
            images,
            seconds,
            characters,
            cost_usd,
            latency_ms,
            source_ip,
            user_agent,
            response_status,
            timestamp,
            refused_by,
            reservation_id,
            admit,
            of_either_kind,
            asked,
        } = self;
        for text in
            [request_id, api_key, key_id, project_id, model, user, user_agent, timestamp, reservation_id]
        {
            let text = text.as_deref();
            tell(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            tell(text.unwrap_or_default().as_bytes());
        }
        for text in [endpoint, source_ip] {
            tell(&(text.len() as u64).to_le_bytes());
            tell(text.as_bytes());
        }
        let whole = [
            *tokens_used,
            *prompt_tokens,
            *completion_tokens,
            *cached_tokens,
            *cache_write_tokens,
            *cache_write_1h_tokens,
            *reasoning_tokens,
            *images,
            *characters,
            seconds.map(WireSeconds::millis),
            service_tier.and_then(WireServiceTier::priced).map(|tier| tier as u64),
        ];
        let broken = [cost_usd.map(WireCost::nanos), latency_ms.map(f64::to_bits)];
        let small = [
            response_status.map(u64::from),
            refused_by.map(|RefusedBy::Keyward| 1),
            admit.map(u64::from),
            of_either_kind.then_some(1),
        ];
        for number in whole.into_iter().chain(broken).chain(small) {
            tell(&[u8::from(number.is_some())]);
            tell(&number.unwrap_or_default().to_le_bytes());
        }
        for number in asked.iter().flat_map(|asked| asked.spelled()) {
            tell(&number.to_le_bytes());
        }
    }

    pub(super) fn timestamp(&self, errors: &mut Vec<FieldError>) -> Option<Millis> {
        let parsed = parse_millis(self.timestamp.as_deref()?);
        if parsed.is_err() {
            let detail = "must be an RFC 3339 time, for example 2026-03-02T09:13:22.123Z";
            errors.push(FieldError::new("/timestamp", detail));
        }
        parsed.ok()
    }

    /// Reads the address, and brings it into its one form.
    pub(super) fn settle_source_ip(&mut self, errors: &mut Vec<FieldError>) -> Option<IpAddr> {
        let parsed = address::parse(&self.source_ip);
        match &parsed {
            // Of IPv4 there is only one spelling that is taken.
            Ok(address) if self.source_ip.contains(':') => self.source_ip = address.to_string(),
            Ok(_) => {}
            Err(error) => errors.push(FieldError::new("/source_ip", error.to_string())),
        }
        parsed.ok()
    }
}

fn bounded(pointer: &str, text: Option<&str>, least: usize, most: usize, errors: &mut Vec<FieldError>) {
    if text.is_some_and(|t| !(least..=most).contains(&t.len())) {
        errors.push(FieldError::new(pointer, format!("must be {least} to {most} bytes long")));
    }
}
