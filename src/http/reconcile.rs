//! `POST /v1/usage/reconcile`: what a provider bills, held against what the ledger counted.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    error::{ApiError, Problem},
    input::LargeJson,
    usage,
};
use crate::{
    domain::{
        DAY, Millis,
        bill::{Amounts, Compared, Measure, Place, Threshold, compare},
        event::{Event, EventType, UsageMismatch, format_millis, parse_millis},
        finding::Severity,
        model::ModelName,
        money::Usd,
        usage::{Bucket, Grouping, Rows, UsageQuery, UsageTable},
    },
    intake::{FieldError, WireCost},
};

/// Most lines of a bill.
const MOST: usize = 20_000;
/// Most days between the first and the last of a bill.
const MOST_DAYS: Millis = 400;
/// What ledger and bill may differ by where nothing else is said.
const THRESHOLD: Threshold = Threshold::Share(10_000);
/// What a threshold looks like.
const FORM: &str = "must be a percentage of the larger of both, such as 1%, or US dollars, such as 0.50";
/// Characters of a date.
const DATE: usize = 10;

/// A provider's bill, and how it is compared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WireBill {
    /// What is billed: 1 to 20000 lines, of at most 400 days.
    #[schema(min_items = 1, max_items = 20_000)]
    lines: Vec<WireLine>,
    /// By how much ledger and bill may differ: a percentage of the larger of both, such as 1% (the default), or US
    /// dollars, such as 0.50.
    #[serde(default)]
    #[schema(example = "1%")]
    threshold: Option<String>,
    /// Only these models of the ledger: names, or patterns such as `gpt-4.1*`. Without any: all.
    #[serde(default)]
    #[schema(max_items = 100)]
    models: Vec<String>,
}

/// A line of a bill: what is billed for a day, and for a model and a key where they are told apart.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WireLine {
    /// The day of UTC.
    #[schema(example = "2026-03-02")]
    day: String,
    /// The model, by any of its names. Without one in any line, models are not told apart.
    #[serde(default)]
    model: Option<String>,
    /// The public id of the key. Without one in any line, keys are not told apart.
    #[serde(default)]
    key_id: Option<String>,
    /// US dollars. Without any in all lines, tokens are compared.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "0.75")]
    cost_usd: Option<WireCost>,
    /// Tokens of prompts and answers together.
    #[serde(default)]
    tokens: Option<u64>,
}

/// Ledger and bill, side by side.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reconciled {
    /// The first day.
    from: String,
    /// The last day.
    to: String,
    /// `cost` or `tokens`: what is compared.
    #[schema(value_type = String)]
    measure: &'static str,
    /// By how much both may differ.
    threshold: String,
    /// How many rows differ by more.
    mismatches: usize,
    /// Each day, model and key that ledger or bill names.
    rows: Vec<ReconciledRow>,
    /// The sum of all rows.
    total: ReconciledRow,
}

/// Ledger and bill of a day, a model and a key.
#[derive(Debug, Serialize, ToSchema)]
struct ReconciledRow {
    /// The day; absent in a sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    day: Option<String>,
    /// The model, where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    model: Option<Arc<str>>,
    /// The public id of the key, where one is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    key_id: Option<Arc<str>>,
    /// What the ledger counted, in US dollars.
    #[schema(value_type = String)]
    ledger_usd: Usd,
    /// What is billed, in US dollars.
    #[schema(value_type = String)]
    bill_usd: Usd,
    /// The ledger's amount without that of the bill, in US dollars: with a minus where the bill is higher.
    difference_usd: String,
    /// Tokens that the ledger counted.
    ledger_tokens: u64,
    /// Tokens that are billed; 0 where the bill names none.
    bill_tokens: u64,
    /// Whether they differ by more than the threshold.
    exceeds: bool,
}

impl ReconciledRow {
    fn new(place: Option<&Place>, ledger: Amounts, bill: Amounts, exceeds: bool) -> Self {
        let sign = if bill.nanos > ledger.nanos { "-" } else { "" };
        Self {
            day: place.map(|place| date(place.day)),
            model: place.and_then(|place| place.model.clone()),
            key_id: place.and_then(|place| place.key.clone()),
            ledger_usd: Usd(ledger.nanos),
            bill_usd: Usd(bill.nanos),
            difference_usd: format!("{sign}{}", Usd(ledger.nanos.abs_diff(bill.nanos))),
            ledger_tokens: ledger.tokens,
            bill_tokens: bill.tokens,
            exceeds,
        }
    }
}

