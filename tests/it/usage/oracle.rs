//! Random records, and what they used by plain addition: it shares no arithmetic with the service.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use keyward::{
    domain::{
        DAY, HOUR, MINUTE, Millis, SECOND,
        event::format_millis,
        record::Record,
        usage::{Bucket, Grouping, Totals, UsageKey},
    },
    intake::{Intake, Peppers, WireRecord, parse},
    pricing::Prices,
};
use serde_json::json;

/// 2025-10-09, just before a day and an hour end.
const START: Millis = 1_760_054_000_000;
const LATE: Millis = 5 * MINUTE;
/// Prices in pico-dollars per token: prompt, cached, answer. The last is the fallback's.
const PRICES: [(&str, [u128; 3]); 4] = [
    ("small", [150_000, 75_000, 600_000]),
    ("tiny", [333, 111, 777]),
    ("big", [8_000_000, 2_000_001, 24_000_000]),
    ("nobody-knows", [15_000_000, 15_000_000, 15_000_000]),
];
const LIST: &str = "[fallback]\ninput = 15\noutput = 15\n\
    [[prices]]\nmodel = 'small'\ninput = 0.15\ncached_input = 0.075\noutput = 0.6\n\
    [[prices]]\nmodel = 'tiny'\ninput = 0.000333\ncached_input = 0.000111\noutput = 0.000777\n\
    [[prices]]\nmodel = 'big'\ninput = 8\ncached_input = 2.000001\noutput = 24\n";

