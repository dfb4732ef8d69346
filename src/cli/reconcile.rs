//! `keyward reconcile`: a provider's bill against the ledger of a running service.

use std::path::{Path, PathBuf};

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Failure, block_on,
    client::Service,
    code,
    output::{self, plain},
};
use crate::{
    domain::money::Usd,
    import::{Bill, BillMap, NAMED_BILLS},
};

/// Hold a provider's bill against what the ledger of a running service counted, per day, model and key.
#[derive(Debug, Args)]
pub(super) struct Reconcile {
    /// The bill, or the provider's export of usage; `-` reads standard input.
    file: PathBuf,
    /// Where each field of a line is: openai-costs, anthropic-costs, csv, or a file (docs/reconcile.md).
    #[arg(long, value_name = "NAME|FILE", default_value = "csv")]
    map: String,
    /// By how much both may differ: a percentage of the larger one, or US dollars such as 0.50.
    #[arg(long, value_name = "PERCENT|USD", default_value = "1%")]
    threshold: String,
    /// Only these models of the ledger, such as gpt-4.1*, where the bill is of one provider of several. Repeat it, or
    /// separate by commas.
    #[arg(long, value_delimiter = ',', value_name = "PATTERN")]
    models: Vec<String>,
    #[command(flatten)]
    service: Service,
}

impl Reconcile {
    pub(super) fn run(self) -> Result<(), Failure> {
        let bill = load(&self.map)?.read(&self.file).map_err(|error| Failure::file(&self.file, &error))?;
        if bill.left_out > 0 {
            eprintln!("keyward: {} lines left out (no day, or neither a cost nor tokens)", bill.left_out);
        }
        if bill.lines.is_empty() {
            let why =
                format!("{}: no line has a day and an amount by the map {}", self.file.display(), self.map);
            return Err(Failure::new(code::DATA, plain(&why)));
        }
        let service = self.service.connect()?;
        let body = json!({ "lines": lines(&bill), "threshold": self.threshold, "models": self.models });
        let request = service.request(Method::POST, &["v1", "usage", "reconcile"]).json(&body);
        let seen = block_on(service.json(request))?;
        if self.service.json {
            return Ok(output::line(&seen.to_string())?);
        }
        Ok(print(&seen)?)
    }
}

/// The map of a name, else the one in a file.
fn load(map: &str) -> Result<BillMap, Failure> {
    let read = match BillMap::named(map) {
        Some(read) => read,
        None => {
            let text = std::fs::read_to_string(Path::new(map)).map_err(|error| {
                let names: Vec<&str> = NAMED_BILLS.iter().map(|(name, _)| *name).collect();
                let failure = Failure::file(Path::new(map), &error);
                let why = failure.message().unwrap_or_default();
                Failure::new(failure.code(), format!("{why}; or name one of {}", names.join(", ")))
            })?;
            BillMap::parse(&text)
        }
    };
    read.map_err(|error| Failure::new(code::CONFIG, format!("--map {map} {error}")))
}

/// The lines of a bill as the service takes them.
fn lines(bill: &Bill) -> Vec<Value> {
    let line = |(place, (nanos, tokens)): (&crate::import::BillPlace, &(Option<u64>, Option<u64>))| {
        json!({
            "day": place.day, "model": place.model, "key_id": place.key_id,
            "cost_usd": nanos.map(|nanos| Usd(nanos).to_string()), "tokens": tokens,
        })
    };
    bill.lines.iter().map(line).collect()
}

/// A table for people: rows that differ by more than they may have a mark.
fn print(seen: &Value) -> std::io::Result<()> {
    let heads = ["", "day", "model", "key", "ledger", "bill", "difference"].map(str::to_owned);
    let all = seen["rows"].as_array().into_iter().flatten().chain([&seen["total"]]);
    let by_cost = seen["measure"] == "cost";
    let rows: Vec<[String; 7]> = [heads].into_iter().chain(all.map(|row| cells(row, by_cost))).collect();
    let widths: Vec<usize> =
        (0..7).map(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n {
            4.. => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        output::line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    let unit = if by_cost { "US dollars" } else { "tokens" };
    output::line(&format!(
        "{} of {} rows differ by more than {}; amounts are {unit}",
        seen["mismatches"],
        rows.len().saturating_sub(2),
        plain(seen["threshold"].as_str().unwrap_or_default()),
    ))
}

fn cells(row: &Value, by_cost: bool) -> [String; 7] {
    let text = |name: &str| row[name].as_str().map(plain).unwrap_or_default();
    let mark = if row["exceeds"] == true { "!" } else { "" };
    let amounts = if by_cost {
        [text("ledger_usd"), text("bill_usd"), text("difference_usd")]
    } else {
        let of = |name: &str| row[name].as_i64().unwrap_or(0);
        let (ledger, bill) = (of("ledger_tokens"), of("bill_tokens"));
        [ledger.to_string(), bill.to_string(), (ledger - bill).to_string()]
    };
    let [ledger, bill, difference] = amounts;
    let day = if row["day"].is_null() { "total".to_owned() } else { text("day") };
    [mark.to_owned(), day, text("model"), text("key_id"), ledger, bill, difference]
}
