//! The door for usage records: the wire form, its bounds, the place where the API key is hashed and dropped, and where
//! a request gets its cost.
//! Used by the HTTP routes and by `replay` alike.

mod asked;
mod check;
mod cost;
mod number;
mod pepper;
mod quantities;
mod whole;
mod wire;

pub use check::{WireCheck, lease};
pub use cost::WireCost;
pub use number::{WireSeconds, WireServiceTier};
pub use pepper::{PepperError, Peppers};
pub use whole::{Whole, read_whole};
pub use wire::{FieldError, InputError, WireRecord, parse};

use std::sync::Arc;

use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    domain::{
        Millis,
        key::{KEY_ID_FORM, looks_secret, valid_key_id},
        price::{Cost, Quantities},
        record::Record,
        subject::{Subject, valid_id},
    },
    pricing::{PricedModel, Prices},
};

/// Turns wire records into records.
#[derive(Debug, Clone)]
pub struct Intake {
    peppers: Peppers,
    prices: Arc<Prices>,
    /// A timestamp may differ from now by this much; `None` in replay, where timestamps are the time.
    max_skew: Option<Millis>,
}

impl Intake {
    /// For live traffic: timestamps are evidence, and one further than `max_skew` in the future is refused.
    pub fn live(peppers: Peppers, prices: Arc<Prices>, max_skew: Millis) -> Self {
        Self { peppers, prices, max_skew: Some(max_skew) }
    }

    /// For replay: any timestamp goes.
    pub fn replay(peppers: Peppers, prices: Arc<Prices>) -> Self {
        Self { peppers, prices, max_skew: None }
    }

    /// The public id of an API key in its one form, without blanks around it.
    pub fn key_id(&self, api_key: &str) -> String {
        self.peppers.key_id(api_key)
    }

    /// A signature of lines of text that only instances with the same pepper can make: 64 hex digits.
    pub fn sign(&self, lines: &[&str]) -> String {
        self.peppers.sign(lines)
    }

    /// Validates a wire record and hashes its key, where no key is registered.
    ///
    /// # Errors
    /// Every field that is wrong, with what it must be.
    pub fn record(&self, wire: WireRecord, now: Millis) -> Result<Record, InputError> {
        self.record_where(wire, now, |_| false)
    }