/// A bill that was read.
struct Bill {
    amounts: BTreeMap<Place, Amounts>,
    measure: Measure,
    threshold: Threshold,
    models: Vec<ModelName>,
    /// Whether its lines tell models, and keys, apart.
    group: Grouping,
    /// The begin of the first day, and of the last one.
    days: (Millis, Millis),
}

/// Holds what a provider bills against what the ledger counted, per day, model and key. Differences above the threshold
/// are one event `USAGE_MISMATCH`.
#[utoipa::path(
    post, path = "/v1/usage/reconcile", tag = "usage", operation_id = "reconcile_usage", request_body = WireBill,
    responses(
        (status = 200, body = Reconciled, description = "Ledger and bill, side by side."),
        (
            status = "4XX", body = Problem, content_type = "application/problem+json",
            description = "The bill is not as it must be, or it would be too many rows."
        ),
        (
            status = 503, body = Problem, content_type = "application/problem+json",
            description = "The store does not answer."
        ),
    ),
)]
pub(super) async fn reconcile(
    State(app): State<App>,
    LargeJson(wire): LargeJson<WireBill>,
) -> Result<Json<Reconciled>, ApiError> {
    let bill = read(&app, wire).map_err(ApiError::Fields)?;
    let (now, (from, last)) = (app.engine.now(), bill.days);
    let query = UsageQuery {
        group: bill.group,
        ..usage::bounded(UsageQuery::new(Rows::Each(Bucket::Day), (from, last.saturating_add(DAY)), now))
    };
    let table = usage::whole(app.engine.usage().table(&query).await?)?;
    let rows = compare(&ledger(&bill, table), &bill.amounts, bill.measure, bill.threshold);
    let reconciled = reconciled(&bill, &rows);
    if let Some(event) = mismatch(&bill, &rows, &reconciled, now) {
        app.engine.tell(event);
    }
    Ok(Json(reconciled))
}

/// Reads a bill; every mistake with its pointer.
fn read(app: &App, wire: WireBill) -> Result<Bill, Vec<FieldError>> {
    let mut errors = Vec::new();
    if !(1..=MOST).contains(&wire.lines.len()) {
        errors.push(FieldError::new("/lines", format!("must have 1 to {MOST} lines")));
    }
    let threshold = wire.threshold.as_deref().map_or(Some(THRESHOLD), Threshold::parse);
    let has_costs = wire.lines.iter().any(|line| line.cost_usd.is_some());
    let measure = if has_costs { Measure::Cost } else { Measure::Tokens };
    let is_amount = matches!(threshold, Some(Threshold::Nanos(_)));
    if threshold.is_none() || is_amount && measure == Measure::Tokens {
        errors.push(FieldError::new("/threshold", FORM));
    }
    let models: Vec<ModelName> = wire.models.iter().filter_map(|name| ModelName::parse(name).ok()).collect();
    if models.len() < wire.models.len() {
        errors.push(FieldError::new("/models", "must be names of models, or patterns such as gpt-4.1*"));
    }
    let group = Grouping {
        model: wire.lines.iter().any(|line| line.model.is_some()),
        key: wire.lines.iter().any(|line| line.key_id.is_some()),
        ..Grouping::default()
    };
    let mut amounts = BTreeMap::<Place, Amounts>::new();
    for (n, line) in wire.lines.into_iter().take(MOST).enumerate() {
        match line.read(app) {
            Some((place, more)) => {
                let sum = amounts.entry(place).or_default();
                *sum = sum.plus(more);
            }
            None => {
                errors.push(FieldError::new(format!("/lines/{n}/day"), "must be a date such as 2026-03-02"))
            }
        }
    }
    let days = (amounts.keys().next(), amounts.keys().next_back());
    let days = (days.0.map_or(0, |place| place.day), days.1.map_or(0, |place| place.day));
    if (days.1 - days.0) / DAY >= MOST_DAYS {
        errors.push(FieldError::new("/lines", format!("must be of at most {MOST_DAYS} days")));
    }
    let threshold = threshold.unwrap_or(THRESHOLD);
    if errors.is_empty() {
        Ok(Bill { amounts, measure, threshold, models, group, days })
    } else {
        Err(errors)
    }
}

impl WireLine {
    /// Its place, with the one name under which the ledger counts its model, and what it bills.
    fn read(self, app: &App) -> Option<(Place, Amounts)> {
        let is_date = self.day.len() == DATE;
        let day = parse_millis(&format!("{}T00:00:00Z", self.day)).ok().filter(|_| is_date)?;
        let model = self.model.map(|model| {
            let known = app.intake.prices().find(&model);
            known.identity().map_or_else(|| model.into(), |identity| identity.name.clone())
        });
        let nanos = self.cost_usd.map_or(0, WireCost::nanos);
        let amounts = Amounts { nanos, tokens: self.tokens.unwrap_or(0) };
        Some((Place { day, model, key: self.key_id.map(Arc::from) }, amounts))
    }
}

