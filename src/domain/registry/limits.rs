//! Limits as people write them, and as they are applied to a request.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::value::RawValue;

use super::wrong::Wrong;
use crate::domain::{
    HOUR, Millis, SECOND,
    calendar::Zone,
    counter::{Counter, CounterCharge},
    limit::{LONGEST_BLOCK, Limit, LimitMode, MAX_MARKS, Scope, Span, WHOLE_PERCENT},
    model::{LONGEST_MODEL, ModelName},
    money::{NANO_PLACES, NANOS_PER_DOLLAR, Usd, decimal},
    price::{ReportedTokens, Tokens},
    record::Record,
    stable_hash,
    subject::Subject,
    window::Unit,
};

/// Most limits of one plan or project, and on everything.
pub const MAX_LIMITS: usize = 32;
/// The most that a limit may allow: what Redis's scripts, which count in binary fractions, still count exactly.
const MOST: u64 = 9_000_000 * NANOS_PER_DOLLAR;

/// An amount as it was written, digit by digit: whole, or a decimal (in quotes or not).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// A number without a point.
    Whole(u64),
    /// A decimal, or a number in quotes, as it was written.
    Decimal(String),
}

impl Amount {
    /// In the unit's own parts (nano-dollars), or what it must be.
    fn of(&self, unit: Unit) -> Result<u64, String> {
        let whole;
        let text = match self {
            Self::Whole(number) => {
                whole = number.to_string();
                &whole
            }
            Self::Decimal(text) => text,
        };
        let places = if unit == Unit::CostUsd { NANO_PLACES } else { 0 };
        let read = decimal(text, places).ok().filter(|d| d.exact && d.units <= MOST);
        read.map(|d| d.units).ok_or_else(|| match unit {
            Unit::CostUsd => {
                format!("must be US dollars, from 0 to {}, with at most 9 decimals", Usd(MOST))
            }
            _ => format!("must be a whole number from 0 to {MOST}"),
        })
    }

    fn written(units: u64, unit: Unit) -> Self {
        if unit == Unit::CostUsd { Self::Decimal(Usd(units).to_string()) } else { Self::Whole(units) }
    }

    /// US dollars, in nano-dollars.
    pub(super) fn nanos(&self) -> Result<u64, String> {
        self.of(Unit::CostUsd)
    }

    /// Nano-dollars, as they are shown.
    pub(super) fn dollars(nanos: u64) -> Self {
        Self::written(nanos, Unit::CostUsd)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(number) => serializer.serialize_u64(*number),
            Self::Decimal(text) => serializer.serialize_str(text),
        }
    }
}

/// Reads JSON, whose numbers are decimals: none of them becomes a binary fraction on the way.
impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        if let Ok(number) = text.parse() {
            return Ok(Self::Whole(number));
        }
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        if digits.len() > 64 || digits.starts_with(['t', 'f', 'n', '[', '{']) {
            return Err(D::Error::custom("expected a number, or one in quotes"));
        }
        Ok(Self::Decimal(digits.to_owned()))
    }
}

/// A limit: at most so much of a unit in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitBody {
    /// What is counted: requests, tokens, or US dollars.
    pub unit: Unit,
    /// `1s` to `30d` slides; `hour`, `day`, `week` and `month` follow the calendar.
    #[schema(example = "month")]
    pub window: String,
    /// The most: a whole number, or for `cost_usd` a decimal, in quotes or not; it is shown in quotes.
    #[schema(value_type = serde_json::Value, example = "250.00")]
    pub limit: Amount,
    /// Only requests to models of this name or pattern (`claude-*`), counted together; absent: every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 128)]
    pub model: Option<String>,
    /// `enforce` refuses what does not fit; `shadow` counts and tells what would have been refused, and refuses
    /// nothing.
    #[serde(default, skip_serializing_if = "LimitMode::enforces")]
    #[schema(required = false)]
    pub mode: LimitMode,
    /// At how much of it, in per cent, an event tells of its use: at most 10, ascending. Absent: 50, 80 and 100 for US
    /// dollars of a calendar period, and none for anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 10, example = json!([50, 80, 100]))]
    pub alert_at: Option<Vec<u64>>,
    /// Seconds for which everything that the limit applies to is refused, from its first refusal or overdraft on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub block_seconds: Option<u64>,
}

