//! The parts of the view of costs: rows by day and by who spends, budgets, alert rules, and the picture of the month.

use std::collections::BTreeMap;

use super::subject_parts::{LimitRow, limits};
use crate::{
    domain::{
        DAY, Millis,
        alert::AlertState,
        calendar::Calendar,
        event::wire_name,
        forecast::{Forecast, Outlook},
        limit::{Limit, LimitMode, Span},
        registry::{Project, Registry},
        subject::Subject,
        usage::{Totals, UsageKey, UsageTable},
        window::Unit,
        wording::whole,
    },
    engine::AlertStatus,
    http::App,
    picture::{Band, Line, meter},
    store::StoreError,
    web::shown::{Moment, exact_money, in_words, money, subject_path},
};

/// Projects whose budgets are shown.
const BUDGETS: usize = 12;

/// What a day cost.
#[derive(Debug)]
pub(in crate::web) struct DayRow {
    /// The day, of UTC.
    pub day: String,
    /// What it cost, with two digits.
    pub cost: String,
    /// How many requests there were.
    pub requests: String,
    /// How many tokens they had.
    pub tokens: String,
}

/// What one project, model, key, endpoint or user spent.
#[derive(Debug)]
pub(in crate::web) struct SpendRow {
    /// The name of whose it is.
    pub name: String,
    /// Where that subject is shown; `None` of what is no subject.
    pub path: Option<String>,
    /// How many requests there were.
    pub requests: String,
    /// How many tokens they had.
    pub tokens: String,
    /// What it cost, with two digits.
    pub cost: String,
    /// What it cost, to the nano-dollar.
    pub exact: String,
    /// The cost as a bar, beside the largest.
    pub bar: String,
}

/// The limits on US dollars of a project.
#[derive(Debug)]
pub(in crate::web) struct Budget {
    /// The name of whose it is.
    pub project: String,
    /// Where that project is shown.
    pub path: String,
    /// How each of them stands.
    pub limits: Vec<LimitRow>,
}

/// An alert rule that fires, or did.
#[derive(Debug)]
pub(in crate::web) struct AlertRow {
    /// What the rule is called.
    pub rule: String,
    /// Whether it fires still, in words.
    pub state: String,
    /// How bad it is.
    pub severity: &'static str,
    /// Since when it is so.
    pub since: Option<Moment>,
    /// Whom it is about.
    pub about: String,
    /// The sum at which it was true.
    pub observed: String,
    /// What that is held against.
    pub threshold: String,
}

/// Each day of the month up to now, also where nothing was used.
pub(in crate::web) fn by_day(
    rows: &BTreeMap<(Millis, UsageKey), Totals>,
    from: Millis,
    now: Millis,
) -> Vec<(Millis, Totals)> {
    let days = (now - from).div_euclid(DAY);
    let of = |day: Millis| {
        let mut sum = Totals::default();
        rows.iter().filter(|((start, _), _)| *start == day).for_each(|(_, totals)| sum.merge(totals));
        sum
    };
    (0..=days).map(|n| from + n * DAY).map(|day| (day, of(day))).collect()
}

/// A day of the table.
pub(in crate::web) fn day_row((day, totals): &(Millis, Totals)) -> DayRow {
    DayRow {
        day: Moment::at(*day).text.get(..10).unwrap_or_default().to_owned(),
        cost: money(totals.cost_nanos),
        requests: whole(totals.requests),
        tokens: whole(totals.tokens),
    }
}

/// What is expected of the month.
#[derive(Debug)]
pub(in crate::web) struct Month {
    outlook: Option<Outlook>,
    /// What it will have cost by its end, in words.
    pub expected: String,
    /// Between which amounts that is in eight of ten cases; `None` where too few days are known.
    pub interval: Option<(String, String)>,
    /// Whole days from which the interval is.
    pub known_days: usize,
}

impl Month {
    /// What a forecast says; without one nothing is expected.
    pub(in crate::web) fn new(forecast: Option<&Forecast>) -> Self {
        let outlook = forecast.map(|forecast| forecast.month.cost_nanos);
        let words = |nanos: f64| money(nanos.max(0.0).round() as u64);
        let interval = outlook.as_ref().and_then(|outlook| outlook.interval);
        Self {
            expected: outlook.as_ref().map_or_else(|| "not known".to_owned(), |o| words(o.expected)),
            interval: interval.map(|(low, high)| (words(low), words(high))),
            known_days: forecast.map_or(0, |forecast| forecast.days),
            outlook,
        }
    }

    /// The cost of the month as it adds up, what is expected by its end, and the sum of the budgets in nano-dollars.
    pub(in crate::web) fn picture(
        &self,
        by_day: &[(Millis, Totals)],
        (from, to): (Millis, Millis),
        budgets: Option<u64>,
    ) -> String {
        let mut known = vec![0.0];
        for (_, totals) in by_day {
            known.push(known.last().unwrap_or(&0.0) + usd(totals.cost_nanos as f64));
        }
        let days = usize::try_from((to - from) / DAY).unwrap_or(31);
        let label = |day: usize| {
            let date = Moment::at(from + day as Millis * DAY).text;
            (day, date.get(5..10).unwrap_or_default().to_owned())
        };
        let band = |outlook: &Outlook| Band {
            expected: usd(outlook.expected),
            interval: outlook.interval.map(|(low, high)| (usd(low), usd(high))),
        };
        Line {
            description: "Cost of this month in US dollars as it adds up, and what is expected by its end"
                .to_owned(),
            known,
            steps: days + 1,
            end: self.outlook.as_ref().map(band),
            limit: budgets.map(|nanos| (usd(nanos as f64), "all budgets".to_owned())),
            labels: (1..days.saturating_sub(1)).step_by(7).map(label).collect(),
        }
        .svg()
    }
}