/// What the ledger counted, of the models that are asked for.
fn ledger(bill: &Bill, table: UsageTable) -> BTreeMap<Place, Amounts> {
    let is_meant = |model: Option<&str>| {
        bill.models.is_empty() || model.is_some_and(|model| bill.models.iter().any(|name| name.fits(model)))
    };
    let mut ledger = BTreeMap::<Place, Amounts>::new();
    for ((day, key), totals) in table.rows {
        let place = Place { day, model: key.model, key: key.key };
        let used = Amounts { nanos: totals.cost_nanos, tokens: totals.tokens };
        // What cost nothing and used nothing, a refusal, is in no bill.
        if used != Amounts::default() && (!bill.group.model || is_meant(place.model.as_deref())) {
            let sum = ledger.entry(place).or_default();
            *sum = sum.plus(used);
        }
    }
    ledger
}

fn reconciled(bill: &Bill, rows: &[Compared]) -> Reconciled {
    let sum = |of: fn(&Compared) -> Amounts| rows.iter().map(of).fold(Amounts::default(), Amounts::plus);
    let (ledger, billed) = (sum(|row| row.ledger), sum(|row| row.bill));
    let mismatches = rows.iter().filter(|row| row.exceeds).count();
    let row = |row: &Compared| ReconciledRow::new(Some(&row.place), row.ledger, row.bill, row.exceeds);
    Reconciled {
        from: date(bill.days.0),
        to: date(bill.days.1),
        measure: match bill.measure {
            Measure::Cost => "cost",
            Measure::Tokens => "tokens",
        },
        threshold: bill.threshold.to_string(),
        mismatches,
        rows: rows.iter().map(row).collect(),
        total: ReconciledRow::new(None, ledger, billed, mismatches > 0),
    }
}

/// The event of a bill that differs by more than it may.
fn mismatch(bill: &Bill, rows: &[Compared], seen: &Reconciled, now: Millis) -> Option<Event> {
    let worst = rows.iter().filter(|row| row.exceeds).max_by_key(|row| row.difference(bill.measure))?;
    let at = &worst.place;
    let names = [Some(date(at.day)), at.model.as_deref().map(Into::into), at.key.as_deref().map(Into::into)];
    let names: Vec<String> = names.into_iter().flatten().collect();
    let amounts = |of: Amounts| match bill.measure {
        Measure::Cost => format!("{} USD", Usd(of.nanos)),
        Measure::Tokens => format!("{} tokens", of.tokens),
    };
    let rows = if seen.mismatches == 1 { "row differs" } else { "rows differ" };
    let summary = format!(
        "Ledger and bill from {} to {}: {} {rows} by more than {}; most in {}, {} in the ledger and {} in the bill.",
        seen.from,
        seen.to,
        seen.mismatches,
        bill.threshold,
        names.join(", "),
        amounts(worst.ledger),
        amounts(worst.bill),
    );
    let details = UsageMismatch {
        summary,
        from: seen.from.clone(),
        to: seen.to.clone(),
        mismatches: seen.mismatches,
        threshold: seen.threshold.clone(),
        ledger_usd: seen.total.ledger_usd.to_string(),
        bill_usd: seen.total.bill_usd.to_string(),
    };
    Some(Event::new(now, EventType::UsageMismatch, Severity::Medium, None).with(&details))
}

/// The day of UTC of a moment.
fn date(time: Millis) -> String {
    let mut text = format_millis(time);
    text.truncate(DATE);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::golden;

    #[test]
    fn a_mismatch_is_written_as_its_golden_file_says() {
        let day = 1_772_409_600_000;
        let place = Place { day, model: Some("gpt-4.1".into()), key: None };
        let of = |nanos| Amounts { nanos, tokens: 0 };
        let amounts = BTreeMap::from([(place.clone(), of(2_000_000_000))]);
        let group = Grouping { model: true, ..Grouping::default() };
        let (measure, threshold, models, days) = (Measure::Cost, THRESHOLD, Vec::new(), (day, day));
        let bill = Bill { amounts, measure, threshold, models, group, days };
        let ledger = BTreeMap::from([(place, of(1_500_000_000))]);
        let rows = compare(&ledger, &bill.amounts, measure, threshold);
        let seen = reconciled(&bill, &rows);
        golden::check("", &mismatch(&bill, &rows, &seen, 1_772_442_000_000).unwrap());
    }
}
