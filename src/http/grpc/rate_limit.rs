//! Envoy's rate limit service: each descriptor is a request that asks to be admitted, and is counted in the same step
//! if it is, as a record with `admit` is. What is refused is charged to nothing.

use axum::{
    body::to_bytes,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use tonic::Status;

use super::messages::{
    Code, Descriptor, DescriptorStatus, Duration, Entry, HeaderValue, RateLimit, RateLimitRequest,
    RateLimitResponse,
};
use crate::{
    domain::key::canonical_api_key,
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        decision::{Decision, LimitStatus},
        limit::Span,
        record::Record,
        window::Unit,
    },
    http::{
        App,
        authorize::{self, original::path_of},
    },
    intake::{InputError, WireRecord},
};

/// Most descriptors of one call, as records of a batch.
const MOST_DESCRIPTORS: usize = 100;
/// The largest body of a refusal, in bytes.
const MOST_BODY: usize = 64 * 1024;
/// The longest name of a user or of a model that is kept, in bytes.
const MOST_USER: usize = 128;
const MOST_MODEL: usize = 128;
/// What Envoy calls a label that says nothing about the request.
const LABEL: &str = "generic_key";
/// Lengths of windows that have a number in `RateLimit.Unit`, which counts from 1.
const UNITS: [Millis; 4] = [SECOND, MINUTE, HOUR, DAY];
const MONTH: i32 = 5;

pub(super) async fn should_rate_limit(
    app: &App,
    asked: RateLimitRequest,
) -> Result<RateLimitResponse, Status> {
    let now = app.engine.now();
    // The client's own, and no mistake of whoever set up Envoy.
    let no_key = |entry: &Entry| entry.key == "key" && !is_key(&entry.value);
    if asked.descriptors.iter().any(|descriptor| descriptor.entries.iter().any(no_key)) {
        return Ok(in_answer_of(authorize::refuse_unreadable(app), Vec::new()).await);
    }
    let records =
        records(app, &asked, now).inspect_err(|status| authorize::log_mistake(app, status.message()))?;
    let decisions = app.record(records, now).await.map_err(|error| Status::internal(error.to_string()))?;
    let first = decisions.iter().find(|decision| !decision.allowed).or(decisions.first());
    let Some(first) = first else { return Err(Status::internal("nothing was decided")) };
    let statuses = decisions.iter().map(status).collect();
    Ok(in_answer_of(authorize::answer(first.clone()), statuses).await)
}

/// An answer of `/v1/authorize` in the words of the rate limit service.
async fn in_answer_of(response: Response, statuses: Vec<DescriptorStatus>) -> RateLimitResponse {
    let (head, body) = response.into_parts();
    let overall = if head.status == StatusCode::OK { Code::Ok } else { Code::OverLimit };
    let body = to_bytes(body, MOST_BODY).await.unwrap_or_default();
    RateLimitResponse {
        overall_code: overall.into(),
        statuses,
        response_headers_to_add: headers(&head.headers),
        raw_body: body.to_vec(),
    }
}

fn is_key(value: &str) -> bool {
    canonical_api_key(&mut without_scheme(value).to_owned())
}

fn records(app: &App, asked: &RateLimitRequest, now: Millis) -> Result<Vec<Record>, Status> {
    if !(1..=MOST_DESCRIPTORS).contains(&asked.descriptors.len()) {
        return Err(Status::invalid_argument(format!("descriptors: 1 to {MOST_DESCRIPTORS} are needed")));
    }
    let named = asked.descriptors.iter().enumerate();
    let record = |(index, descriptor): (usize, &Descriptor)| {
        let wrong = |why: String| Status::invalid_argument(format!("descriptors[{index}]: {why}"));
        let tokens = descriptor.hits_addend.unwrap_or_else(|| asked.hits_addend.into());
        let wire = wire(descriptor, tokens).map_err(wrong)?;
        app.take(wire, now).map_err(|error| wrong(in_words(&error)))
    };
    named.map(record).collect()
}

/// A descriptor as a record that asks to be admitted.
fn wire(descriptor: &Descriptor, tokens: u64) -> Result<WireRecord, String> {
    let mut wire = WireRecord::new("/".to_owned(), String::new());
    (wire.admit, wire.tokens_used) = (Some(true), Some(tokens));
    for entry in &descriptor.entries {
        let value = entry.value.clone();
        match entry.key.as_str() {
            "key" => wire.api_key = Some(without_scheme(&value).to_owned()),
            "key_id" => wire.key_id = Some(value),
            "project" => wire.project_id = Some(value),
            "model" => {
                wire.model = Some(authorize::cut(&value, MOST_MODEL)).filter(|model| !model.is_empty())
            }
            // Envoy's `:path` has the query, too, in which a key may be.
            "path" => wire.endpoint = path_of(&value),
            "remote_address" => wire.source_ip = value,
            "user_agent" => wire.user_agent = Some(authorize::cut(&value, authorize::MOST_AGENT)),
            "user" => wire.user = Some(authorize::cut(&value, MOST_USER)).filter(|user| !user.is_empty()),
            LABEL => {}
            // Its name may be a header's text: it is not repeated.
            _ => {
                return Err(
                    "an entry is none of key, key_id, project, model, path, remote_address, user_agent, \
                            user and generic_key"
                        .to_owned(),
                );
            }
        }
    }
    if wire.source_ip.is_empty() {
        return Err("an entry remote_address is needed: whose requests these are is judged by it".to_owned());
    }
    Ok(wire)
}

