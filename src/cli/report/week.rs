//! `keyward report --week`: what seven days came to, as text, as JSON or as one HTML file.

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::{
    cli::{
        Failure, block_on,
        client::Connection,
        html_file::HtmlFile,
        output::{line, plain},
    },
    domain::{Millis, event::format_millis},
    report::{Page, of_week},
    week::Week,
};

/// Asks a service for the week that ends at a moment, or now, and shows it.
pub(super) fn report(
    service: &Connection,
    until: Option<Millis>,
    html: Option<&Path>,
    as_json: bool,
) -> Result<(), Failure> {
    // Before the service is asked: a place that takes no file is told at once.
    let file = html.map(HtmlFile::at).transpose()?;
    let until: Vec<(&str, String)> = until.iter().map(|at| ("until", format_millis(*at))).collect();
    let request = service.request(Method::GET, &["v1", "reports", "week"]).query(&until);
    let figures: Value = block_on(service.json(request))?;
    if as_json {
        return Ok(line(&plain(&figures.to_string()))?);
    }
    let page: Page = of_week(&serde_json::from_value::<Week>(figures)?);
    if let Some(file) = file {
        return file.put(&page);
    }
    page.text().lines().try_for_each(|text| line(&plain(text)))?;
    Ok(())
}
