//! From layers to a configuration, or to every error in them.

use toml::{Table, Value};

use super::{
    Config, ConfigError, HostPattern, Mistake, PepperText, Sources, check, gateway, layers::Layers, registry,
    sinks, tokens,
};
use crate::settings::{SettingErrors, read_value};

impl Config {
    /// The configuration that these sources and the embedded layers make together.
    ///
    /// # Errors
    /// Everything that is wrong with the settings, each with its name, its place and what it must be. A file
    /// that is not TOML hides what else is wrong.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let mut config = build(Layers::read(sources)?, Vec::new(), sources.reads_keys)?;
        config.settle(sources);
        config.pepper = sources.variable("KEYWARD_PEPPER").map(PepperText::new);
        Ok(config)
    }

    /// The configuration without secrets, for people to read.
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        masked.store.url = mask_url(&self.store.url);
        masked.gateway.upstreams.iter_mut().for_each(|upstream| mask_query(&mut upstream.base_url));
        masked.sinks.iter_mut().for_each(|sink| *sink = sink.masked());
        masked.auth.tokens.iter_mut().for_each(|token| token.hash = "***".to_owned());
        masked.pepper = None;
        masked
    }
}

/// Merges the layers and reads them; `mistakes` are those that were found before. `reads_keys`: a key of an upstream
/// that is not there is a mistake, too.
pub(super) fn build(
    mut layers: Layers,
    mut mistakes: Vec<Mistake>,
    reads_keys: bool,
) -> Result<Config, ConfigError> {
    let (base, over) = layers.over_base();
    mistakes.extend(over.iter_mut().flat_map(|layer| check::names_and_kinds(layer, base)));
    let mut merged = layers.merged();
    let mut errors = check::ranges(&mut merged, layers.base());
    let sinks = sinks::read(&mut merged, &layers, &mut mistakes);
    let tokens = tokens::read(&mut merged, &mut errors);
    let plans = registry::read(&mut merged, &mut errors);
    let gateway = gateway::read(&mut merged, &mut errors);
    let config = typed(merged, layers.base(), &mut errors).map(|config| Config { sinks, ..config });
    let config = config.map(|mut config| {
        config.auth.tokens = tokens;
        (config.plans, config.projects, config.limits) = plans;
        config
    });
    let config = config.map(|mut config| {
        let mut found = gateway.put_into(&mut config, reads_keys);
        found.extend(check::meaning(&config));
        add_contradictions(found, &mut errors, &mistakes);
        config
    });
    mistakes.extend(errors.into_iter().map(|error| layers.place(error)));
    match config {
        Some(config) if mistakes.is_empty() => Ok(config),
        _ => {
            layers.sort(&mut mistakes);
            Err(ConfigError::Settings(mistakes))
        }
    }
}

/// Adds what was found by looking at the whole, but for what only follows from a value that is wrong by itself.
fn add_contradictions(found: SettingErrors, errors: &mut SettingErrors, mistakes: &[Mistake]) {
    for error in found {
        let is_wrong = |setting: &str| {
            let before = mistakes.iter().any(|mistake| is_part(&mistake.error.setting, setting));
            before || errors.concern(setting)
        };
        if !is_wrong(&error.setting) && !error.contradicts.as_deref().is_some_and(is_wrong) {
            errors.check(Err(error));
        }
    }
}

/// Whether the name `inner` is `outer` or begins with it.
fn is_part(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The merged layers as a configuration, with the base layer's values in place of what cannot be read.
fn typed(merged: Table, base: &Table, errors: &mut SettingErrors) -> Option<Config> {
    let base = Value::Table(base.clone());
    let (config, mut wrong) = read_value(&Value::Table(merged), Some(&base));
    for error in wrong.iter_mut() {
        match error.setting.as_str() {
            "server.listen" | "gateway.listen" => {
                error.hint =
                    "must be an IP address and port, such as 127.0.0.1:8080 or [::1]:8080".to_owned();
            }
            name if name.starts_with("server.hosts") => HostPattern::FORM.clone_into(&mut error.hint),
            _ => {}
        }
    }
    errors.extend(wrong);
    config
}

/// Hides what is behind the path of a URL: some providers take their key there.
fn mask_query(url: &mut String) {
    if let Some(query) = url.find(['?', '#']) {
        url.truncate(query);
        url.push_str("?***");
    }
}

/// Leaves the user, hides the password.
pub(crate) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let hosts = |hosts: &str| hosts.split(['?', '#']).next().unwrap_or_default().to_owned();
    // A password may have any of these signs.
    match rest.rsplit_once('@') {
        Some((userinfo, behind)) => {
            let hosts = hosts(behind);
            let user = userinfo.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{hosts}")
        }
        None => format!("{scheme}://{}", hosts(rest)),
    }
}