/// What a record says, as plain numbers; `None` for a retry.
pub(super) type Fact = Option<(Millis, [Option<&'static str>; 3], Totals)>;

/// Somebody's traffic.
pub(super) struct Life {
    state: u64,
    intake: Intake,
    name: u64,
    sent: u64,
    /// The time.
    pub now: Millis,
}

impl Life {
    pub(super) fn new(seed: u64, shelf: &Path) -> Self {
        let file = shelf.join(format!("prices-{seed}.toml"));
        std::fs::write(&file, LIST).unwrap();
        let prices = Arc::new(Prices::open(Some(&file)).unwrap());
        let intake = Intake::live(Peppers::parse("0123456789abcdef0123").unwrap(), prices, LATE);
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), intake, name: seed, sent: 0, now: START }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % n
    }

    fn one_of(&mut self, names: &[&'static str]) -> &'static str {
        names[self.below(names.len() as u64) as usize]
    }

    /// The next records, some of them sent twice.
    pub(super) fn records(&mut self, count: usize) -> (Vec<Record>, Vec<Fact>) {
        let (mut records, mut facts) = (Vec::new(), Vec::new());
        self.now += (self.below(3 * 1_000) as Millis) + SECOND;
        while records.len() < count {
            let (record, fact) = self.record();
            let again = self.below(20) == 0;
            records.push(record.clone());
            facts.push(fact);
            if again {
                records.push(record);
                facts.push(None);
            }
        }
        (records, facts)
    }

    fn record(&mut self) -> (Record, Fact) {
        self.sent += 1;
        let key = self.one_of(&["a", "b", "c", "=d", "e,\"f\""]);
        let project = Some(self.one_of(&["p", "q", "ü"])).filter(|_| self.below(4) > 0);
        let (model, price) = PRICES[self.below(4) as usize];
        let model = Some(model).filter(|_| self.below(8) > 0);
        let (prompt, completion, reasoning) =
            (self.below(900), self.below(300), self.below(3) * self.below(50));
        let cached = if self.below(3) == 0 { self.below(prompt + 1) } else { 0 };
        let status = [200, 200, 200, 200, 401, 404, 429, 500][self.below(8) as usize];
        let refused_before = self.below(30) == 0;
        let mut body = json!({
            "request_id": format!("{}-{}", self.name, self.sent), "key_id": key, "endpoint": "/v1/chat",
            "source_ip": "203.0.113.7", "prompt_tokens": prompt, "completion_tokens": completion,
            "tokens_used": prompt + completion + reasoning, "cached_tokens": cached, "response_status": status,
        });
        let mut set = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("project_id", project.map(Into::into));
        set("model", model.map(Into::into));
        set("refused_by", refused_before.then(|| "keyward".into()));
        let own = self.below(2_000_000_000);
        let own = Some(own).filter(|_| self.below(5) == 0);
        set(
            "cost_usd",
            own.map(|nanos| format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000).into()),
        );
        let stamped = match self.below(6) {
            0 => Some(self.now - LATE - 1 - self.below(3 * 60 * 60_000) as Millis),
            1 => Some(self.now - LATE - 1 - (self.below(40 * 24) as Millis) * HOUR),
            2 => Some(self.now - self.below(60_000) as Millis),
            _ => None,
        };
        set("timestamp", stamped.map(|at| format_millis(at).into()));
        let cost = match (own, model) {
            (Some(nanos), _) => u128::from(nanos),
            (None, None) => 0,
            (None, Some(_)) => {
                let [input, from_cache, output] = price;
                let pico = u128::from(prompt - cached) * input
                    + u128::from(cached) * from_cache
                    + u128::from(completion + reasoning) * output;
                pico / 1_000 + u128::from(pico % 1_000 >= 500)
            }
        };
        let late = stamped.filter(|at| *at < self.now - LATE);
        let made = Totals {
            requests: 1,
            refused: 0,
            client_errors: u64::from((400..500).contains(&status)),
            server_errors: u64::from(status >= 500),
            input_tokens: prompt,
            cached_tokens: cached,
            output_tokens: completion + reasoning,
            tokens: prompt + completion + reasoning,
            cost_nanos: cost as u64,
        };
        let totals = if refused_before { Totals { refused: 1, ..Totals::default() } } else { made };
        let wire: WireRecord = parse(&serde_json::to_vec(&body).unwrap()).unwrap();
        let record = self.intake.record(wire, self.now).unwrap();
        (record, Some((late.unwrap_or(self.now), [project, model, Some(key)], totals)))
    }
}

/// Every record as it was.
#[derive(Default)]
pub(super) struct Oracle(Vec<(Millis, [Option<&'static str>; 3], Totals)>);

impl Oracle {
    /// Counts a record with what was decided about it.
    pub(super) fn count(&mut self, fact: Fact, refused: bool) {
        if let Some((at, names, totals)) = fact {
            let refused = totals.refused.max(u64::from(refused));
            self.0.push((at, names, Totals { refused, ..totals }));
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether there was something of everything.
    pub(super) fn is_lively(&self) {
        let refused = self.0.iter().filter(|(_, _, totals)| totals.refused > 0).count();
        assert!((self.0.len() / 20..self.0.len()).contains(&refused), "{refused} refused");
        assert!(self.0.len() > 18_000);
    }

    /// The rows that there must be.
    pub(super) fn rows(
        &self,
        bucket: Bucket,
        group: Grouping,
        now: Millis,
    ) -> BTreeMap<(Millis, UsageKey), Totals> {
        let (length, days) = match bucket {
            Bucket::Minute => (MINUTE, 2),
            Bucket::Hour => (HOUR, 35),
            Bucket::Day => (DAY, 400),
        };
        let mut rows: BTreeMap<(Millis, UsageKey), Totals> = BTreeMap::new();
        for (at, [project, model, key], totals) in &self.0 {
            let start = at - at % length;
            if start + length + days * DAY <= now {
                continue;
            }
            let name = |asked: bool, name: &Option<&str>| name.filter(|_| asked).map(Arc::from);
            let key = UsageKey {
                project: name(group.project, project),
                model: name(group.model, model),
                key: name(group.key, key),
                ..UsageKey::default()
            };
            let row = rows.entry((start, key)).or_default();
            row.requests += totals.requests;
            row.refused += totals.refused;
            row.client_errors += totals.client_errors;
            row.server_errors += totals.server_errors;
            row.input_tokens += totals.input_tokens;
            row.cached_tokens += totals.cached_tokens;
            row.output_tokens += totals.output_tokens;
            row.tokens += totals.tokens;
            row.cost_nanos += totals.cost_nanos;
        }
        rows
    }
}
