//! `keyward limits`: how every limit of a key or a project stands.

use clap::Args;
use reqwest::Method;

use super::{Failure, block_on, client::Service, output::line, resource::Columns};

/// Show how limits stand.
#[derive(Debug, Args)]
pub(super) struct Limits {
    /// Whose limits: key:<key_id> or project:<id>.
    subject: String,
    #[command(flatten)]
    service: Service,
}

/// What is shown of each limit.
const COLUMNS: Columns<'_> = Columns(&[
    "scope",
    "model",
    "window",
    "unit",
    "limit",
    "used",
    "held",
    "remaining",
    "reset_seconds",
    "mode",
]);

impl Limits {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let request = service.request(Method::GET, &["v1", "limits", &self.subject]);
        let page = block_on(service.json(request))?;
        if self.service.json {
            return Ok(line(&page.to_string())?);
        }
        let limits = page["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
        COLUMNS.lines(limits, true).iter().try_for_each(|text| Ok(line(text)?))
    }
}
