//! `keyward usage`: what was used and what it cost, and what is expected.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{
    Failure, block_on,
    client::{Connection, Service},
    output::line,
    resource::{Columns, print},
    when::When,
};
use crate::{clock, domain::event::format_millis};

/// Show what was used.
#[derive(Debug, Args)]
pub(super) struct Usage {
    /// By what rows are told apart: some of project, model, key, endpoint, user, by commas.
    #[arg(long, value_name = "NAMES")]
    by: Option<String>,
    /// The span of a row: minute, hour, day, month [default: hour].
    #[arg(long)]
    bucket: Option<String>,
    /// Not before this: a length before now such as 1h or 7d, or an RFC 3339 time [default: today].
    #[arg(long, value_name = "LENGTH|TIME", value_parser = When::read)]
    since: Option<When>,
    /// Before this, said in the same way [default: now].
    #[arg(long, value_name = "LENGTH|TIME", value_parser = When::read)]
    until: Option<When>,
    /// Where days and months begin: an IANA name such as Asia/Tokyo [default: UTC].
    #[arg(long, value_name = "NAME")]
    timezone: Option<String>,
    /// Only of this project.
    #[arg(long, value_name = "ID")]
    project: Option<String>,
    /// Only of this model, by any of its names.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only of the key with this public id.
    #[arg(long, value_name = "KEY_ID")]
    key: Option<String>,
    /// Only of this endpoint, or of those like it.
    #[arg(long, value_name = "PATH")]
    endpoint: Option<String>,
    /// Only of this user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Print comma-separated values (CSV).
    #[arg(long, conflicts_with_all = ["json", "forecast"])]
    csv: bool,
    /// What is expected by the end of the day and the month, instead of what was used.
    #[arg(long, conflicts_with_all = ["by", "bucket", "since", "until", "endpoint", "user"])]
    forecast: bool,
    #[command(flatten)]
    service: Service,
}

/// What is shown of each row, behind what it is grouped by.
const SUMS: [&str; 5] = ["requests", "refused", "input_tokens", "output_tokens", "cost_usd"];

impl Usage {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        if self.csv {
            let text = block_on(self.text(&service))?;
            return text.lines().try_for_each(|text| Ok(line(text)?));
        }
        let path: &[&str] = if self.forecast { &["v1", "usage", "forecast"] } else { &["v1", "usage"] };
        let request = service.request(Method::GET, path).query(&self.query());
        let answer = block_on(service.json(request))?;
        if self.forecast || self.service.json {
            return print(&answer, self.service.json);
        }
        table(&answer).iter().try_for_each(|text| Ok(line(text)?))
    }

    async fn text(&self, service: &Connection) -> Result<String, Failure> {
        let request = service.request(Method::GET, &["v1", "usage"]).query(&self.query());
        service.text(request.query(&[("format", "csv")])).await
    }

    fn query(&self) -> Vec<(&'static str, String)> {
        let now = clock::wall();
        let [from, to] = [self.since, self.until].map(|when| Some(format_millis(when?.millis(now))));
        let given = [
            ("group_by", &self.by),
            ("bucket", &self.bucket),
            ("from", &from),
            ("to", &to),
            ("timezone", &self.timezone),
            ("project", &self.project),
            ("model", &self.model),
            ("key", &self.key),
            ("endpoint", &self.endpoint),
            ("user", &self.user),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// A row for each bucket and group, and the total below.
fn table(usage: &Value) -> Vec<String> {
    let groups = usage["group_by"].as_array().map(Vec::as_slice).unwrap_or_default();
    let groups = groups.iter().filter_map(Value::as_str);
    let columns: Vec<&str> = ["start"].into_iter().chain(groups).chain(SUMS).collect();
    let mut rows = usage["rows"].as_array().cloned().unwrap_or_default();
    let mut total = usage["total"].clone();
    total["start"] = "total".into();
    rows.push(total);
    Columns(&columns).lines(&rows, true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_has_a_row_for_each_group_and_the_total_below() {
        let sums = json!({
            "requests": 3, "refused": 1, "input_tokens": 900, "output_tokens": 40, "cost_usd": "0.0026",
        });
        let mut row = sums.clone();
        row["start"] = "2026-03-02T09:00:00.000Z".into();
        row["project"] = "analytics".into();
        let lines = table(&json!({ "group_by": ["project"], "rows": [row], "total": sums }));
        assert_eq!(
            lines,
            [
                "start                     project    requests  refused  input_tokens  output_tokens  cost_usd",
                "2026-03-02T09:00:00.000Z  analytics  3         1        900           40             0.0026",
                "total                     -          3         1        900           40             0.0026",
            ]
        );
    }
}
