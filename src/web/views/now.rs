//! Now: is something wrong?

use askama::Template;
use axum::{extract::State, response::Response};

use crate::{
    domain::{
        DAY, HOUR, Millis,
        event::TallyBy,
        finding::Severity,
        standing::StandingState,
        usage::{Bucket, Rows, UsageQuery},
        wording::{percent, whole},
    },
    engine::EventSummary,
    http::{App, sinks},
    picture::{Bar, Bars},
    store::{EventQuery, StoreError},
    web::{
        fault::{Fault, render},
        frame::Frame,
        shown::{EventRow, HeldRow, Moment, exact_money, money},
    },
};

/// Hours of the picture.
const HOURS: Millis = 24;
/// Events in the list before anything comes live.
const EVENTS: usize = 20;
/// Bans and throttles in the list.
const HELD: usize = 6;
/// A sink that is behind by more than this is late, seconds.
const LATE: u64 = 60;

#[derive(Template)]
#[template(path = "now.html")]
struct NowPage {
    frame: Frame,
    picture: String,
    hours: Vec<HourRow>,
    all_events: String,
    grave_events: String,
    is_complete: bool,
    held: Vec<HeldRow>,
    held_count: String,
    held_for_good: usize,
    spend: Spend,
    sinks: SinksTile,
    events: Vec<EventRow>,
}

/// Counts of an hour, mildest first.
struct HourRow {
    start: Moment,
    counts: [u64; 4],
}

/// What was spent today, held against yesterday until the same time; days are of UTC.
#[derive(Default)]
struct Spend {
    today: String,
    today_exact: String,
    yesterday: String,
    change: Option<String>,
}

/// How many sinks there are, and which are late.
#[derive(Default)]
struct SinksTile {
    all: usize,
    late: Vec<String>,
}

/// Shows what is going on.
pub(in crate::web) async fn show(State(app): State<App>, frame: Frame) -> Result<Response, Fault> {
    let now = app.engine.now();
    let begin = now.div_euclid(HOUR) * HOUR - (HOURS - 1) * HOUR;
    // As many as the live list shows at first: those of at least medium severity.
    let query = EventQuery { limit: EVENTS, severity: Some(Severity::Medium), ..EventQuery::default() };
    let (counts, standings, events, spend) = tokio::join!(
        app.engine.event_counts().summary(TallyBy::Severity, (begin, now + 1), HOUR),
        app.engine.store().standings_in_force(now),
        app.engine.store().events(&query),
        spend(&app, now),
    );
    // While the store does not answer, the frame says so, and this view shows what it can.
    let known = frame.degraded_since.is_none();
    let counts = or_nothing(counts, known)?;
    let standings = or_nothing(standings, known)?;
    let events = or_nothing(events.map(|page| page.items), known)?;
    let spend = or_nothing(spend, known)?;
    let hours = hours(&counts, begin);
    let sum = |from: usize| -> u64 { hours.iter().flat_map(|hour| &hour.counts[from..]).sum() };
    let good = |state| standings.iter().filter(|record| record.standing.state_at(now) == state).count();
    Ok(render(
        200,
        &NowPage {
            picture: picture(&hours),
            all_events: whole(sum(0)),
            grave_events: whole(sum(2)),
            is_complete: counts.is_complete,
            held_count: whole(standings.len() as u64),
            held_for_good: good(StandingState::PermanentlyBanned),
            held: standings.iter().take(HELD).map(|record| HeldRow::new(&app, record, now)).collect(),
            hours,
            spend,
            sinks: sinks_tile(&app).await.unwrap_or_default(),
            events: events.iter().map(EventRow::from).collect(),
            frame,
        },
    ))
}

fn or_nothing<T: Default>(answer: Result<T, StoreError>, known: bool) -> Result<T, Fault> {
    match answer {
        Err(error) if known => Err(error.into()),
        answer => Ok(answer.unwrap_or_default()),
    }
}

/// An hour for each, also where nothing happened.
fn hours(counts: &EventSummary, begin: Millis) -> Vec<HourRow> {
    let of = |hour: Millis, severity: Severity| {
        let name = Some(severity.name().to_owned());
        counts.rows.get(&(begin + hour * HOUR, name)).copied().unwrap_or(0)
    };
    let row = |hour| HourRow {
        start: Moment::at(begin + hour * HOUR),
        counts: Severity::ALL.map(|severity| of(hour, severity)),
    };
    (0..HOURS).map(row).collect()
}

fn picture(hours: &[HourRow]) -> String {
    let bar = |(index, hour): (usize, &HourRow)| {
        let [low, medium, high, critical] = hour.counts;
        let clock = hour.start.text.get(11..16).unwrap_or_default();
        Bar {
            title: format!("{clock} UTC: {critical} critical, {high} high, {medium} medium, {low} low"),
            label: if index.is_multiple_of(4) { clock.to_owned() } else { String::new() },
            parts: Severity::ALL.iter().zip(hour.counts).map(|(s, n)| (fill(*s), n as f64)).collect(),
        }
    };
    let description = "Events per hour of the last 24 hours, by severity, UTC".to_owned();
    Bars { description, bars: hours.iter().enumerate().map(bar).collect(), marks: Vec::new() }.svg()
}

fn fill(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "s-low",
        Severity::Medium => "s-medium",
        Severity::High => "s-high",
        Severity::Critical => "s-critical",
    }
}

async fn spend(app: &App, now: Millis) -> Result<Spend, StoreError> {
    let today = now.div_euclid(DAY) * DAY;
    let query = UsageQuery::new(Rows::Each(Bucket::Hour), (today - DAY, now + 1), now);
    let table = app.engine.usage().table(&query).await?;
    let hours = table.rows.iter().map(|((start, _), totals)| (*start, totals.cost_nanos));
    let spent = |from: Millis, until: Millis| {
        let within = hours.clone().filter(|(start, _)| *start >= from && *start + HOUR <= until);
        within.fold(0_u64, |sum, (_, nanos)| sum.saturating_add(nanos))
    };
    // Only hours that are over are held against those of yesterday: of the one that goes on a part is missing.
    let (ended, yesterday) = (spent(today, now), spent(today - DAY, now - DAY));
    let today = spent(today, now + HOUR);
    let change = (yesterday > 0).then(|| {
        let change = ended as f64 / yesterday as f64 - 1.0;
        format!("{}{}", if change < 0.0 { "" } else { "+" }, percent(change))
    });
    Ok(Spend { today: money(today), today_exact: exact_money(today), yesterday: money(yesterday), change })
}

async fn sinks_tile(app: &App) -> Result<SinksTile, Fault> {
    let views = sinks::views(app).await?;
    let is_late = |view: &&sinks::SinkView| {
        view.status.error.is_some() || view.status.lag_seconds.is_some_and(|lag| lag > LATE)
    };
    let late = views.iter().filter(is_late).map(|view| view.status.name.clone()).collect();
    Ok(SinksTile { all: views.len(), late })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hour_has_its_row_and_its_counts_by_severity() {
        let mut counts = EventSummary::default();
        counts.rows.insert((3 * HOUR, Some("critical".to_owned())), 2);
        counts.rows.insert((3 * HOUR, Some("low".to_owned())), 5);
        let rows = hours(&counts, 0);
        assert_eq!(rows.len(), 24);
        assert_eq!(rows[3].counts, [5, 0, 0, 2]);
        assert_eq!(rows[4].counts, [0; 4]);
        assert!(picture(&rows).contains("03:00 UTC: 2 critical, 0 high, 0 medium, 5 low"));
    }
}
