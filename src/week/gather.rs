//! Reads what a week came to.

use std::collections::BTreeMap;

use super::{
    bans::bans,
    figures::{Budget, Day, EventCount, Outlook, ProjectSpend, Spend, Week},
    noise,
};
use crate::{
    domain::{
        DAY, Millis,
        calendar::Zone,
        event::{TallyBy, format_millis},
        forecast,
        money::Usd,
        subject::Subject,
        usage::{Grouping, Rows, Totals, UsageKey, UsageQuery},
        window::Unit,
    },
    engine::{Engine, EventSummary},
    store::StoreError,
};

/// How long a week is, in milliseconds.
pub const LENGTH: Millis = 7 * DAY;
/// Projects that are listed at most.
const MOST_PROJECTS: usize = 100;
/// Projects whose month is looked ahead to, who spent most first: each takes a look at 28 days.
const MOST_FORECASTS: usize = 20;
/// Series that are looked at to tell projects apart.
const MOST_SERIES: usize = 100_000;

/// What the seven days before a moment came to.
///
/// # Errors
/// When the store does not answer.
pub async fn gather(engine: &Engine, to: Millis) -> Result<Week, StoreError> {
    let from = to - LENGTH;
    let counts =
        engine.event_counts().summary(TallyBy::Type, (from - LENGTH, to), crate::domain::HOUR).await?;
    let words = noise::last_words(engine, from).await?;
    let (bans, more_bans) = bans(engine, (from, to), &words).await?;
    let mut of_week = counts.clone();
    of_week.rows.retain(|(start, _), _| *start >= from);
    let mut detectors = noise::rows(engine, &of_week, &words);
    detectors.sort_by_key(|row| std::cmp::Reverse((row.benign, row.findings)));
    let spend = spend(engine, from, to).await?;
    let (projects, more_projects) = projects(engine, from, to).await?;
    Ok(Week {
        from: format_millis(from),
        to: format_millis(to),
        complete: counts.is_complete,
        events: events(&counts, from),
        bans,
        more_bans,
        detectors,
        spend,
        projects,
        more_projects,
    })
}

/// Counts by type: of the week, of the week before, and of each day of the week.
fn events(counts: &EventSummary, from: Millis) -> Vec<EventCount> {
    let mut found: BTreeMap<&str, EventCount> = BTreeMap::new();
    for ((start, name), count) in &counts.rows {
        let Some(name) = name.as_deref() else { continue };
        let row = found.entry(name).or_insert_with(|| EventCount {
            kind: name.to_owned(),
            count: 0,
            before: 0,
            days: vec![0; 7],
        });
        match usize::try_from((start - from).div_euclid(DAY)) {
            Ok(day) => {
                row.count += count;
                if let Some(day) = row.days.get_mut(day) {
                    *day += count;
                }
            }
            Err(_) => row.before += count,
        }
    }
    let mut rows: Vec<EventCount> = found.into_values().collect();
    rows.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.kind.cmp(&b.kind)));
    rows
}

async fn spend(engine: &Engine, from: Millis, to: Millis) -> Result<Spend, StoreError> {
    let now = engine.now();
    let mut days = Vec::new();
    let mut sum = Totals::default();
    for day in 0..7 {
        let begin = from + day * DAY;
        let totals = total(engine, (begin, begin + DAY), now).await?;
        sum.merge(&totals);
        days.push(Day { from: format_millis(begin), cost_usd: Usd(totals.cost_nanos) });
    }
    let before = total(engine, (from - LENGTH, from), now).await?;
    Ok(Spend {
        cost_usd: Usd(sum.cost_nanos),
        before_usd: Usd(before.cost_nanos),
        requests: sum.requests,
        refused: sum.refused,
        tokens: sum.tokens,
        days,
        month: outlook(engine, UsageKey::default(), to).await?,
    })
}