impl From<&Limit> for LimitBody {
    fn from(limit: &Limit) -> Self {
        Self {
            unit: limit.unit,
            window: limit.span.to_string(),
            limit: Amount::written(limit.most, limit.unit),
            model: limit.model.as_deref().map(str::to_owned),
            mode: limit.mode,
            alert_at: limit.alert_at.as_ref().map(|marks| marks.iter().copied().map(u64::from).collect()),
            block_seconds: limit.block.map(|length| length.unsigned_abs() / SECOND.unsigned_abs()),
        }
    }
}

/// Reads limits that stand at `pointer`; notes all that is wrong with them.
pub(super) fn read(bodies: &[LimitBody], pointer: &str, wrong: &mut Vec<Wrong>) -> Vec<Limit> {
    if bodies.len() > MAX_LIMITS {
        wrong.push(Wrong::new(pointer, format!("must have at most {MAX_LIMITS} entries")));
        return Vec::new();
    }
    let mut limits: Vec<Limit> = Vec::with_capacity(bodies.len());
    for (index, body) in bodies.iter().enumerate() {
        let Some(limit) = read_one(body, &format!("{pointer}/{index}"), wrong) else { continue };
        match limits.iter().position(|earlier| same_count(earlier, &limit)) {
            Some(earlier) => wrong.push(Wrong::new(
                format!("{pointer}/{index}"),
                format!("counts the same as {pointer}/{earlier}; leave one of them out"),
            )),
            None => limits.push(limit),
        }
    }
    limits
}

/// Whether two limits on one subject count the same: then only the smaller one would mean anything.
pub(super) fn same_count(a: &Limit, b: &Limit) -> bool {
    (a.unit, a.span, &a.model) == (b.unit, b.span, &b.model)
}

fn read_one(body: &LimitBody, pointer: &str, wrong: &mut Vec<Wrong>) -> Option<Limit> {
    let mut noted = |field: &str, hint: String| wrong.push(Wrong::new(format!("{pointer}/{field}"), hint));
    let span = body.window.parse::<Span>().map_err(|hint| noted("window", hint.to_string()));
    let most = body.limit.of(body.unit).map_err(|hint| noted("limit", hint));
    let model = body.model.as_deref().map(|text| model(text).map(|name| name.text().into())).transpose();
    let model = model.map_err(|hint| noted("model", hint));
    let alert_at = body.alert_at.as_deref().map(marks).transpose().map_err(|hint| noted("alert_at", hint));
    let block = body.block_seconds.map(block).transpose().map_err(|hint| noted("block_seconds", hint));
    let (span, most, model) = (span.ok()?, most.ok()?, model.ok()?);
    let (alert_at, block) = (alert_at.ok()?, block.ok()?);
    Some(Limit { model, mode: body.mode, alert_at, block, ..Limit::new(body.unit, span, most) })
}

/// Reads the length of a block, in milliseconds.
fn block(seconds: u64) -> Result<Millis, String> {
    let length = Millis::try_from(seconds).ok().filter(|_| (1..=LONGEST_BLOCK).contains(&seconds));
    let length = length.map(|seconds| seconds * SECOND);
    length.ok_or_else(|| format!("must be a whole number of seconds from 1 to {LONGEST_BLOCK}"))
}

/// Reads marks, in per cent.
fn marks(written: &[u64]) -> Result<Arc<[u8]>, String> {
    let percent =
        |mark: &u64| u8::try_from(*mark).ok().filter(|percent| (1..=WHOLE_PERCENT).contains(percent));
    let read: Option<Arc<[u8]>> = written.iter().map(percent).collect();
    let ascends = |marks: &[u8]| marks.windows(2).all(|pair| pair[0] < pair[1]);
    read.filter(|marks| marks.len() <= MAX_MARKS && ascends(marks)).ok_or_else(|| {
        format!("must be at most {MAX_MARKS} whole numbers from 1 to {WHOLE_PERCENT}, ascending, each once")
    })
}

/// Reads the name or pattern of a model.
pub(super) fn model(text: &str) -> Result<ModelName, String> {
    if !(1..=LONGEST_MODEL).contains(&text.len()) {
        return Err(format!("must be 1 to {LONGEST_MODEL} bytes long"));
    }
    ModelName::parse(text).map_err(|error| format!("must be a model, or a pattern such as claude-*: {error}"))
}

/// A limit in a time zone, made ready to be applied.
#[derive(Debug)]
pub struct Rule {
    /// What it allows, of which unit, over which span.
    pub limit: Limit,
    /// The zone in which its calendar periods begin.
    pub zone: Zone,
    name: Option<ModelName>,
    /// [`Counter::id`] of it, on any scope.
    id: u64,
}

/// Rules that belong together.
pub(super) type Rules = Arc<[Arc<Rule>]>;

