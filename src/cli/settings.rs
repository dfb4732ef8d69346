//! The flags that stand for settings.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use toml::Value;

use crate::config::{Config, ConfigError, Sources};

/// Flags that stand for settings, shared by the commands that read a configuration.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Settings {
    /// Address and port; other than loopback only with a token configured [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// embedded:<directory>, redis://…, rediss://…, redis+cluster://a,b, redis+sentinel://a,b/<master>
    /// [default: embedded in ./keyward-data if that is there, else in $XDG_STATE_HOME/keyward or
    /// ~/.local/state/keyward].
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
    /// TOML file with the settings that differ from the defaults.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Geo database (.mmdb); repeat it for several.
    #[arg(long, value_name = "FILE")]
    pub geoip: Vec<String>,
    /// TOML file with what models cost [default: the built-in list].
    #[arg(long, value_name = "FILE")]
    pub prices: Option<String>,
    /// How much acts before it has learned [default: balanced].
    #[arg(long)]
    pub preset: Option<Preset>,
    /// Whether anything is refused: `observe` says what would have been [default: enforce].
    #[arg(long)]
    pub enforcement: Option<Enforcement>,
    /// File with the pepper, under which API keys are hashed.
    #[arg(long, value_name = "FILE")]
    pub pepper_file: Option<String>,
}

/// The presets of the policy.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Preset {
    /// Learns first; until then it alerts where it is not sure.
    Balanced,
    /// Travel and locations act at once.
    Strict,
}

/// Whether anything is refused.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Enforcement {
    /// Bans, throttles and limits refuse.
    Enforce,
    /// Nothing is refused; answers and events say what would have been.
    Observe,
}

impl Settings {
    /// The file that settings are read from, if there is one.
    pub(super) fn file(&self) -> Option<PathBuf> {
        Sources { file: self.config.clone(), ..Sources::of_process() }.file()
    }

    /// The configuration that these flags, the environment and the embedded layers make together.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.sources(false))
    }

    /// The same for who checks it: where anything is wrong, keys of upstreams that are not there are named with it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<Config, ConfigError> {
        match self.load() {
            Err(ConfigError::Settings(_)) => Config::load(&self.sources(true)),
            loaded => loaded,
        }
    }

    fn sources(&self, reads_keys: bool) -> Sources {
        let text = |value: &Option<String>| value.clone().map(Value::String);
        let files = (!self.geoip.is_empty()).then(|| self.geoip.iter().cloned().map(Value::String).collect());
        let preset = self.preset.map(|preset| match preset {
            Preset::Balanced => "balanced",
            Preset::Strict => "strict",
        });
        let enforcement = self.enforcement.map(|enforcement| match enforcement {
            Enforcement::Enforce => "enforce",
            Enforcement::Observe => "observe",
        });
        let flags = [
            ("--listen", "server.listen", text(&self.listen)),
            ("--store", "store.url", text(&self.store)),
            ("--geoip", "geoip.files", files.map(Value::Array)),
            ("--prices", "prices.file", text(&self.prices)),
            ("--preset", "policy.preset", preset.map(Value::from)),
            ("--enforcement", "policy.enforcement", enforcement.map(Value::from)),
            ("--pepper-file", "secrets.pepper_file", text(&self.pepper_file)),
        ];
        let flags = flags.into_iter().filter_map(|(flag, name, value)| Some((flag, name, value?))).collect();
        Sources { file: self.config.clone(), flags, reads_keys, ..Sources::of_process() }
    }
}
