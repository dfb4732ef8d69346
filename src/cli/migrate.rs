//! `keyward migrate`: brings the store to this version's layout. `serve` does the same at its start; this is for those
//! who want it done, and seen, before.

use clap::Args;

use super::{Failure, block_on, output, settings::Settings};
use crate::{
    app,
    store::{embedded, redis},
};

/// Bring the store to this version's layout.
#[derive(Debug, Args)]
pub(super) struct Migrate {
    /// Only say which layout the store has. (A store in Redis is not asked.)
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Migrate {
    pub(super) fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let store = config.masked().store.url;
        let Some(directory) = config.embedded_directory() else {
            if !self.dry_run {
                block_on(async { Ok(app::open_store(&config).await?) })?;
            }
            output::line(&format!("{store}: layout {}", redis::LAYOUT))?;
            return Ok(());
        };
        let failed = |error| app::AppError::Store { store: store.clone(), error };
        let before = embedded::layout(directory).map_err(failed)?;
        if !self.dry_run {
            block_on(async {
                let opened = app::open_store(&config).await?;
                Ok(opened.close().await.map_err(failed)?)
            })?;
        }
        let before = before.map_or("none".to_owned(), |layout| layout.to_string());
        output::line(&format!("{store}: layout {before}, this version's is {}", embedded::LAYOUT))?;
        Ok(())
    }
}
