//! Plans, projects and keys as people write them: one form over the API, in the configuration and in the store.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    limits::{self, Amount, LimitBody, MAX_LIMITS},
    wrong::Wrong,
};
use crate::domain::{
    Millis, address,
    calendar::{Calendar, Zone, format_millis, parse_millis},
    key::{KEY_ID_FORM, looks_secret, valid_key_id},
    limit::{Limit, Priority, Span},
    subject::valid_id,
    window::Unit,
};

/// Most entries of each list of what a key may.
pub const MAX_ALLOWED: usize = 64;
/// Most bytes of a label or an owner.
const MAX_TEXT: usize = 200;

/// Something in the registry.
#[derive(Debug, Clone)]
pub struct Held<T> {
    /// The entry as it was written, in its one spelling.
    pub body: Arc<T>,
    /// When it was put; `None`: it is the configuration's.
    pub updated: Option<Millis>,
}

/// A plan: limits for each key that has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// At most 32, each counted per key.
    #[serde(default)]
    #[schema(max_items = 32)]
    pub limits: Vec<LimitBody>,
}

/// A project: limits on all its keys together, and what its keys have in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Project {
    /// At most 32, each counted over all requests of the project.
    #[schema(max_items = 32)]
    pub limits: Vec<LimitBody>,
    /// US dollars that it may spend per calendar month: the same as a limit of `cost_usd` with the window `month`.
    #[schema(value_type = Option<serde_json::Value>, example = "250.00")]
    pub budget_usd: Option<Amount>,
    /// The plan of those of its keys that have none of their own.
    pub plan: Option<String>,
    /// How soon its requests are refused as limits fill up; null: the whole of its own limits is for them.
    pub priority: Option<Priority>,
    /// By whose calendar its days, weeks and months begin; null: UTC.
    #[schema(example = "Asia/Tokyo")]
    pub timezone: Option<String>,
    /// Who answers for it.
    #[schema(max_length = 200)]
    pub owner: Option<String>,
}

/// A registered key: where it belongs, and what it may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeyEntry {
    /// Its project, whatever its records say; null: the one that they say.
    pub project: Option<String>,
    /// Its plan; null: that of its project, else the default one.
    pub plan: Option<String>,
    /// Limits on it, beside those of its plan and project; one that counts the same as a limit of its plan takes that
    /// one's place. At most 32.
    #[schema(max_items = 32)]
    pub limits: Vec<LimitBody>,
    /// US dollars per calendar month: a limit of `cost_usd`.
    #[schema(value_type = Option<String>, example = "25.00")]
    pub budget_usd: Option<Amount>,
    /// What people call it.
    #[schema(max_length = 200)]
    pub label: Option<String>,
    /// Addresses and prefixes it may be used from; empty: any.
    #[schema(max_items = 64, example = json!(["203.0.113.0/24"]))]
    pub allowed_networks: Vec<String>,
    /// Countries (ISO 3166-1 alpha-2) it may be used from; empty: any. Where a request comes from must be known then.
    #[schema(max_items = 64, example = json!(["SG", "DE"]))]
    pub allowed_countries: Vec<String>,
    /// Models, or patterns of them, it may be used for; empty: any. A request that names none is not concerned.
    #[schema(max_items = 64, example = json!(["gpt-4.1*"]))]
    pub allowed_models: Vec<String>,
    /// From when it is refused; null: never.
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    /// Whether it is a canary: nobody may use it, and whoever does is told of as critical and banned by their address.
    #[serde(skip_serializing_if = "is_false")]
    pub canary: bool,
    /// The public id of the key that was issued in its place; null: none was. One that has it is not rotated again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 256)]
    pub replaced_by: Option<String>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Plan {
    /// In its one spelling.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn checked(self) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let read = limits::read(&self.limits, "/limits", &mut wrong);
        good(Self { limits: read.iter().map(LimitBody::from).collect() }, wrong)
    }

    pub(super) fn limits(&self) -> Vec<Limit> {
        limits::read(&self.limits, "", &mut Vec::new())
    }
}

impl Project {
    /// In its one spelling. Whether its plan exists is another question.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn checked(self) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let (read, budget) = limits_and_budget(&self.limits, self.budget_usd.as_ref(), &mut wrong);
        let zone = note(self.timezone.as_deref().map(zone).transpose(), "/timezone", &mut wrong).flatten();
        name(self.plan.as_deref(), "/plan", &mut wrong);
        text(self.owner.as_deref(), "/owner", &mut wrong);
        let checked = Self {
            limits: read.iter().map(LimitBody::from).collect(),
            budget_usd: budget.map(Amount::dollars),
            timezone: zone.map(|zone| zone.name().to_owned()),
            ..self
        };
        good(checked, wrong)
    }

    /// Its limits, with its budget.
    pub(super) fn limits(&self) -> Vec<Limit> {
        with_budget(&self.limits, self.budget_usd.as_ref())
    }

    pub(super) fn zone(&self) -> Zone {
        self.timezone.as_deref().and_then(|name| zone(name).ok()).unwrap_or(Zone::UTC)
    }
}

