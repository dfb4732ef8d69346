//! How limits stand, in the head of an answer: `RateLimit-Policy` and `RateLimit` as structured fields
//! (draft-ietf-httpapi-ratelimit-headers-11), and `Retry-After`.

use std::fmt::Write;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::{
    decision::{Decision, LimitStatus},
    window::Unit,
};

/// The largest integer of a structured field (RFC 9651, section 3.3.1).
const LARGEST: u64 = 999_999_999_999_999;

/// What stands between two limits.
const SEPARATOR: &str = ", ";
/// The longest `RateLimit-Policy`, in bytes: proxies have room for a head of 4 KiB.
const MOST_POLICY: usize = 2048;

/// Adds what a decision says about limits. Of more than there is room for, those are named of which the least is left.
pub fn add(headers: &mut HeaderMap, decision: &Decision) {
    let mut put = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    // Who heeds a shadow limit is delayed by it.
    let enforced = || decision.limits.iter().filter(|limit| limit.mode.enforces());
    if let Some(tightest) = enforced().min_by(|a, b| share_left(a).total_cmp(&share_left(b))) {
        let all = policies(enforced());
        let fits = all.len() <= MOST_POLICY;
        let named = if fits { all } else { policies(tightest_of(enforced().collect()).into_iter()) };
        put(HeaderName::from_static("ratelimit-policy"), named);
        put(HeaderName::from_static("ratelimit"), standing(tightest));
    }
    if let Some(seconds) = decision.retry_after_seconds().filter(|_| !decision.allowed) {
        put(header::RETRY_AFTER, seconds.to_string());
    }
}

/// As many of the limits as there is room for, those first of which the least is left; in the order that they came in.
fn tightest_of(limits: Vec<&LimitStatus>) -> Vec<&LimitStatus> {
    let mut by_share: Vec<_> = limits.into_iter().enumerate().collect();
    by_share.sort_by(|(_, a), (_, b)| share_left(a).total_cmp(&share_left(b)));
    let mut room = MOST_POLICY;
    by_share.retain(|(_, limit)| {
        let needed = policies(std::iter::once(*limit)).len() + SEPARATOR.len();
        let fits = needed <= room;
        room -= if fits { needed } else { 0 };
        fits
    });
    by_share.sort_by_key(|(place, _)| *place);
    by_share.into_iter().map(|(_, limit)| limit).collect()
}

/// Limits: of each its name, quota, window in seconds, and unit where that is not the default, requests.
fn policies<'a>(limits: impl Iterator<Item = &'a LimitStatus>) -> String {
    let mut out = String::with_capacity(limits.size_hint().1.unwrap_or(0) * 48);
    for status in limits {
        let seconds = status.window.length() / 1000;
        let separator = if out.is_empty() { "" } else { SEPARATOR };
        let (name, quota) = (Name(status), status.limit.min(LARGEST));
        let _ = write!(out, "{separator}\"{name}\";q={quota};w={seconds}");
        if status.unit != Unit::Requests {
            // A quota is a whole number.
            let unit = if status.unit == Unit::CostUsd { "nano_usd" } else { status.unit.name() };
            let _ = write!(out, ";qu=\"{unit}\"");
        }
    }
    out
}

/// What is left of one limit, and when more comes.
fn standing(status: &LimitStatus) -> String {
    let remaining = status.limit.saturating_sub(status.used).min(LARGEST);
    format!("\"{}\";r={remaining};t={}", Name(status), status.reset_seconds)
}

fn share_left(status: &LimitStatus) -> f64 {
    status.limit.saturating_sub(status.used) as f64 / status.limit.max(1) as f64
}