/// A key as it is in `Authorization`, too.
fn without_scheme(value: &str) -> &str {
    let scheme = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    scheme.map_or(value, |(_, key)| key.trim())
}

fn in_words(error: &InputError) -> String {
    match error {
        InputError::Syntax(why) => why.clone(),
        InputError::Fields(errors) => {
            let words = errors.iter().map(|error| format!("{} {}", &error.pointer[1..], error.detail));
            words.collect::<Vec<_>>().join("; ")
        }
    }
}

fn headers(headers: &HeaderMap) -> Vec<HeaderValue> {
    let is_for_client =
        |name: &str| name.starts_with("ratelimit") || name.starts_with("x-keyward-") || name == "retry-after";
    let named = headers.iter().filter(|(name, value)| is_for_client(name.as_str()) && !value.is_empty());
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| HeaderValue {
        key: name.as_str().to_owned(),
        value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        raw_value: Vec::new(),
    };
    named.map(header).collect()
}

/// How a descriptor stands: by the limit of which the least is left.
fn status(decision: &Decision) -> DescriptorStatus {
    let code = if decision.allowed { Code::Ok } else { Code::OverLimit };
    let counted = decision.limits.iter().filter(|limit| limit.mode.enforces() && limit.unit != Unit::CostUsd);
    let share =
        |limit: &LimitStatus| limit.limit.saturating_sub(limit.used) as f64 / limit.limit.max(1) as f64;
    let tightest = counted.min_by(|a, b| share(a).total_cmp(&share(b)));
    DescriptorStatus {
        code: code.into(),
        current_limit: tightest.map(|limit| RateLimit {
            requests_per_unit: narrowed(limit.limit),
            unit: unit(limit.window),
            name: format!("{}-{}", limit.window, limit.unit.name()),
        }),
        limit_remaining: tightest.map_or(0, |limit| narrowed(limit.limit.saturating_sub(limit.used))),
        duration_until_reset: tightest
            .map(|limit| Duration { seconds: i64::try_from(limit.reset_seconds).unwrap_or(i64::MAX) }),
    }
}

fn unit(window: Span) -> i32 {
    if window == Span::Calendar(crate::domain::limit::Calendar::Month) {
        return MONTH;
    }
    let place = UNITS.iter().position(|length| *length == window.length());
    place.and_then(|place| i32::try_from(place + 1).ok()).unwrap_or_default()
}

fn narrowed(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(entries: &[(&str, &str)]) -> Descriptor {
        let entry = |(key, value): &(&str, &str)| Entry { key: (*key).into(), value: (*value).into() };
        Descriptor { entries: entries.iter().map(entry).collect(), hits_addend: None }
    }

    #[test]
    fn every_entry_has_its_field_and_one_that_is_none_is_refused_without_its_name() {
        let all = [
            ("key", "Bearer sk-1"),
            ("project", "p"),
            ("model", "gpt-4.1"),
            ("path", "/v1/chat?key=sk-1"),
            ("remote_address", "203.0.113.7"),
            ("user_agent", "a/1"),
            ("user", "u"),
            ("generic_key", "anything"),
        ];
        let read = wire(&descriptor(&all), 7).unwrap();
        assert_eq!((read.api_key.as_deref(), read.project_id.as_deref()), (Some("sk-1"), Some("p")));
        assert_eq!((read.endpoint.as_str(), read.source_ip.as_str()), ("/v1/chat", "203.0.113.7"));
        assert_eq!((read.user_agent.as_deref(), read.user.as_deref()), (Some("a/1"), Some("u")));
        assert_eq!(
            (read.admit, read.tokens_used, read.model.as_deref()),
            (Some(true), Some(7), Some("gpt-4.1"))
        );
        let refused = wire(&descriptor(&[("sk-secret", "a")]), 0).err().unwrap();
        assert!(refused.contains("none of") && !refused.contains("sk-secret"), "{refused}");
        assert!(wire(&descriptor(&[("key", "sk-1")]), 0).err().unwrap().contains("remote_address"));
    }

    #[test]
    fn windows_that_envoy_has_a_word_for_are_called_by_it() {
        let month = Span::Calendar(crate::domain::limit::Calendar::Month);
        let spans = [
            Span::Sliding(SECOND),
            Span::Sliding(MINUTE),
            Span::Sliding(DAY),
            month,
            Span::Sliding(5 * MINUTE),
        ];
        assert_eq!(spans.map(unit), [1, 2, 4, 5, 0]);
    }
}