async fn total(engine: &Engine, span: (Millis, Millis), now: Millis) -> Result<Totals, StoreError> {
    Ok(engine.usage().table(&UsageQuery::new(Rows::Whole, span, now)).await?.total)
}

async fn outlook(engine: &Engine, only: UsageKey, to: Millis) -> Result<Option<Outlook>, StoreError> {
    let expected = engine.usage().forecast(only, &Zone::UTC, to).await?;
    Ok(expected.map(|expected| in_dollars(&expected.month.cost_nanos)))
}

fn in_dollars(outlook: &forecast::Outlook) -> Outlook {
    let dollars = |nanos: f64| Usd(nanos.max(0.0).round() as u64);
    let (low_usd, high_usd) = outlook.interval.map(|(low, high)| (dollars(low), dollars(high))).unzip();
    Outlook { expected_usd: dollars(outlook.expected), low_usd, high_usd }
}

/// What projects spent, who spent most first; and how many are not listed.
async fn projects(
    engine: &Engine,
    from: Millis,
    to: Millis,
) -> Result<(Vec<ProjectSpend>, Option<usize>), StoreError> {
    let by_project = |span| {
        let group = Grouping { project: true, ..Grouping::default() };
        UsageQuery { group, max_scanned: MOST_SERIES, ..UsageQuery::new(Rows::Whole, span, engine.now()) }
    };
    let spent = engine.usage().table(&by_project((from, to))).await?;
    let before = engine.usage().table(&by_project((from - LENGTH, from))).await?;
    let of = |table: &BTreeMap<(Millis, UsageKey), Totals>, project: Option<&str>| {
        let mut sum = Totals::default();
        let rows = table.iter().filter(|((_, key), _)| key.project.as_deref() == project);
        rows.for_each(|(_, totals)| sum.merge(totals));
        sum
    };
    let mut found: Vec<(Option<String>, Totals)> = spent
        .rows
        .iter()
        .map(|((_, key), totals)| (key.project.as_deref().map(str::to_owned), *totals))
        .collect();
    let registry = engine.policy();
    for project in registry.registry.projects().keys() {
        if !found.iter().any(|(known, _)| known.as_deref() == Some(project)) {
            found.push((Some(project.to_string()), Totals::default()));
        }
    }
    found.sort_by(|(a, spent_a), (b, spent_b)| spent_b.cost_nanos.cmp(&spent_a.cost_nanos).then(a.cmp(b)));
    let more = found.len().saturating_sub(MOST_PROJECTS);
    let mut rows = Vec::new();
    for (n, (project, totals)) in found.into_iter().take(MOST_PROJECTS).enumerate() {
        let budgets = budgets(engine, project.as_deref()).await?;
        let month = match &project {
            Some(name) if n < MOST_FORECASTS && !budgets.is_empty() => {
                let only = UsageKey { project: Some(name.as_str().into()), ..UsageKey::default() };
                outlook(engine, only, to).await?
            }
            _ => None,
        };
        rows.push(ProjectSpend {
            cost_usd: Usd(totals.cost_nanos),
            before_usd: Usd(of(&before.rows, project.as_deref()).cost_nanos),
            requests: totals.requests,
            month,
            budgets,
            project,
        });
    }
    Ok((rows, (!spent.overflowed).then_some(more)))
}

async fn budgets(engine: &Engine, project: Option<&str>) -> Result<Vec<Budget>, StoreError> {
    let Some(project) = project else { return Ok(Vec::new()) };
    let views = engine.limits().of(&Subject::project(project), engine.now()).await?;
    let of_money = views.into_iter().map(|view| view.status).filter(|status| status.unit == Unit::CostUsd);
    let budget = of_money.map(|status| Budget {
        window: status.window.to_string(),
        model: status.model.as_deref().map(str::to_owned),
        limit_usd: Usd(status.limit),
        used_usd: Usd(status.used),
    });
    Ok(budget.collect())
}
