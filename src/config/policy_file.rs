//! A policy in a file of its own, as `keyward replay` compares them: the `[policy]` of a configuration, or what
//! `GET /v1/policy` answers.

use std::path::Path;

use serde_json::error::Category;
use toml::{Table, Value};

use super::{
    ConfigError, Origin, check,
    layer::{Layer, look_up},
    layers::{LIMITS, Layers, NO_LIMIT, parse, text_of},
    load::build,
};
use crate::{domain::policy::Policy, settings::SettingError};

/// What a policy has at its top; a document with any of these and without `[policy]` is what the API answers.
const PARTS: [&str; 5] = ["preset", "on_store_failure", "limits", "detectors", "ladder"];

/// A policy that was read from a file.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    /// The policy, over the defaults and its preset.
    pub policy: Policy,
    /// Sections of the file that are no part of a policy: they are checked and not used.
    pub unused: Vec<String>,
}

impl PolicyFile {
    /// Reads a policy. A `[policy]` table is laid over the defaults, and over the preset that it names. What the API
    /// answers is a whole policy: a limit that it does not have, there is not.
    ///
    /// # Errors
    /// As for a configuration: everything that is wrong, each with its name, its place and what it must be.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let origin = Origin::File(path.to_owned());
        let text = text_of(path)?;
        if text.trim_start().starts_with('{') {
            return Self::of(Layer::new(origin.clone(), json(&text, &origin)?));
        }
        Self::of(parse(&text, origin)?)
    }

    fn of(mut layer: Layer) -> Result<Self, ConfigError> {
        let defaults = Layers::over_defaults(Vec::new())?;
        if is_answer(&layer.table) {
            layer.table = whole(layer.table, defaults.base());
        }
        let mut mistakes = check::names_and_kinds(&mut layer, defaults.base());
        let policy = layer.table.remove("policy");
        if policy.is_none() && mistakes.iter().all(|mistake| mistake.error.setting != "policy") {
            let hint = "is not there: a policy file has a [policy] table, or is what GET /v1/policy answers";
            mistakes.push(layer.place(SettingError::new("policy", hint)));
        }
        let unused = layer.table.keys().cloned().collect();
        layer.table = policy.into_iter().map(|policy| ("policy".to_owned(), policy)).collect();
        let config = build(Layers::over_defaults(vec![layer])?, mistakes, false)?;
        Ok(Self { policy: config.policy, unused })
    }
}

fn json(text: &str, origin: &Origin) -> Result<Table, ConfigError> {
    serde_json::from_str(text).map_err(|error| {
        let hint = match error.classify() {
            Category::Eof => "the JSON document ends too early",
            Category::Data => {
                "the document must be one JSON object, without null and with numbers of at most 64 bits"
            }
            Category::Syntax | Category::Io => "this is not valid JSON, or more than one document",
        };
        ConfigError::Syntax { origin: origin.clone(), line: error.line(), hint: hint.to_owned() }
    })
}

fn is_answer(table: &Table) -> bool {
    !table.contains_key("policy") && PARTS.iter().any(|part| table.contains_key(*part))
}

/// An answer of the API as a configuration: without the version, which is a digest of the rest, and with no limit of
/// the defaults that it does not repeat.
fn whole(mut policy: Table, base: &Table) -> Table {
    policy.remove("version");
    let mut table = Table::from_iter([("policy".to_owned(), Value::Table(policy))]);
    for name in LIMITS {
        let said = name.split('.').try_fold(&mut table, |table, part| table.get_mut(part)?.as_table_mut());
        let known = look_up(base, name).and_then(Value::as_table);
        if let (Some(said), Some(known)) = (said, known) {
            for window in known.keys() {
                said.entry(window.clone()).or_insert_with(|| NO_LIMIT.into());
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::default_policy,
        domain::{finding::Mode, policy::Preset},
    };

    fn read(text: &str) -> Result<PolicyFile, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.policy");
        std::fs::write(&path, text).unwrap();
        PolicyFile::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_laid_over_the_defaults_and_over_the_preset_that_it_names() {
        assert_eq!(read("[policy]").unwrap().policy, default_policy());
        let text =
            "[policy]\npreset = 'strict'\n[policy.detectors.traffic_burst]\nmode = 'shadow'\nfactor = 4";
        let policy = read(text).unwrap().policy;
        assert_eq!(policy.preset, Preset::Strict);
        assert!(policy.ladder.permanent_without_person, "the overlay of the preset is in force");
        assert_eq!(policy.detectors.traffic_burst.mode, Mode::Shadow);
        assert_eq!(policy.limits.tokens["1min"] * 20, default_policy().limits.tokens["1min"]);
    }

    #[test]
    fn what_the_api_answers_is_a_whole_policy() {
        let mut policy = default_policy();
        policy.limits.tokens.remove("5min");
        policy.ladder.ban_seconds = 7;
        let mut answer = serde_json::to_value(&policy).unwrap();
        answer["version"] = "2995ea91612b8162".into();
        assert_eq!(read(&answer.to_string()).unwrap().policy, policy);
        assert_eq!(read(&toml::to_string(&policy).unwrap()).unwrap().policy, policy);
        assert_eq!(read(r#"{"limits":{"tokens":{}},"ladder":{}}"#).unwrap().policy.limits.tokens.len(), 0);
    }

    #[test]
    fn other_sections_of_a_configuration_are_checked_and_reported() {
        let file = read("[server]\nlisten = '0.0.0.0:1'\n[policy.ladder]\nban_seconds = 7").unwrap();
        assert_eq!((file.policy.ladder.ban_seconds, file.unused), (7, vec!["server".to_owned()]));
        assert!(read("[server]\nlisten_on = 'x'\n[policy]").unwrap_err().contains("`server.listen_on`"));
    }

    #[test]
    fn what_is_wrong_is_named_in_full() {
        for (text, words) in [
            ("[policy.detectors.traffic_burst]\nfacter = 4.0", "`policy.detectors.traffic_burst.facter`"),
            ("[policy.ladder]\nban_factor = 0.5", "`policy.ladder.ban_factor` must be from 1 to 1000"),
            (r#"{"ladder":{"ban_factor":0.5}}"#, "`policy.ladder.ban_factor` must be from 1 to 1000"),
            (r#"{"ladder":{"ban_faktor":2}}"#, "did you mean `policy.ladder.ban_factor`?"),
            ("[policy.limits.tokens]\n'2min' = 5", "`policy.limits.tokens.2min` windows are 1min"),
            ("[policy]\npreset = 'paranoid'", "`policy.preset`"),
            ("[server]", "`policy` is not there"),
            ("", "`policy` is not there"),
            ("policy = 7", "`policy` must be a table"),
            ("{\n\"ladder\": nothing}", "line 2"),
            ("[policy]\nladder = ", "line 2"),
            ("{\"request_id\":\"r-1\"}\n{\"request_id\":\"r-2\"}", "line 2"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words) && error.contains("a.policy"), "{text}: {error}");
        }
    }
}