/// Makes limits ready to be applied in a time zone.
pub(super) fn rules(limits: &[Limit], zone: &Zone) -> Rules {
    let rule = |limit: &Limit| Rule {
        name: limit.model.as_deref().and_then(|text| ModelName::parse(text).ok()),
        id: Counter::of(&Scope::Everything, limit, zone).id,
        zone: *zone,
        limit: limit.clone(),
    };
    limits.iter().map(|limit| Arc::new(rule(limit))).collect()
}

impl Rule {
    /// Whether it is about this request: about its model, by whatever name it was called.
    pub fn covers(&self, record: &Record) -> bool {
        self.name.as_ref().is_none_or(|name| record.is_of(name))
    }

    /// Whether one of these rules counts the same.
    pub(super) fn is_among(&self, rules: &Rules) -> bool {
        rules.iter().any(|rule| rule.id == self.id)
    }

    /// The rule on a scope, of which a request may use `share` thousandths.
    pub(super) fn on(self: &Arc<Self>, scope: &Scope, share: u16) -> Applied {
        let most = u128::from(self.limit.most) * u128::from(share) / 1000;
        Applied {
            counter: Counter { scope: scope.clone(), id: self.id },
            most: u64::try_from(most).unwrap_or(self.limit.most),
            rule: self.clone(),
            part: None,
        }
    }
}

/// A limit that applies to a request.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Where it is counted.
    pub counter: Counter,
    /// The most that may be counted there with this request: the limit, or the share of it that the priority has.
    pub most: u64,
    /// The limit itself, and its zone.
    pub rule: Arc<Rule>,
    /// The part of the key's traffic that it is on, by its name; `None` for all of the scope's.
    pub part: Option<Arc<str>>,
}

impl Applied {
    /// The limit of no request an hour on a part of a key's traffic that is stopped: its number and its name.
    pub fn on_part(key: &Subject, (part, name): (u32, Arc<str>)) -> Self {
        let limit = Limit::new(Unit::Requests, Span::Sliding(HOUR), 0);
        let id = stable_hash(format!("part\n{part:08x}").as_bytes());
        let rule = Rule { limit, zone: Zone::UTC, name: None, id };
        let counter = Counter { scope: Scope::Subject(key.clone()), id };
        Self { counter, most: 0, rule: Arc::new(rule), part: Some(name) }
    }

    /// When the calendar period ends that a moment is in.
    pub fn period_ends(&self, now: Millis) -> Millis {
        self.rule.limit.span.counts_until(now, &self.rule.zone)
    }

    /// Whether it is on this subject.
    pub fn is_on(&self, subject: &Subject) -> bool {
        matches!(&self.counter.scope, Scope::Subject(on) if on == subject)
    }

    /// Whether more of it is used, or would be with what did not fit, than a request may use: what it refuses, or would
    /// refuse as a shadow.
    pub fn is_exceeded_by(&self, used: u64) -> bool {
        used > self.most
    }

    /// What a request charges to it; a shadow admits any amount.
    pub fn charge(&self, record: &Record, now: Millis) -> CounterCharge {
        let Rule { limit, zone, .. } = &*self.rule;
        CounterCharge {
            counter: self.counter.clone(),
            amount: amount(record, limit.unit),
            most: if limit.mode.is_shadow() { u64::MAX } else { self.most },
            until: limit.span.counts_until(now, zone),
            block: None,
        }
    }

    /// The block of a limit that has one, to be charged behind it; a shadow blocks nothing.
    pub fn block(&self, now: Millis) -> Option<CounterCharge> {
        let limit = &self.rule.limit;
        let length = limit.block.filter(|_| limit.mode.enforces())?;
        Some(CounterCharge::of_block((&self.counter, self.most), length, now))
    }
}

/// How much of a unit a request uses. Prompt and answer are told apart as they are for its price.
pub fn amount(record: &Record, unit: Unit) -> u64 {
    let split = || {
        let told = ReportedTokens {
            used: Some(record.tokens),
            prompt: record.prompt_tokens,
            completion: record.completion_tokens,
            ..ReportedTokens::default()
        };
        Tokens::of(told).unwrap_or_default()
    };
    match unit {
        Unit::Requests => u64::from(!record.is_part),
        Unit::Tokens => record.tokens,
        Unit::InputTokens | Unit::OutputTokens if record.of_either_kind => record.tokens,
        Unit::InputTokens => split().input,
        Unit::OutputTokens => split().output,
        Unit::CostUsd => record.cost().nanos,
    }
}