    /// The same where keys may be registered: those alone may have ids that look like secrets.
    ///
    /// # Errors
    /// Every field that is wrong, with what it must be.
    pub fn record_where(
        &self,
        mut wire: WireRecord,
        now: Millis,
        registered: impl Fn(&str) -> bool,
    ) -> Result<Record, InputError> {
        let mut errors = wire.settle_key(registered);
        wire.settle_names(&mut errors);
        wire.note_errors(&mut errors);
        let timestamp = wire.timestamp(&mut errors);
        let late = self.judge_time(timestamp, now, &mut errors);
        let source_ip = wire.settle_source_ip(&mut errors);
        let digest = digest(&wire);
        if !errors.is_empty() {
            return Err(InputError::Fields(errors));
        }
        let (Some(source_ip), Ok(tokens)) = (source_ip, wire.tokens()) else {
            return Err(InputError::Fields(errors));
        };
        let usage_known = wire.says_usage();
        let of_either_kind = wire.of_either_kind;
        let (used, tokens) = (wire.quantities(tokens), wire.counted_tokens());
        let secret = wire.api_key.map(Zeroizing::new);
        let scrub = |text: String| scrub(text, secret.as_deref().map(String::as_str));
        let (key_id, former) = match (&secret, wire.key_id) {
            (Some(secret), _) => (self.peppers.key_id(secret), self.peppers.former_key_ids(secret)),
            (None, Some(key_id)) => (key_id, Vec::new()),
            (None, None) => (String::new(), Vec::new()),
        };
        let endpoint = wire.endpoint.split(['?', '#']).next().unwrap_or_default().to_owned();
        let model = wire.model.map(scrub).map(Arc::from);
        let time = timestamp.unwrap_or(now);
        let (mut cost, priced) = self.cost(wire.cost_usd, model.as_deref(), time, &used);
        let is_estimate = wire.asked.as_ref().is_some_and(|asked| !asked.observes);
        if let Some(model) = model.as_deref().filter(|_| is_estimate && wire.cost_usd.is_none()) {
            cost = Some(self.prices.most_cost(model, time, &used, of_either_kind.then_some(tokens)));
        }
        let given = wire.request_id.filter(|id| !id.is_empty());
        Ok(Record {
            request_id_given: given.is_some(),
            request_id: given.map(scrub).unwrap_or_else(|| new_request_id(now)).into(),
            key: Subject::key(&key_id),
            key_id: key_id.into(),
            former_keys: former.iter().map(|id| Subject::key(id)).collect(),
            address: Subject::ip(source_ip),
            project: wire.project_id.map(scrub).map(|id| Subject::project(&id)),
            endpoint: scrub(endpoint).into(),
            user: wire.user.map(scrub).map(Arc::from),
            model,
            model_identity: priced.and_then(|model| model.identity().cloned()),
            tokens,
            prompt_tokens: wire.prompt_tokens,
            completion_tokens: wire.completion_tokens,
            cached_tokens: wire.cached_tokens,
            cost_nanos: cost.map(|cost| cost.nanos),
            price_fallback: cost.is_some_and(|cost| cost.fallback),
            latency_ms: wire.latency_ms,
            source_ip,
            user_agent: wire.user_agent.map(scrub).map(Arc::from),
            status: wire.response_status.unwrap_or(200),
            timestamp,
            late,
            refused_by_keyward: wire.refused_by.is_some(),
            reservation_id: wire.reservation_id.map(scrub).map(Arc::from),
            usage_known,
            admit: wire.admit == Some(true),
            observes: wire.asked.is_some_and(|asked| asked.observes),
            is_part: false,
            has_parts: false,
            of_either_kind,
            digest,
        })
    }

    /// What a request costs, and what the price list knows about its model. What the caller knows is what was paid. A
    /// request that names no model calls none, and costs nothing.
    fn cost(
        &self,
        paid: Option<WireCost>,
        model: Option<&str>,
        time: Millis,
        used: &Quantities,
    ) -> (Option<Cost>, Option<Arc<PricedModel>>) {
        let paid = paid.map(|cost| Cost { nanos: cost.nanos(), fallback: false });
        match (paid, model) {
            (Some(_), model) => (paid, model.map(|model| self.prices.find(model))),
            (None, Some(model)) => {
                let (cost, priced) = self.prices.cost(model, time, used);
                (Some(cost), Some(priced))
            }
            (None, None) => (None, None),
        }
    }

    /// The prices that costs are worked out by.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    fn judge_time(&self, timestamp: Option<Millis>, now: Millis, errors: &mut Vec<FieldError>) -> bool {
        let (Some(at), Some(skew)) = (timestamp, self.max_skew) else { return false };
        if at > now.saturating_add(skew) {
            let seconds = skew / 1000;
            errors.push(FieldError::new(
                "/timestamp",
                format!("must not be more than {seconds} s in the future"),
            ));
        }
        at < now.saturating_sub(skew)
    }
}

/// Ids of keys as they come from callers. What is said of one never holds it: it may be a secret.
fn check_key_id(pointer: &str, id: &str, registered: impl Fn(&str) -> bool, errors: &mut Vec<FieldError>) {
    if !valid_key_id(id) {
        errors.push(FieldError::new(pointer, KEY_ID_FORM));
    } else if let Some(likeness) = looks_secret(id).filter(|_| !registered(id)) {
        let detail = format!(
            "{likeness}: send it as api_key, which is hashed and dropped. If it is a public id, register it first: \
             PUT /v1/keys/{{key_id}}"
        );
        errors.push(FieldError::new(pointer, detail));
    }
}

/// Ids of projects as they come from callers.
fn check_id(pointer: &str, id: &str, errors: &mut Vec<FieldError>) {
    if !valid_id(id) {
        errors.push(FieldError::new(pointer, "must be 1 to 128 bytes of printable text without spaces"));
    }
}