/// The name of a limit in headers: `1min-tokens`, `project-month-cost_usd`, `key-1min-requests-claude-*`.
struct Name<'a>(&'a LimitStatus);

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.0;
        if let Some(scope) = &status.scope {
            write!(f, "{scope}-")?;
        }
        write!(f, "{}-{}", status.window, status.unit.name())?;
        // Names of models come from operators: what would end the text in a header is left out.
        let plain = |c: &char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
        let model = status.model.iter().flat_map(|model| model.chars()).filter(plain);
        if status.model.is_some() { write!(f, "-{}", model.collect::<String>()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        decision::{Action, Reason},
        limit::{LimitMode, Span},
        price::Cost,
        window::WINDOW_MILLIS,
    };

    fn limit(window: usize, unit: Unit, limit: u64, used: u64) -> LimitStatus {
        let window = Span::Sliding(WINDOW_MILLIS[window]);
        let mode = LimitMode::Enforce;
        let (scope, model, block_seconds) = (None, None, None);
        LimitStatus { scope, model, window, unit, limit, used, reset_seconds: 60, mode, block_seconds }
    }

    fn headers(allowed: bool, limits: Vec<LimitStatus>) -> HeaderMap {
        let decision = Decision {
            request_id: "r".into(),
            key_id: "k".into(),
            allowed,
            action: Action::None,
            reason: (!allowed).then_some(Reason::RateLimitExceeded),
            retry_at: Some(12_345),
            decided_at: 0,
            anomalies: vec![],
            limits,
            reserved: None,
            settlement: None,
            estimated: false,
            cost: Cost::default(),
            degraded: false,
            would: None,
            late: false,
            policy_version: "p".into(),
        };
        let mut headers = HeaderMap::new();
        add(&mut headers, &decision);
        headers
    }

    #[test]
    fn every_limit_is_named_and_the_tightest_stands_for_all() {
        let limits = vec![
            limit(0, Unit::Tokens, 50_000, 932),
            limit(2, Unit::Tokens, 800_000, 700_000),
            limit(0, Unit::Requests, u64::MAX, 1),
        ];
        let headers = headers(true, limits);
        assert_eq!(
            headers["ratelimit-policy"],
            "\"1min-tokens\";q=50000;w=60;qu=\"tokens\", \"1hour-tokens\";q=800000;w=3600;qu=\"tokens\", \
             \"1min-requests\";q=999999999999999;w=60"
        );
        assert_eq!(headers["ratelimit"], "\"1hour-tokens\";r=100000;t=60");
        assert!(!headers.contains_key("retry-after"));
    }

    #[test]
    fn of_more_limits_than_there_is_room_for_the_tightest_are_named() {
        let model = |at: u64| LimitStatus {
            scope: Some("project".into()),
            model: Some(format!("model-{at}").into()),
            ..limit(0, Unit::Tokens, 1000, at)
        };
        let headers = headers(true, (0..96).map(model).collect());
        let named = headers["ratelimit-policy"].to_str().unwrap();
        assert!((MOST_POLICY - 80..=MOST_POLICY).contains(&named.len()), "{}", named.len());
        let names: Vec<_> = named.split(", ").map(|limit| limit.split('"').nth(1).unwrap()).collect();
        let first = 96 - names.len() as u64;
        let wanted: Vec<_> = (first..96).map(|at| format!("project-1min-tokens-model-{at}")).collect();
        assert_eq!(names, wanted, "in the order that they came in");
        assert_eq!(headers["ratelimit"], "\"project-1min-tokens-model-95\";r=905;t=60");
    }

    #[test]
    fn a_shadow_limit_is_not_shown_to_clients_that_would_heed_it() {
        let shadow = LimitStatus { mode: LimitMode::Shadow, ..limit(0, Unit::Requests, 10, 90) };
        assert!(headers(true, vec![shadow.clone()]).is_empty());
        let both = headers(true, vec![shadow, limit(1, Unit::Tokens, 100, 40)]);
        assert_eq!(both["ratelimit-policy"], "\"5min-tokens\";q=100;w=300;qu=\"tokens\"");
        assert_eq!(both["ratelimit"], "\"5min-tokens\";r=60;t=60");
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let headers = headers(false, vec![]);
        assert_eq!(headers["retry-after"], "13");
        assert!(!headers.contains_key("ratelimit"));
    }
}