impl KeyEntry {
    /// In its one spelling. Whether its project and plan exist is another question.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn checked(self) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        name(self.project.as_deref(), "/project", &mut wrong);
        name(self.plan.as_deref(), "/plan", &mut wrong);
        text(self.label.as_deref(), "/label", &mut wrong);
        if self.replaced_by.as_deref().is_some_and(|id| !valid_key_id(id) || looks_secret(id).is_some()) {
            wrong.push(Wrong::new("/replaced_by", KEY_ID_FORM));
        }
        let (read, budget) = limits_and_budget(&self.limits, self.budget_usd.as_ref(), &mut wrong);
        let networks = each(&self.allowed_networks, "/allowed_networks", network, &mut wrong);
        let countries = each(&self.allowed_countries, "/allowed_countries", country, &mut wrong);
        let models = each(&self.allowed_models, "/allowed_models", limits::model, &mut wrong);
        let expires = note(self.expires.as_deref().map(moment).transpose(), "/expires", &mut wrong).flatten();
        let checked = Self {
            limits: read.iter().map(LimitBody::from).collect(),
            budget_usd: budget.map(Amount::dollars),
            allowed_networks: networks.iter().map(IpNet::to_string).collect(),
            allowed_countries: countries
                .iter()
                .map(|code| String::from_utf8_lossy(code).into_owned())
                .collect(),
            allowed_models: models.iter().map(|name| name.text().to_owned()).collect(),
            expires: expires.map(format_millis),
            ..self
        };
        good(checked, wrong)
    }

    /// Its own limits, with its budget.
    pub(super) fn limits(&self) -> Vec<Limit> {
        with_budget(&self.limits, self.budget_usd.as_ref())
    }

    pub(super) fn networks(&self) -> Vec<IpNet> {
        self.allowed_networks.iter().filter_map(|text| network(text).ok()).collect()
    }

    pub(super) fn countries(&self) -> Vec<[u8; 2]> {
        self.allowed_countries.iter().filter_map(|text| country(text).ok()).collect()
    }

    /// From when the key is refused, milliseconds since 1970.
    pub fn expiry(&self) -> Option<Millis> {
        self.expires.as_deref().and_then(|text| moment(text).ok())
    }
}

/// Reads limits and a budget in nano-dollars; notes all that is wrong with them.
fn limits_and_budget(
    limits: &[LimitBody],
    budget: Option<&Amount>,
    wrong: &mut Vec<Wrong>,
) -> (Vec<Limit>, Option<u64>) {
    let read = limits::read(limits, "/limits", wrong);
    let budget = note(budget.map(Amount::nanos).transpose(), "/budget_usd", wrong).flatten();
    let same = budget.and_then(|most| read.iter().position(|l| limits::same_count(l, &monthly(most))));
    if let Some(same) = same {
        let hint = format!("is what /limits/{same} says; leave one of them out");
        wrong.push(Wrong::new("/budget_usd", hint));
    }
    if budget.is_some() && read.len() == MAX_LIMITS {
        wrong.push(Wrong::new("/budget_usd", format!("is one limit more than {MAX_LIMITS}")));
    }
    (read, budget)
}

/// Limits that were checked, and a budget as one of them.
fn with_budget(limits: &[LimitBody], budget: Option<&Amount>) -> Vec<Limit> {
    let mut read = limits::read(limits, "", &mut Vec::new());
    read.extend(budget.and_then(|budget| budget.nanos().ok()).map(monthly));
    read
}

fn monthly(nanos: u64) -> Limit {
    Limit::new(Unit::CostUsd, Span::Calendar(Calendar::Month), nanos)
}

fn good<T>(value: T, wrong: Vec<Wrong>) -> Result<T, Vec<Wrong>> {
    if wrong.is_empty() { Ok(value) } else { Err(wrong) }
}

fn note<T>(read: Result<T, String>, pointer: &str, wrong: &mut Vec<Wrong>) -> Option<T> {
    read.map_err(|hint| wrong.push(Wrong::new(pointer, hint))).ok()
}

fn each<T>(
    texts: &[String],
    pointer: &str,
    read: impl Fn(&str) -> Result<T, String>,
    wrong: &mut Vec<Wrong>,
) -> Vec<T> {
    if texts.len() > MAX_ALLOWED {
        wrong.push(Wrong::new(pointer, format!("must have at most {MAX_ALLOWED} entries")));
        return Vec::new();
    }
    let numbered = texts.iter().enumerate();
    numbered.filter_map(|(n, text)| note(read(text), &format!("{pointer}/{n}"), wrong)).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    address::parse_network(text).map_err(|error| error.to_string())
}

fn country(text: &str) -> Result<[u8; 2], String> {
    let code: Option<[u8; 2]> = text.as_bytes().try_into().ok();
    let code = code.filter(|code| code.iter().all(u8::is_ascii_alphabetic));
    code.map(|code| code.map(|b| b.to_ascii_uppercase()))
        .ok_or_else(|| "must be a country of two letters (ISO 3166-1) such as SG".to_owned())
}

fn moment(text: &str) -> Result<Millis, String> {
    parse_millis(text)
        .map_err(|_| "must be an RFC 3339 time such as 2027-01-01T00:00:00Z, or null".to_owned())
}

fn zone(name: &str) -> Result<Zone, String> {
    Zone::named(name).ok_or_else(|| "must be a time zone of the IANA database such as Asia/Tokyo".to_owned())
}

fn name(text: Option<&str>, pointer: &str, wrong: &mut Vec<Wrong>) {
    if text.is_some_and(|text| !valid_id(text)) {
        wrong.push(Wrong::new(pointer, "must be 1 to 128 bytes of printable text without spaces, or null"));
    }
}

fn text(text: Option<&str>, pointer: &str, wrong: &mut Vec<Wrong>) {
    if text.is_some_and(|text| text.len() > MAX_TEXT || text.chars().any(char::is_control)) {
        wrong.push(Wrong::new(pointer, format!("must be one line of at most {MAX_TEXT} bytes, or null")));
    }
}