/// Nano-dollars as dollars, for a picture alone.
fn usd(nanos: f64) -> f64 {
    nanos.max(0.0) / 1e9
}

/// What each spent, who spent most first.
pub(in crate::web) fn spend_rows(spenders: &UsageTable, by: &str) -> Vec<SpendRow> {
    let mut found: Vec<(&UsageKey, &Totals)> =
        spenders.rows.iter().map(|((_, key), totals)| (key, totals)).collect();
    found.sort_by_key(|(_, totals)| std::cmp::Reverse((totals.cost_nanos, totals.tokens)));
    let most = found.first().map_or(1, |(_, totals)| totals.cost_nanos.max(1));
    found.into_iter().map(|(key, totals)| spend_row(key, totals, by, most)).collect()
}

fn spend_row(key: &UsageKey, totals: &Totals, by: &str, most: u64) -> SpendRow {
    type SubjectOf = fn(&str) -> Subject;
    let (name, subject): (_, Option<SubjectOf>) = match by {
        "project" => (&key.project, Some(Subject::project)),
        "model" => (&key.model, None),
        "key" => (&key.key, Some(Subject::key)),
        "endpoint" => (&key.endpoint, None),
        _ => (&key.user, None),
    };
    let subject = name.as_deref().zip(subject).map(|(name, subject)| subject(name));
    SpendRow {
        path: subject.map(|subject| subject_path(subject.as_str())),
        name: name.as_deref().unwrap_or("(none)").to_owned(),
        requests: whole(totals.requests),
        tokens: whole(totals.tokens),
        cost: money(totals.cost_nanos),
        exact: exact_money(totals.cost_nanos),
        bar: meter(totals.cost_nanos as f64 / most as f64 * 0.79),
    }
}

/// What all projects together may spend in a calendar month, in nano-dollars: the sum of their budgets that refuse and
/// are on all models; of several on one project the least, as it is what holds. `None` where no project has one.
fn all_budgets(registry: &Registry) -> Option<u64> {
    let is_budget = |limit: &Limit| {
        let is_monthly = limit.span == Span::Calendar(Calendar::Month);
        is_monthly && limit.unit == Unit::CostUsd && limit.model.is_none() && limit.mode == LimitMode::Enforce
    };
    let of_project = |project: &str| {
        let limits = registry.limits_of_project(project);
        limits
            .iter()
            .map(|applied| &applied.rule.limit)
            .filter(|limit| is_budget(limit))
            .map(|limit| limit.most)
            .min()
    };
    registry.projects().keys().filter_map(|project| of_project(project)).reduce(u64::saturating_add)
}

/// The first projects with a limit on US dollars, and what all projects may spend in a month.
pub(in crate::web) async fn budgets(
    app: &App,
    now: Millis,
) -> Result<(Vec<Budget>, Option<u64>), StoreError> {
    let policy = app.engine.policy();
    let has_budget = |body: &Project| {
        body.budget_usd.is_some() || body.limits.iter().any(|limit| limit.unit == Unit::CostUsd)
    };
    let projects = policy.registry.projects().iter().filter(|(_, held)| has_budget(&held.body));
    let sum = all_budgets(&policy.registry);
    let mut budgets = Vec::new();
    for (project, _) in projects.take(BUDGETS) {
        let subject = Subject::project(project);
        let mut views = app.engine.limits().of(&subject, now).await?;
        views.retain(|view| view.status.unit == Unit::CostUsd);
        let path = subject_path(subject.as_str());
        budgets.push(Budget { project: project.to_string(), path, limits: limits(&views) });
    }
    Ok((budgets, sum))
}

/// Alert rules that fire, or did.
pub(in crate::web) fn alerts(app: &App) -> Vec<AlertRow> {
    let fired = app.engine.alerts().into_iter().filter(|status| status.state != AlertState::Pending);
    let row = |status: AlertStatus| AlertRow {
        rule: status.rule.title(),
        state: in_words(&wire_name(&status.state)),
        severity: status.rule.severity.name(),
        since: status.since.map(Moment::at),
        about: status.name.as_deref().unwrap_or("everything").to_owned(),
        observed: status.observed.unwrap_or_default(),
        threshold: status.threshold.unwrap_or_default(),
    };
    fired.map(row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::registry::{Configured, Entry};

    #[test]
    fn all_budgets_are_those_of_every_project_that_refuse_and_are_on_all_models() {
        let project = |name: String| {
            let body = serde_json::json!({ "budget_usd": 10, "limits": [
                { "unit": "cost_usd", "window": "month", "limit": 5, "model": "gpt-4.1" },
                { "unit": "cost_usd", "window": "day", "limit": 1 },
            ] });
            let project = serde_json::from_value::<Project>(body).unwrap().checked().unwrap();
            (name, Entry::Project(project), 0)
        };
        let projects = (0..15).map(|n| project(format!("p{n}")));
        let registry = Registry::new(Arc::new(Configured::default()), projects);
        assert_eq!(all_budgets(&registry), Some(150_000_000_000), "fifteen of 10 dollars, and not twelve");
        assert_eq!(all_budgets(&Registry::new(Arc::new(Configured::default()), [])), None);
    }
}
