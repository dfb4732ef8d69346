//! `[plans]`, `[projects]` and `[[limits]]`: the bodies of the API, written in TOML. They are read as the API reads them,
//! so that an amount of money is never a binary fraction, and an error says the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use toml::{Table, Value};

use super::Config;
use crate::{
    domain::{
        registry::{Configured, LimitBody, Plan, Project, Shares, Wrong},
        subject::valid_id,
    },
    intake::{InputError, parse},
};

/// Reads the table `[plans]`: a plan under each name.
pub(super) fn plans<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Plan>, D::Error> {
    named(deserializer, Plan::checked)
}

/// Reads the table `[projects]`: a project under each id.
pub(super) fn projects<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Project>, D::Error> {
    named(deserializer, Project::checked)
}

/// Reads the list `[[limits]]`: limits on everything.
pub(super) fn limits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<LimitBody>, D::Error> {
    let said = Value::deserialize(deserializer)?;
    let plan = Table::from_iter([("limits".to_owned(), said)]);
    let read = body(&Value::Table(plan)).and_then(|plan: Plan| plan.checked().map_err(first));
    // The setting is named already.
    read.map(|plan| plan.limits)
        .map_err(|wrong| D::Error::custom(told("", &wrong).replacen(".limits", "", 1)))
}

fn named<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    deserializer: D,
    checked: fn(T) -> Result<T, Vec<Wrong>>,
) -> Result<BTreeMap<String, T>, D::Error> {
    let said = BTreeMap::<String, Value>::deserialize(deserializer)?;
    let read = said.into_iter().map(|(name, value)| {
        if !valid_id(&name) {
            return Err(D::Error::custom(
                " has a name that is not 1 to 128 bytes of printable text without spaces",
            ));
        }
        let read = body(&value).and_then(|body| checked(body).map_err(first));
        read.map_err(|wrong| D::Error::custom(told(&format!(".{name}"), &wrong))).map(|body| (name, body))
    });
    read.collect()
}

/// The rest of the setting's name, a space, and the mend.
fn told(name: &str, wrong: &Wrong) -> String {
    format!("{name}{} {}", wrong.pointer.replace('/', "."), wrong.mend)
}

fn first(wrong: Vec<Wrong>) -> Wrong {
    wrong.into_iter().next().unwrap_or_else(|| Wrong::new("", "cannot be used"))
}

fn body<T: DeserializeOwned>(value: &Value) -> Result<T, Wrong> {
    no_fractions(value, "")?;
    let unreadable = |text: String| Wrong::new("", format!("cannot be read: {text}"));
    let json = serde_json::to_vec(value).map_err(|error| unreadable(error.to_string()))?;
    parse(&json).map_err(|error| match error {
        InputError::Fields(errors) => {
            first(errors.into_iter().map(|error| Wrong::new(error.pointer, error.detail)).collect())
        }
        InputError::Syntax(text) => unreadable(text),
    })
}

/// TOML's numbers with a point are binary fractions by the time that they are seen here.
fn no_fractions(value: &Value, pointer: &str) -> Result<(), Wrong> {
    match value {
        Value::Float(_) => Err(Wrong::new(pointer, "must be a whole number, or a decimal in quotes")),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, item)| no_fractions(item, &format!("{pointer}/{index}"))),
        Value::Table(table) => {
            table.iter().try_for_each(|(key, item)| no_fractions(item, &format!("{pointer}/{key}")))
        }
        _ => Ok(()),
    }
}

impl Config {
    /// What it says about plans, projects and keys.
    pub fn registry(&self) -> Configured {
        let thousandths = |share: f64| (share * 1000.0).round() as u16;
        Configured {
            plans: self.plans.clone(),
            projects: self.projects.clone(),
            limits: self.limits.clone(),
            unknown_keys: self.registry.unknown_keys,
            default_plan: self.registry.default_plan.clone(),
            shares: Shares {
                low: thousandths(self.priorities.low),
                medium: thousandths(self.priorities.medium),
            },
        }
    }
}

/// What does not go together: the setting, and the mend.
pub(super) fn meaning(config: &Config) -> Result<(), (String, &'static str)> {
    const PLAN: &str = "must name a plan of [plans]; a plan that is put over the API can take its place";
    let plan = &config.registry.default_plan;
    if !plan.is_empty() && !config.plans.contains_key(plan) {
        return Err(("registry.default_plan".to_owned(), PLAN));
    }
    let lost = |project: &Project| project.plan.as_ref().is_some_and(|plan| !config.plans.contains_key(plan));
    if let Some((id, _)) = config.projects.iter().find(|(_, project)| lost(project)) {
        return Err((format!("projects.{id}.plan"), PLAN));
    }
    let (low, medium) = (config.priorities.low, config.priorities.medium);
    if !(medium > 0.0 && medium <= 1.0) {
        return Err(("priorities.medium".to_owned(), "must be above 0 and at most 1"));
    }
    if !(low > 0.0 && low <= medium) {
        return Err(("priorities.low".to_owned(), "must be above 0 and at most priorities.medium"));
    }
    Ok(())
}
