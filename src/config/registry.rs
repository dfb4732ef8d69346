//! `[plans]`, `[projects]` and `[[limits]]`: the bodies of the API, written in TOML, and checked as the API checks
//! them. An amount of money is never a binary fraction.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Config;
use crate::{
    domain::{
        registry::{Configured, LimitBody, Plan, Project, Shares, Wrong},
        subject::valid_id,
    },
    settings::{SettingError, SettingErrors, nearest, read_value},
};

/// Plans, projects, and the limits on all requests together.
type Registry = (BTreeMap<String, Plan>, BTreeMap<String, Project>, Vec<LimitBody>);

/// Takes plans, projects and limits out of the merged layers and reads them; what is empty stays.
pub(super) fn read(merged: &mut Table, errors: &mut SettingErrors) -> Registry {
    let plans = named(merged, "plans", Plan::checked, errors);
    let projects = named(merged, "projects", Project::checked, errors);
    (plans, projects, limits(merged, errors))
}

/// Limits on all requests are read as those of a plan without a name.
fn limits(merged: &mut Table, errors: &mut SettingErrors) -> Vec<LimitBody> {
    let said = merged.insert("limits".to_owned(), Value::Array(Vec::new()));
    let plan = Table::from_iter(said.map(|limits| ("limits".to_owned(), limits)));
    let plan = errors.take(body(&Value::Table(plan), Plan::checked));
    plan.map(|plan| plan.limits).unwrap_or_default()
}

fn named<T: DeserializeOwned>(
    merged: &mut Table,
    section: &str,
    checked: fn(T) -> Result<T, Vec<Wrong>>,
    errors: &mut SettingErrors,
) -> BTreeMap<String, T> {
    let said = merged.insert(section.to_owned(), Value::Table(Table::new()));
    let said =
        said.into_iter().flat_map(|said| if let Value::Table(table) = said { table } else { Table::new() });
    let mut bodies = BTreeMap::new();
    for (name, value) in said {
        if !valid_id(&name) {
            let hint = "has a name that is not 1 to 128 bytes of printable text without spaces";
            errors.check(Err(SettingError::new(section, hint)));
            continue;
        }
        let read = body(&value, checked).map_err(|wrong| wrong.within(&format!("{section}.{name}")));
        bodies.extend(errors.take(read).map(|body| (name, body)));
    }
    bodies
}

fn body<T: DeserializeOwned>(
    value: &Value,
    checked: fn(T) -> Result<T, Vec<Wrong>>,
) -> Result<T, SettingErrors> {
    let mut errors = SettingErrors::default();
    no_fractions(value, "", &mut errors);
    let (read, wrong) = read_value(value, None);
    errors.extend(wrong);
    match read {
        Some(body) if errors.is_empty() => checked(body).map_err(|wrong| {
            wrong.into_iter().for_each(|wrong| errors.check(Err(setting(&wrong))));
            errors
        }),
        _ => Err(errors),
    }
}

/// A JSON pointer as a name of settings: `/limits/0/unit` is `limits[0].unit`.
fn setting(wrong: &Wrong) -> SettingError {
    let mut name = String::new();
    for part in wrong.pointer.split('/').skip(1) {
        let is_index = part.bytes().all(|byte| byte.is_ascii_digit());
        match (is_index, name.is_empty()) {
            (true, _) => name += &format!("[{part}]"),
            (false, true) => part.clone_into(&mut name),
            (false, false) => name += &format!(".{part}"),
        }
    }
    SettingError::new(name, &wrong.hint)
}

/// TOML's numbers with a point are binary fractions by the time that they are seen here.
fn no_fractions(value: &Value, name: &str, errors: &mut SettingErrors) {
    match value {
        Value::Float(_) => {
            let hint = "must be a whole number, or a decimal in quotes";
            errors.check(Err(SettingError::new(name, hint)));
        }
        Value::Array(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(n, item)| no_fractions(item, &format!("{name}[{n}]"), errors));
        }
        Value::Table(table) => table.iter().for_each(|(key, item)| {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            no_fractions(item, &name, errors);
        }),
        _ => {}
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
            default_project: self.registry.default_project.clone(),
            shares: Shares {
                low: thousandths(self.priorities.low),
                medium: thousandths(self.priorities.medium),
            },
        }
    }
}

/// What does not go together.
pub(super) fn meaning(config: &Config, errors: &mut SettingErrors) {
    let plan = &config.registry.default_plan;
    if !plan.is_empty() {
        errors.check(known_plan(config, "registry.default_plan", plan));
    }
    let project = &config.registry.default_project;
    if !project.is_empty() {
        errors.check(known_project(config, project));
    }
    for (id, project) in &config.projects {
        let known = project.plan.iter().map(|plan| known_plan(config, &format!("projects.{id}.plan"), plan));
        known.for_each(|checked| errors.check(checked));
    }
    let (low, medium) = (config.priorities.low, config.priorities.medium);
    let is_share = |share: f64| share > 0.0 && share <= 1.0;
    let checked =
        SettingError::ensure(is_share(medium), "priorities.medium", "must be above 0 and at most 1");
    errors.check(checked);
    let hint = "must be above 0 and at most priorities.medium";
    let checked =
        SettingError::ensure(low > 0.0 && (low <= medium || !is_share(medium)), "priorities.low", hint);
    errors.check(checked.map_err(|error| error.contradicting("priorities.medium")));
}

/// Whether the default project is one that there is.
fn known_project(config: &Config, id: &str) -> Result<(), SettingError> {
    const HINT: &str =
        "must name a project of [projects]; a project that is put over the API can take its place";
    let suggestion = nearest(id, config.projects.keys().map(String::as_str));
    SettingError::ensure(config.projects.contains_key(id), "registry.default_project", HINT)
        .map_err(|error| error.suggesting(suggestion).contradicting(format!("projects.{id}")))
}

/// Whether a setting names a plan that there is. A plan that has mistakes of its own is there, too.
fn known_plan(config: &Config, setting: &str, plan: &str) -> Result<(), SettingError> {
    const HINT: &str = "must name a plan of [plans]; a plan that is put over the API can take its place";
    let suggestion = nearest(plan, config.plans.keys().map(String::as_str));
    SettingError::ensure(config.plans.contains_key(plan), setting, HINT)
        .map_err(|error| error.suggesting(suggestion).contradicting(format!("plans.{plan}")))
}
