//! Settings that change under way: those that can are put in force, all of them or none; what cannot be changed without
//! a restart is named.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    config::{Config, ConfigError},
    domain::difference::difference,
    engine::{Base, Engine},
    forward::Forwarder,
    http::{Auth, ShownConfig},
    settings::SettingErrors,
};

/// The sections that are put in force while the service runs. Whatever else has changed holds from the next start on.
const IN_FORCE_AT_ONCE: [&str; 10] =
    ["alerts", "auth", "limits", "plans", "policy", "priorities", "projects", "registry", "sinks", "spend"];

/// Whoever reads `[auth]` as empty would let everybody do everything.
const LAST_TOKEN: &str = "`auth.tokens` has no token any more, so that everybody might do everything: a service that \
                          had one is restarted for that";

/// What settings are put in force in.
pub(super) struct Reloader {
    /// The settings that are in force.
    config: Mutex<Config>,
    /// The same, as they are shown.
    shown: ShownConfig,
    /// What was wrong with those that were read last; nothing, where they were put in force.
    mistakes: Mutex<Vec<String>>,
    auth: Auth,
    engine: Arc<Engine>,
    forwarder: Arc<Forwarder>,
}

/// The names of the settings that differ from those in force.
#[derive(Debug, Default, PartialEq)]
struct Differences {
    in_force: Vec<String>,
    wants_restart: Vec<String>,
}

impl Reloader {
    pub(super) fn new(config: Config, auth: Auth, engine: Arc<Engine>, forwarder: Arc<Forwarder>) -> Self {
        let shown = ShownConfig::new(&config);
        Self { config: Mutex::new(config), shown, mistakes: Mutex::default(), auth, engine, forwarder }
    }

    /// The settings in force, as they may be shown.
    pub(super) fn shown(&self) -> ShownConfig {
        self.shown.clone()
    }

    /// Whether everybody may do everything.
    pub(super) fn is_open(&self) -> bool {
        self.auth.is_open()
    }

    /// Puts settings in force, and tells the log of it; where anything is wrong with them, nothing changes but the log.
    pub(super) async fn take(&self, read: Result<Config, ConfigError>) {
        let mut config = self.config.lock().await;
        let put = match read {
            Ok(new) => self.put_in_force(&config, new).await,
            Err(error) => Err(lines(&error)),
        };
        match put {
            Ok((now, Differences { in_force, wants_restart })) => {
                self.shown.replace(&now);
                *config = now;
                self.mistakes.lock().await.clear();
                tell(&in_force, &wants_restart);
                if !in_force.is_empty() || !wants_restart.is_empty() {
                    self.engine.tell_settings_reloaded(in_force, wants_restart);
                }
            }
            Err(mistakes) => {
                let named = mistakes.join("; ");
                tracing::error!(mistakes = named, "the settings are wrong; those before stay in force");
                let mut last = self.mistakes.lock().await;
                // Read again as they were, they are no news.
                if *last != mistakes {
                    last.clone_from(&mistakes);
                    self.engine.tell_reload_failed(mistakes);
                }
            }
        }
    }

    /// The settings that are in force now, and what differs from those before; else each mistake.
    async fn put_in_force(&self, old: &Config, new: Config) -> Result<(Config, Differences), Vec<String>> {
        let differences = Differences::between(old, &new).map_err(|error| lines(&error))?;
        let mut mistakes = Vec::new();
        if !self.auth.is_open() && self.auth.would_have_none_with(&new.auth) {
            mistakes.push(LAST_TOKEN.to_owned());
        }
        let tried = self.forwarder.check(&new.sinks).await;
        mistakes.extend(tried.err().iter().flat_map(lines::<SettingErrors>));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // What can still fail comes first.
        self.engine.set_base(Base::from(&new)).await.map_err(|error| lines(&error))?;
        self.auth.replace(&new.auth).map_err(|error| lines(&error))?;
        self.forwarder.replace(&new.sinks).await;
        Ok((merged(old, new), differences))
    }
}

impl Differences {
    fn between(old: &Config, new: &Config) -> Result<Self, serde_json::Error> {
        let [old, new] = [old, new].map(serde_json::to_value::<&Config>);
        Ok(Self::of(&old?, &new?))
    }

    fn of(old: &Value, new: &Value) -> Self {
        let mut names: Vec<String> = difference(old, new).into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        let (in_force, wants_restart) = names.into_iter().partition(|name| is_in_force_at_once(name));
        Self { in_force, wants_restart }
    }
}

fn is_in_force_at_once(name: &str) -> bool {
    IN_FORCE_AT_ONCE.contains(&name.split('.').next().unwrap_or(name))
}

/// The settings that are in force: those before, and of the new ones what needs no restart.
fn merged(old: &Config, new: Config) -> Config {
    let Config { alerts, auth, limits, plans, policy, priorities, projects, registry, sinks, spend, .. } =
        new;
    Config {
        alerts,
        auth,
        limits,
        plans,
        policy,
        priorities,
        projects,
        registry,
        sinks,
        spend,
        ..old.clone()
    }
}

/// One text for each mistake.
fn lines<E: std::fmt::Display>(error: &E) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

fn tell(in_force: &[String], wants_restart: &[String]) {
    if in_force.is_empty() && wants_restart.is_empty() {
        tracing::info!("the settings were read again and are as they were");
    }
    if !in_force.is_empty() {
        tracing::info!(changed = in_force.join(", "), "the settings were read again and are in force");
    }
    if !wants_restart.is_empty() {
        let settings = wants_restart.join(", ");
        tracing::warn!(settings, "these settings have changed and hold from the next start on");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DEFAULT_TOML, Sources};

    fn default() -> Config {
        toml::from_str(DEFAULT_TOML).unwrap()
    }

    #[test]
    fn what_wants_a_restart_is_named_apart_from_what_is_in_force() {
        let (old, mut new) = (default(), default());
        new.server.max_connections += 1;
        "redis://elsewhere".clone_into(&mut new.store.url);
        new.policy.ladder.grace_seconds += 1;
        new.alerts.pop();
        let expected = Differences {
            in_force: vec!["alerts".to_owned(), "policy.ladder.grace_seconds".to_owned()],
            wants_restart: vec!["server.max_connections".to_owned(), "store.url".to_owned()],
        };
        let found = Differences::between(&old, &new).unwrap();
        assert_eq!(found, expected);
        // What is not in force yet is named again, until it is.
        let again = Differences::between(&merged(&old, new.clone()), &new).unwrap();
        assert_eq!(again, Differences { in_force: Vec::new(), ..found });
    }

    #[test]
    fn every_section_is_one_that_is_put_in_force_or_one_that_stays() {
        let old = default();
        let mut new = old.clone();
        new.server.listen.set_port(1);
        let now = serde_json::to_value(merged(&old, new)).unwrap();
        assert_eq!(now, serde_json::to_value(&old).unwrap());
        for section in IN_FORCE_AT_ONCE {
            assert!(now.get(section).is_some(), "{section}");
        }
    }

    #[test]
    fn each_mistake_of_the_settings_is_a_text_of_its_own() {
        let environment = ["SERVER__MAX_CONNECTIONS", "STORE__PARTITIONS"];
        let environment = environment.map(|name| (format!("KEYWARD__{name}"), "0".to_owned())).to_vec();
        let error = Config::load(&Sources { environment, ..Sources::default() }).unwrap_err();
        assert_eq!(lines(&error).len(), 2, "{error}");
    }
}
