//! From layers to a configuration, or to an error that names the setting.

use toml::{Table, Value};

use super::{Config, ConfigError, HostPattern, PepperText, Sources, check, layers::Layers, sinks};

impl Config {
    /// The configuration that these sources and the embedded layers make together.
    ///
    /// # Errors
    /// The first thing that is wrong, with its name, where it was said, and what it must be.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let layers = Layers::read(sources)?;
        for layer in layers.iter() {
            check::names_and_kinds(layer, layers.base())?;
        }
        let mut merged = layers.merged();
        check::ranges(&merged, &layers)?;
        let sinks = sinks::read(&mut merged, &layers)?;
        let mut config = typed(merged, &layers)?;
        config.sinks = sinks;
        check::meaning(&config, &layers)?;
        config.pepper = sources.variable("KEYWARD_PEPPER").map(PepperText::new);
        Ok(config)
    }

    /// The configuration without secrets, for people to read.
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        masked.store.url = mask_url(&self.store.url);
        masked.sinks.iter_mut().for_each(|sink| *sink = sink.masked());
        masked.auth.tokens.iter_mut().for_each(|token| token.hash = "***".to_owned());
        masked.pepper = None;
        masked
    }
}

/// The merged layers as a configuration.
pub(super) fn typed(merged: Table, layers: &Layers) -> Result<Config, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(merged)).map_err(|error| {
        let name = error.path().to_string();
        let message = error.inner().message();
        if let ("plans" | "projects" | "limits", Some((rest, hint))) =
            (name.as_str(), message.split_once(' '))
        {
            return ConfigError::setting(format!("{name}{rest}"), layers.origin(&name), hint);
        }
        // Serde repeats the value, which under [auth] may be a token.
        let hint = match name.as_str() {
            "server.listen" => {
                "must be an IP address and port, such as 127.0.0.1:8080 or [::1]:8080".to_owned()
            }
            name if name.starts_with("server.hosts") => HostPattern::FORM.to_owned(),
            name if name.starts_with("auth.tokens") => {
                "must be { id, hash, scopes, expires }; `keyward token new` prints an entry".to_owned()
            }
            _ => format!("cannot be used: {message}"),
        };
        let said = name.split('[').next().unwrap_or_default();
        ConfigError::setting(&name, layers.origin(said), hint)
    })
}

/// Leaves the user, hides the password.
pub(crate) fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((userinfo, hosts)) => {
            let user = userinfo.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:***@{hosts}")
        }
        None => format!("{scheme}://{rest}"),
    }
}