/// Keeps the secret out of the other fields, where a careless middleware may have put it.
fn scrub(text: String, secret: Option<&str>) -> String {
    match secret {
        Some(secret) if secret.len() >= 8 && text.contains(secret) => text.replace(secret, "redacted"),
        _ => text,
    }
}

/// A UUID v7 for a request without an id.
pub fn new_request_id(now: Millis) -> String {
    let seconds = u64::try_from(now / 1000).unwrap_or(0);
    let nanos = u32::try_from(now.rem_euclid(1000)).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)).to_string()
}

/// The digest by which the same body is recognised again (of its meaning, not its spacing), for a request whose
/// caller gave it an id. A cryptographic hash, so that nobody can make a second request pass for a retry of a first.
fn digest(wire: &WireRecord) -> u128 {
    if wire.request_id.as_ref().is_none_or(String::is_empty) {
        return 0;
    }
    let mut first = [0; 16];
    let mut hash = Sha256::new();
    wire.spell(|bytes| hash.update(bytes));
    first.copy_from_slice(&hash.finalize()[..16]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::reservation::HoldTerms, pricing::flat_example};

    const NOW: Millis = 1_772_442_802_123;

    fn intake() -> Intake {
        Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example(), 300_000)
    }

    fn record(json: &str) -> Result<Record, InputError> {
        intake().record(parse(json.as_bytes())?, NOW)
    }

    fn pointers(json: &str) -> Vec<String> {
        match record(json).unwrap_err() {
            InputError::Fields(errors) => errors.into_iter().map(|e| e.pointer).collect(),
            InputError::Syntax(detail) => vec![format!("syntax: {detail}")],
        }
    }

    #[test]
    fn a_full_record_is_taken_and_the_secret_dropped() {
        let r = record(
            r#"{"request_id":"r-123","api_key":"sk-live-secret","project_id":"analytics",
            "endpoint":"/v1/chat/completions?key=sk-live-secret","model":"gpt-4.1","prompt_tokens":812,
            "completion_tokens":120,"latency_ms":840.5,"source_ip":"::ffff:203.0.113.7","cost_usd":0.0075,
            "user_agent":"x sk-live-secret y","response_status":200,"timestamp":"2026-03-02T09:13:22.123Z"}"#,
        )
        .unwrap();
        assert_eq!(r.tokens, 932);
        assert_eq!(r.cost_nanos, Some(7_500_000));
        assert_eq!(r.address.as_str(), "ip:203.0.113.7");
        assert_eq!(&*r.endpoint, "/v1/chat/completions");
        assert!(!format!("{r:?}").contains("sk-live-secret"), "{r:?}");
    }

    #[test]
    fn a_digest_is_of_the_meaning_and_of_all_of_it() {
        let full = serde_json::json!({
            "request_id": "r", "api_key": "k", "project_id": "p", "endpoint": "/x", "model": "m", "tokens_used": 1,
            "prompt_tokens": 2, "completion_tokens": 3, "cached_tokens": 4, "cost_usd": 0.5, "latency_ms": 6.0,
            "source_ip": "1.2.3.4", "user_agent": "u", "response_status": 201, "timestamp": "2026-03-02T09:13:22.123Z",
            "refused_by": "keyward", "reservation_id": "v", "cache_write_tokens": 8, "cache_write_1h_tokens": 9,
            "reasoning_tokens": 10, "images": 11, "seconds": 12.5, "characters": 13, "user": "w",
        });
        let of = |value: &serde_json::Value| digest(&parse(value.to_string().as_bytes()).unwrap());
        let pretty = serde_json::to_string_pretty(&full).unwrap();
        assert_eq!(of(&full), digest(&parse(pretty.as_bytes()).unwrap()));
        let mut digests = std::collections::HashSet::from([
            of(&full),
            of(&serde_json::json!({
                "request_id": "r", "key_id": "k", "endpoint": "/x", "source_ip": "1.2.3.4",
            })),
        ]);
        for (field, value) in full.as_object().unwrap() {
            let mut other = full.clone();
            other[field] = match value {
                serde_json::Value::String(text) if field != "refused_by" => format!("{text}1").into(),
                serde_json::Value::Number(_) => 7.into(),
                _ => serde_json::Value::Null,
            };
            assert!(digests.insert(of(&other)), "{field}");
            if !["request_id", "endpoint", "source_ip", "refused_by"].contains(&field.as_str()) {
                other[field] = serde_json::Value::Null;
                assert!(digests.insert(of(&other)), "{field}");
            }
        }
        for tier in ["batch", "flex", "priority"] {
            let mut other = full.clone();
            other["service_tier"] = tier.into();
            assert!(digests.insert(of(&other)), "{tier}");
        }
        let moved = |a: &str, b: &str| {
            serde_json::json!({
                "request_id": "r", "key_id": "k", "endpoint": "/x", "source_ip": "1.2.3.4", "model": a, "user_agent": b,
            })
        };
        assert_ne!(of(&moved("ab", "c")), of(&moved("a", "bc")));
    }

    #[test]
    fn a_digest_of_a_check_is_of_its_terms_too_and_never_a_records() {
        let of_check = |terms: &str| {
            let body =
                format!(r#"{{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4","request_id":"r"{terms}}}"#);
            digest(&parse::<WireCheck>(body.as_bytes()).unwrap().into())
        };
        let record =
            record(r#"{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4","request_id":"r"}"#).unwrap();
        let terms = [
            "",
            r#","reserve":true"#,
            r#","dispatched":true"#,
            r#","reserve":true,"dispatched":true"#,
            r#","reserve":true,"lease_seconds":1"#,
            r#","reserve":true,"lease_seconds":2"#,
        ];
        let digests: std::collections::HashSet<u128> =
            terms.into_iter().map(of_check).chain([record.digest]).collect();
        assert_eq!(digests.len(), terms.len() + 1);
        assert_eq!(of_check(terms[4]), of_check(r#","lease_seconds":1.0,"reserve":true"#));
    }

    #[test]
    fn an_estimate_is_held_for_one_second_to_an_hour_and_only_where_it_is_held() {
        let hold = |terms: &str| {
            let body = format!(r#"{{"key_id":"a","source_ip":"1.2.3.4"{terms}}}"#);
            parse::<WireCheck>(body.as_bytes()).unwrap().hold().map_err(|error| error.pointer)
        };
        let held = |lease, dispatched| Ok(Some(HoldTerms { lease, dispatched }));
        assert_eq!(hold(""), Ok(None));
        assert_eq!(hold(r#","reserve":true"#), held(None, false));
        assert_eq!(hold(r#","reserve":true,"lease_seconds":3600"#), held(Some(3_600_000), false));
        assert_eq!(hold(r#","dispatched":true,"lease_seconds":1"#), held(Some(1_000), true));
        for wrong in ["0", "3601", "18446744073709551615"] {
            let terms = format!(r#","reserve":true,"lease_seconds":{wrong}"#);
            assert_eq!(hold(&terms), Err("/lease_seconds".to_owned()), "{wrong}");
        }
        assert_eq!(hold(r#","lease_seconds":5"#), Err("/lease_seconds".to_owned()));
        assert_eq!(hold(r#","reserve":false,"dispatched":true"#), Err("/dispatched".to_owned()));
    }

    #[test]
    fn a_cost_is_the_callers_own_else_by_the_price_list_else_nothing() {
        let cost = |fields: &str| {
            let record =
                record(&format!(r#"{{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4",{fields}}}"#));
            record.map(|r| (r.cost_nanos, r.price_fallback)).unwrap()
        };
        let split = r#""prompt_tokens":812,"completion_tokens":120"#;
        assert_eq!(cost(&format!(r#""model":"gpt-4.1",{split}"#)), (Some(7_456_000), false));
        assert_eq!(cost(r#""model":"gpt-4.1","tokens_used":932"#), (Some(7_456_000), false));
        assert_eq!(cost(&format!(r#""model":"gpt-4.1","cost_usd":0.0000000015,{split}"#)), (Some(2), false));
        assert_eq!(cost(&format!(r#""model":"new","cost_usd":"0.5",{split}"#)), (Some(500_000_000), false));
        assert_eq!(cost(&format!(r#""model":"new",{split}"#)), (Some(13_980_000), true));
        assert_eq!(cost(r#""model":"gpt-4.1""#), (Some(0), false));
        assert_eq!(cost(split), (None, false), "no model, no price");
        assert_eq!(cost(r#""cost_usd":1"#), (Some(1_000_000_000), false));
    }

    fn with(fields: &str) -> String {
        format!(r#"{{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4","request_id":"r",{fields}}}"#)
    }

    #[test]
    fn input_and_output_tokens_are_other_names_of_prompt_and_completion_tokens() {
        let one = record(&with(r#""input_tokens":7,"output_tokens":3"#)).unwrap();
        let other = record(&with(r#""prompt_tokens":7,"completion_tokens":3.0"#)).unwrap();
        let both = record(&with(r#""prompt_tokens":7,"input_tokens":7.0,"output_tokens":3"#)).unwrap();
        for record in [&one, &other, &both] {
            assert_eq!(
                (record.prompt_tokens, record.completion_tokens, record.tokens),
                (Some(7), Some(3), 10)
            );
            assert_eq!(record.digest, one.digest, "the same in other words is the same");
        }
        let differ = r#""prompt_tokens":7,"input_tokens":8,"completion_tokens":3,"output_tokens":4"#;
        assert_eq!(pointers(&with(differ)), ["/input_tokens", "/output_tokens"]);
    }

    #[test]
    fn the_ordinary_service_tier_is_the_same_by_each_of_its_names_and_an_unknown_one_is_refused() {
        let plain = record(&with(r#""tokens_used":1"#)).unwrap();
        for tier in ["default", "standard"] {
            let named = record(&with(&format!(r#""tokens_used":1,"service_tier":"{tier}""#))).unwrap();
            assert_eq!(named.digest, plain.digest, "{tier}");
        }
        for wrong in ["\"quick\"", "1", "true", "[]"] {
            assert_eq!(pointers(&with(&format!(r#""service_tier":{wrong}"#))), ["/service_tier"], "{wrong}");
        }
        assert_eq!(pointers(&with(r#""latency_ms":1e999"#)), ["/latency_ms"]);
    }

    #[test]
    fn fewer_tokens_used_than_prompt_and_completion_hide_nothing() {
        let tokens = |fields: &str| record(&with(fields)).unwrap().tokens;
        assert_eq!(tokens(r#""tokens_used":0,"prompt_tokens":700,"completion_tokens":300"#), 1000);
        assert_eq!(tokens(r#""tokens_used":1200,"prompt_tokens":700,"completion_tokens":300"#), 1200);
        assert_eq!(tokens(r#""tokens_used":1200.0"#), 1200);
    }

    #[test]
    fn parts_beyond_what_they_are_a_part_of_are_refused() {
        let prompt = r#""prompt_tokens":10,"completion_tokens":5"#;
        for (fields, pointer) in [
            (r#""cached_tokens":4,"cache_write_tokens":7"#, "/cache_write_tokens"),
            (
                r#""cached_tokens":4,"cache_write_tokens":4,"cache_write_1h_tokens":3"#,
                "/cache_write_1h_tokens",
            ),
            (r#""cache_write_1h_tokens":11"#, "/cache_write_1h_tokens"),
            (r#""reasoning_tokens":6"#, "/reasoning_tokens"),
            (r#""images":1000001"#, "/images"),
            (r#""characters":1e13"#, "/characters"),
            (r#""seconds":1000001"#, "/seconds"),
            (r#""cache_write_tokens":0.5"#, "/cache_write_tokens"),
        ] {
            assert_eq!(pointers(&with(&format!("{prompt},{fields}"))), [pointer], "{fields}");
        }
        let all =
            r#""cached_tokens":4,"cache_write_tokens":4,"cache_write_1h_tokens":2,"reasoning_tokens":5"#;
        record(&with(&format!("{prompt},{all}"))).unwrap();
    }

    #[test]
    fn each_part_is_priced_at_its_own_price_and_the_model_has_one_identity() {
        let list = "[fallback]\ninput = 9\noutput = 9\n[[prices]]\nmodel = 'm'\ninput = 1\ncached_input = 0.1\n\
            cache_write_5m = 2\ncache_write_1h = 3\noutput = 10\nreasoning = 20\nper_request = 0.5\nper_image = 1\n\
            per_second = 0.001\nper_million_characters = 4\nbatch = { input = 0.5 }\n";
        let prices = Arc::new(Prices::of(list).unwrap());
        let intake = Intake::replay(Peppers::parse("0123456789abcdef0123").unwrap(), prices);
        let of = |fields: &str| intake.record(parse(with(fields).as_bytes()).unwrap(), NOW).unwrap();
        let tokens = r#""model":"openai/m-2025-04-14","input_tokens":100,"output_tokens":50,"cached_tokens":10,
            "cache_write_tokens":20,"cache_write_1h_tokens":30,"reasoning_tokens":40"#;
        let full = of(&format!(r#"{tokens},"images":2,"seconds":1.5,"characters":500"#));
        let nanos = 40_000 + 1_000 + 40_000 + 90_000 + 100_000 + 800_000;
        let others = 500_000_000 + 2_000_000_000 + 1_500_000 + 2_000_000;
        assert_eq!(full.cost_nanos, Some(nanos + others));
        let batch = of(&format!(r#"{tokens},"service_tier":"batch""#));
        assert_eq!(batch.cost_nanos, Some(nanos + 500_000_000 - 20_000));
        let paid = of(r#""model":"m-latest","cost_usd":1"#);
        for record in [&full, &batch, &paid] {
            assert_eq!(record.counted_model().map(|name| &**name), Some("m"));
        }
        assert_eq!(of(r#""model":"openai/new""#).counted_model().map(|name| &**name), Some("openai/new"));
    }

    #[test]
    fn more_from_the_cache_than_was_asked_is_refused() {
        for fields in [
            r#""prompt_tokens":10,"cached_tokens":11"#,
            r#""tokens_used":30,"prompt_tokens":10,"completion_tokens":20,"cached_tokens":11"#,
            r#""tokens_used":30,"completion_tokens":20,"cached_tokens":11"#,
            r#""cached_tokens":1"#,
        ] {
            assert_eq!(pointers(&with(fields)), ["/cached_tokens"], "{fields}");
        }
        record(&with(r#""prompt_tokens":10,"cached_tokens":10"#)).unwrap();
        record(&with(r#""tokens_used":10,"cached_tokens":10"#)).unwrap();
    }

    #[test]
    fn a_request_costs_what_its_model_cost_at_its_own_time() {
        let shelf = tempfile::tempdir().unwrap();
        let path = shelf.path().join("prices.toml");
        let list = "[fallback]\ninput = 9\noutput = 9\n\
            [[prices]]\nmodel = 'm'\ninput = 1\noutput = 1\n\
            [[prices]]\nmodel = 'm'\nfrom = 2026-03-02\ninput = 2\noutput = 2\n";
        std::fs::write(&path, list).unwrap();
        let prices = Arc::new(Prices::open(Some(&path)).unwrap());
        let peppers = || Peppers::parse("0123456789abcdef0123").unwrap();
        let live = Intake::live(peppers(), prices.clone(), 300_000);
        let replay = Intake::replay(peppers(), prices);
        let record = |intake: &Intake, time: &str| {
            let json = format!(
                r#"{{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4","model":"m","tokens_used":1{time}}}"#
            );
            intake.record(parse(json.as_bytes()).unwrap(), NOW).unwrap()
        };
        let before = r#","timestamp":"2026-03-01T23:59:59.999Z""#;
        let after = r#","timestamp":"2026-03-02T00:00:00Z""#;
        for intake in [&live, &replay] {
            assert_eq!(record(intake, before).cost_nanos, Some(1_000));
            assert_eq!(record(intake, after).cost_nanos, Some(2_000));
            assert_eq!(record(intake, "").cost_nanos, Some(2_000), "now");
        }
        assert!(record(&live, before).late, "late, and still at its own price");
    }

    #[test]
    fn bad_fields_are_each_named() {
        assert_eq!(pointers(r#"{"endpoint":"/x","source_ip":"1.2.3.4"}"#), ["/api_key"]);
        assert_eq!(
            pointers(r#"{"api_key":"a","key_id":"b","endpoint":"/x","source_ip":"1.2.3.4"}"#),
            ["/key_id"]
        );
        assert_eq!(pointers(r#"{"api_key":"a","source_ip":"1.2.3.4"}"#), ["/endpoint"]);
        assert_eq!(pointers(r#"{"api_key":"a","endpoint":"/x","source_ip":"1.2.3"}"#), ["/source_ip"]);
        assert_eq!(
            pointers(r#"{"api_key":"a","endpoint":"/x","source_ip":"1.2.3.4","tokens":1}"#),
            ["/tokens"]
        );
        let longest = "u".repeat(128);
        assert_eq!(
            record(&with(&format!(r#""user":"{longest}""#))).unwrap().user.as_deref(),
            Some(&*longest)
        );
        for user in [format!("{longest}u"), String::new()] {
            assert_eq!(pointers(&with(&format!(r#""user":"{user}""#))), ["/user"]);
        }
        assert_eq!(
            pointers(r#"{"api_key":"a","endpoint":"/x","source_ip":"1.2.3.4","tokens_used":-1}"#),
            ["/tokens_used"]
        );
        assert_eq!(
            pointers(
                r#"{"api_key":"a","endpoint":"/x","source_ip":"1.2.3.4","timestamp":"2026-03-02T09:20:00Z"}"#
            ),
            ["/timestamp"]
        );
    }

    #[test]
    fn an_error_says_in_plain_words_what_a_number_must_be() {
        let detail = |field: &str| {
            let json = format!(r#"{{"api_key":"a","endpoint":"/x","source_ip":"1.2.3.4",{field}}}"#);
            match record(&json).unwrap_err() {
                InputError::Fields(errors) => errors[0].detail.clone(),
                InputError::Syntax(detail) => detail,
            }
        };
        assert_eq!(detail(r#""tokens_used":-1"#), "must be a whole number, not negative");
        assert_eq!(detail(r#""latency_ms":"fast""#), "must be a number");
    }

    #[test]
    fn an_error_never_repeats_a_value() {
        for json in [
            r#"{"api_key":{"x":"sk-live-secret"},"endpoint":"/x","source_ip":"1.2.3.4"}"#,
            r#"{"api_key":"a","endpoint":"/x","source_ip":"sk-live-secret"}"#,
            r#"{"api_key":"a","endpoint":"/x","source_ip":"1.2.3.4","tokens_used":"sk-live-secret"}"#,
            r#"{"sk-live-secret-as-long-as-they-come":"a","endpoint":"/x","source_ip":"1.2.3.4"}"#,
        ] {
            assert!(!format!("{:?}", record(json).unwrap_err()).contains("sk-live"), "{json}");
        }
    }

    #[test]
    fn old_records_are_late_and_replay_takes_any_time() {
        let json =
            r#"{"key_id":"a","endpoint":"/x","source_ip":"1.2.3.4","timestamp":"2026-03-01T00:00:00Z"}"#;
        assert!(record(json).unwrap().late);
        let replay = Intake::replay(Peppers::parse("0123456789abcdef0123").unwrap(), flat_example());
        assert!(!replay.record(parse(json.as_bytes()).unwrap(), NOW).unwrap().late);
    }

    #[test]
    fn syntax_errors_and_broken_text_are_distinguished_from_bad_fields() {
        for bytes in [&b"{"[..], b"", b"{\"api_key\":\"\xff\"}", b"NaN", b"{\"tokens_used\":NaN}"] {
            assert!(matches!(parse::<WireRecord>(bytes), Err(InputError::Syntax(_))), "{bytes:?}");
        }
    }
}
