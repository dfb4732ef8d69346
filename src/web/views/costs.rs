//! Costs: who spends, and will it hold? Its rows and its picture are in `cost_parts`.

use askama::Template;
use axum::{extract::State, response::Response};

use super::{
    cost_parts::{AlertRow, Budget, DayRow, Month, SpendRow, alerts, budgets, by_day, day_row, spend_rows},
    events::Choice,
};
use crate::{
    domain::{
        Millis,
        calendar::{Calendar, Zone},
        event::format_millis,
        usage::{Bucket, Grouping, Rows, UsageKey, UsageQuery, UsageTable},
    },
    http::{App, error::ApiError, params::Params},
    store::StoreError,
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{exact_money, money},
    },
};

/// Rows of the table of who spends.
const ROWS: usize = 25;
/// Series that are looked at for it; beyond them it says that there are too many.
const MOST_SERIES: usize = 100_000;

/// By what spend can be told apart: the name in the address, and in words.
const BY: [(&str, &str); 5] = [
    ("project", "by project"),
    ("model", "by model"),
    ("key", "by key"),
    ("endpoint", "by endpoint"),
    ("user", "by user"),
];

#[derive(Template)]
#[template(path = "costs.html")]
struct CostsPage {
    frame: Frame,
    month: Month,
    so_far: String,
    so_far_exact: String,
    today: String,
    picture: String,
    days: Vec<DayRow>,
    by: Vec<Choice>,
    by_words: &'static str,
    csv: String,
    rows: Vec<SpendRow>,
    left_out: usize,
    is_too_much: bool,
    budgets: Vec<Budget>,
    alerts: Vec<AlertRow>,
}

/// Shows what this month cost, of UTC: parameter `by`.
pub(in crate::web) async fn show(
    State(app): State<App>,
    frame: Frame,
    params: Params,
) -> Result<Response, Fault> {
    let by = by(&app, &params.only(&["by", "done"])?)?;
    let now = app.engine.now();
    let (from, to) = Calendar::Month.period(now, &Zone::UTC);
    let days = UsageQuery::new(Rows::Each(Bucket::Day), (from, now + 1), now);
    // One after the other: each writes first what was not written yet.
    let days = app.engine.usage().table(&days).await?;
    let spenders = spenders(&app, by.0, from, now).await?;
    let forecast = app.engine.usage().forecast(UsageKey::default(), &Zone::UTC, now).await?;
    let (budgets, all_budgets) = budgets(&app, now).await?;
    let by_day = by_day(&days.rows, from, now);
    let month = Month::new(forecast.as_ref());
    let rows = spend_rows(&spenders, by.0);
    Ok(render(
        200,
        &CostsPage {
            so_far: money(days.total.cost_nanos),
            so_far_exact: exact_money(days.total.cost_nanos),
            today: money(by_day.last().map_or(0, |(_, totals)| totals.cost_nanos)),
            picture: month.picture(&by_day, (from, to), all_budgets),
            month,
            days: by_day.iter().rev().map(day_row).collect(),
            by: choices(by.0, app.engine.usage().is_by_user()),
            by_words: by.1,
            csv: csv(by.0, from),
            left_out: rows.len().saturating_sub(ROWS),
            rows: rows.into_iter().take(ROWS).collect(),
            is_too_much: spenders.overflowed,
            budgets,
            alerts: alerts(&app),
            frame,
        },
    ))
}

/// The address of the same figures by day, as CSV, from the begin of the month on.
fn csv(by: &str, from: Millis) -> String {
    let from = format_millis(from);
    let day = from.get(..10).unwrap_or_default();
    format!("/ui/costs/usage?group_by={by}&bucket=day&from={day}&format=csv")
}

fn by(app: &App, params: &Params) -> Result<(&'static str, &'static str), ApiError> {
    let must = "project, model, key, endpoint or user";
    let by = params.get("by", must, |text| BY.into_iter().find(|(name, _)| *name == text))?.unwrap_or(BY[0]);
    if by.0 == "user" && !app.engine.usage().is_by_user() {
        let detail =
            "asks for users, which are not told apart: set usage.by_user = true in the configuration";
        return Err(ApiError::field("/by", detail));
    }
    Ok(by)
}

async fn spenders(app: &App, by: &str, from: Millis, now: Millis) -> Result<UsageTable, StoreError> {
    let query = UsageQuery {
        group: grouping(by),
        max_scanned: MOST_SERIES,
        ..UsageQuery::new(Rows::Whole, (from, now + 1), now)
    };
    app.engine.usage().table(&query).await
}

fn choices(chosen: &str, has_users: bool) -> Vec<Choice> {
    let known = BY.iter().filter(|(name, _)| *name != "user" || has_users);
    known
        .map(|(value, text)| Choice { value, text: (*text).to_owned(), is_chosen: *value == chosen })
        .collect()
}

fn grouping(by: &str) -> Grouping {
    Grouping {
        project: by == "project",
        model: by == "model",
        key: by == "key",
        endpoint: by == "endpoint",
        user: by == "user",
    }
}
