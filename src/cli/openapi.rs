//! `keyward openapi`: the document that is also served at `/openapi.json`.

use clap::Args;

use super::{Failure, output};
use crate::http;

/// Print the OpenAPI document.
#[derive(Debug, Args)]
pub(super) struct Openapi {}

impl Openapi {
    pub(super) fn run(self) -> Result<(), Failure> {
        output::line(&serde_json::to_string_pretty(&http::document())?)?;
        Ok(())
    }
}
