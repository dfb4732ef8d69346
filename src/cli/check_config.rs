//! `keyward check-config`: the settings in effect, without secrets, and whether the price list can be used.

use clap::Args;

use super::{Failure, output, settings::Settings};
use crate::{http::Auth, pricing::Prices};

/// Print the settings in effect.
#[derive(Debug, Args)]
pub struct CheckConfig {
    #[command(flatten)]
    settings: Settings,
}

impl CheckConfig {
    pub fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        Auth::new(&config.auth)?;
        Prices::open(config.prices.file())?;
        output::line(toml::to_string(&config.masked())?.trim_end())?;
        Ok(())
    }
}
