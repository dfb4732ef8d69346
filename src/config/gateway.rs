//! `[gateway]`: reads the entries of its lists one by one, so that a mistake in one hides none in another.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Config;
use crate::{
    gateway::settings::{
        self, Alias, GatewaySettings, ModelSettings, Places, RouteSettings, UpstreamSettings,
    },
    settings::{SettingError, SettingErrors, read_value},
};

/// The entries that could be read, each with its position in the list as it was written.
#[derive(Default)]
pub(super) struct Lists {
    upstreams: Vec<(usize, UpstreamSettings)>,
    routes: Vec<(usize, RouteSettings)>,
    aliases: Vec<(usize, Alias)>,
    models: Vec<(usize, ModelSettings)>,
    /// The names of all upstreams, also of those that could not be read.
    names: Vec<String>,
}

/// Takes the lists out of the merged layers and reads them; empty lists stay.
pub(super) fn read(merged: &mut Table, errors: &mut SettingErrors) -> Lists {
    let Some(Value::Table(gateway)) = merged.get_mut("gateway") else { return Lists::default() };
    let written = gateway.get("upstreams").and_then(Value::as_array).into_iter().flatten();
    let names = written.filter_map(|upstream| upstream.get("name")?.as_str().map(str::to_owned)).collect();
    Lists {
        names,
        upstreams: list(gateway, "upstreams", errors),
        routes: list(gateway, "routes", errors),
        aliases: list(gateway, "aliases", errors),
        models: list(gateway, "models", errors),
    }
}

fn list<T: DeserializeOwned>(gateway: &mut Table, name: &str, errors: &mut SettingErrors) -> Vec<(usize, T)> {
    let Some(Value::Array(items)) = gateway.insert(name.to_owned(), Value::Array(Vec::new())) else {
        return Vec::new();
    };
    let mut read = Vec::new();
    for (n, item) in items.into_iter().enumerate() {
        let (entry, wrong) = read_value(&item, None);
        errors.extend(wrong.within(&format!("gateway.{name}[{n}]")));
        read.extend(entry.map(|entry| (n, entry)));
    }
    read
}

impl Lists {
    /// Puts the entries into the settings, and adds what is wrong with the whole. `reads_keys`: also keys that are not
    /// there.
    pub(super) fn put_into(self, config: &mut Config, reads_keys: bool) -> SettingErrors {
        let (mut errors, mut places) =
            (SettingErrors::default(), Places { names: self.names, ..Places::default() });
        let gateway: &mut GatewaySettings = &mut config.gateway;
        (places.upstreams, gateway.upstreams) = self.upstreams.into_iter().unzip();
        (places.routes, gateway.routes) = self.routes.into_iter().unzip();
        (places.aliases, gateway.aliases) = self.aliases.into_iter().unzip();
        (places.models, gateway.models) = self.models.into_iter().unzip();
        settings::check(gateway, &places, &mut errors);
        if reads_keys {
            settings::check_keys(gateway, &places, &mut errors);
        }
        errors.check(listeners(config));
        errors
    }
}

/// Whether the gateway has a place of its own to listen at.
fn listeners(config: &Config) -> Result<(), SettingError> {
    let (gateway, server) = (config.gateway.listen, config.server.listen);
    let is_apart = !config.gateway.is_on() || gateway != server || gateway.port() == 0;
    let hint = "must not be that of `server.listen`, too: the gateway has a listener of its own";
    SettingError::ensure(is_apart, "gateway.listen", hint)
        .map_err(|error| error.contradicting("server.listen"))
}
