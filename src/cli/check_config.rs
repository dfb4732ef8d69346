//! `keyward check-config`: the settings in effect, without secrets.

use clap::Args;

use super::{Failure, output, settings::Settings};
use crate::http::Auth;

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
        output::line(toml::to_string(&config.masked())?.trim_end())?;
        Ok(())
    }
}
