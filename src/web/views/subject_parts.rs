//! The parts of the view of a subject: its last hours, its week, where it comes from, its limits.

use crate::{
    domain::{
        DAY, HOUR, Millis,
        event::Event,
        finding::Severity,
        place::PlaceSummary,
        profile::Profile,
        window::Unit,
        wording::{count, number, whole},
    },
    engine::LimitView,
    explain::ProfileView,
    picture::{self, Bar, Bars, Dot, Mark},
    web::shown::{Moment, in_words, money},
};

/// Hours of the picture of what it did.
const HOURS: Millis = 48;
/// Rows of a table of what is usual.
const ROWS: usize = 6;
/// From the day of the epoch (a Thursday) to the day of its week, from Monday.
const EPOCH_DAY: i64 = 3;

/// What one hour held.
#[derive(Debug)]
pub(in crate::web) struct HourRow {
    /// When the hour begins.
    pub start: Moment,
    /// Requests that were learned.
    pub requests: u64,
    /// Tokens of prompts and answers.
    pub tokens: String,
    /// What they cost, with two digits.
    pub cost: String,
}

/// The last two days by the hour, oldest first.
pub(in crate::web) fn hours(profile: &Profile, now: Millis) -> Vec<HourRow> {
    let last = now.div_euclid(HOUR);
    let row = |hour: i64| {
        let stat = u32::try_from(hour).ok().and_then(|hour| profile.history.hour(hour));
        let stat = stat.unwrap_or_default();
        HourRow {
            start: Moment::at(hour * HOUR),
            requests: stat.requests,
            tokens: whole(stat.tokens),
            cost: money(stat.cost_nanos),
        }
    };
    (last - HOURS + 1..=last).map(row).collect()
}

/// The picture of these hours, with what happened above them.
pub(in crate::web) fn timeline(hours: &[HourRow], events: &[Event], now: Millis) -> String {
    let bar = |(index, hour): (usize, &HourRow)| {
        let clock = hour.start.text.get(5..16).unwrap_or_default();
        let requests = count(hour.requests as f64, "request", "requests");
        Bar {
            title: format!("{clock} UTC: {requests}, {} tokens, {}", hour.tokens, hour.cost),
            label: if index % 12 == 6 { clock.to_owned() } else { String::new() },
            parts: vec![("s-use", hour.requests as f64)],
        }
    };
    let first = now.div_euclid(HOUR) - HOURS + 1;
    let mark = |event: &Event| {
        let bar = usize::try_from(event.time.div_euclid(HOUR) - first).ok()?;
        let class = match event.severity {
            Severity::Critical => "s-critical",
            Severity::High => "s-high",
            Severity::Medium => "s-medium",
            Severity::Low => return None,
        };
        let title = format!("{} {}", Moment::at(event.time).text, in_words(event.kind.name()));
        Some(Mark { bar, class, title })
    };
    let description = "Requests per hour of the last 48 hours, UTC; dots are events".to_owned();
    let marks = events.iter().filter_map(mark).filter(|mark| mark.bar < hours.len()).collect();
    Bars { description, bars: hours.iter().enumerate().map(bar).collect(), marks }.svg()
}

/// Its usual week, with the hours of today.
pub(in crate::web) fn week(view: &ProfileView, profile: &Profile, now: Millis) -> String {
    let day = now.div_euclid(DAY);
    let weekday = (day + EPOCH_DAY).rem_euclid(7) as usize;
    let of = |hour: i64| {
        let hour = u32::try_from(day * 24 + hour).ok();
        hour.and_then(|hour| profile.history.hour(hour)).map_or(0.0, |stat| stat.requests as f64)
    };
    let today: Vec<f64> = (0..24).map(of).collect();
    picture::week(&view.hours, Some((weekday, &today)))
}

/// The map of where it comes from: what is usual, where it was seen lately, and what a grave finding names. `None`
/// where no place is known by its coordinates.
pub(in crate::web) fn map(view: &ProfileView, lately: &[PlaceSummary], events: &[Event]) -> Option<String> {
    let most = view.places.first().map_or(1, |place| place.count.max(1)) as f64;
    let usual = view.places.iter().filter_map(|known| {
        let title = format!(
            "{}: usual, {}",
            known.place.full_name(),
            count(known.count as f64, "request", "requests")
        );
        dot(&known.place, "m-usual", title, known.count as f64 / most)
    });
    let is_new = |place: &&PlaceSummary| !view.places.iter().any(|known| known.place.name() == place.name());
    let lately = lately.iter().filter(is_new).filter_map(|place| {
        dot(place, "m-new", format!("{}: seen lately, and not usual", place.full_name()), 0.0)
    });
    let grave = events.iter().filter(|event| event.severity >= Severity::High);
    let accused = grave.filter_map(|event| {
        let place = event.place.as_ref()?;
        let title = format!("{}: {}", place.full_name(), in_words(event.kind.name()));
        dot(place, "m-accused", title, 0.1)
    });
    let dots: Vec<Dot> = usual.chain(lately).chain(accused).collect();
    let description = "Map of the world with the places of its requests: usual, new, and accused";
    (!dots.is_empty()).then(|| picture::map(description, &dots))
}

fn dot(place: &PlaceSummary, class: &'static str, title: String, weight: f64) -> Option<Dot> {
    Some(Dot { latitude: place.latitude?, longitude: place.longitude?, class, title, weight })
}

/// Something that it was seen with.
#[derive(Debug)]
pub(in crate::web) struct UsualRow {
    /// The name of it, as the profile has it.
    pub name: String,
    /// Requests that were learned with it.
    pub requests: String,
    /// Days of the last 32.
    pub days: u32,
    /// The share of its requests, as a bar.
    pub bar: String,
}

/// A table of what is usual.
#[derive(Debug)]
pub(in crate::web) struct Usual {
    /// What is in it.
    pub title: &'static str,
    /// The most frequent first.
    pub rows: Vec<UsualRow>,
    /// How many more there are.
    pub more: usize,
}

/// What it is usually seen with: places, clients, endpoints, models; what it never had is left out.
pub(in crate::web) fn usual(view: &ProfileView) -> Vec<Usual> {
    let places = view.places.iter().map(|p| (p.place.full_name(), p.count, p.days)).collect();
    let named = |rows: &[crate::explain::FamiliarView]| -> Vec<(String, u64, u32)> {
        rows.iter().map(|row| (row.value.clone(), row.count, row.days)).collect()
    };
    let tables = [
        ("Places", places),
        ("Clients", named(&view.clients)),
        ("Endpoints", named(&view.endpoints)),
        ("Models", named(&view.models)),
    ];
    let tables = tables.into_iter().filter(|(_, rows)| !rows.is_empty());
    tables.map(|(title, rows)| table(title, rows)).collect()
}

fn table(title: &'static str, rows: Vec<(String, u64, u32)>) -> Usual {
    let all: u64 = rows.iter().map(|(_, count, _)| count).sum();
    let more = rows.len().saturating_sub(ROWS);
    let row = |(name, count, days): (String, u64, u32)| UsualRow {
        name,
        requests: whole(count),
        days,
        bar: picture::meter(count as f64 / all.max(1) as f64 * 0.79),
    };
    Usual { title, rows: rows.into_iter().take(ROWS).map(row).collect(), more }
}

/// How a limit stands.
#[derive(Debug)]
pub(in crate::web) struct LimitRow {
    /// On whom and what, such as `project, per month`.
    pub name: String,
    /// What is used of it.
    pub used: String,
    /// The most that it allows.
    pub limit: String,
    /// The same as a bar.
    pub bar: String,
    /// The share in per cent.
    pub percent: String,
    /// Whether it refuses nothing.
    pub is_shadow: bool,
}

/// The limits that requests of it are held to.
pub(in crate::web) fn limits(views: &[LimitView]) -> Vec<LimitRow> {
    views.iter().map(limit).collect()
}

fn limit(view: &LimitView) -> LimitRow {
    let status = &view.status;
    let amount = |amount| match status.unit {
        Unit::CostUsd => money(amount),
        _ => whole(amount),
    };
    let unit = if status.unit == Unit::CostUsd { "Cost".to_owned() } else { in_words(status.unit.name()) };
    let whose = status.scope.as_deref().unwrap_or("key");
    let model = status.model.as_deref().map(|model| format!(", {model}")).unwrap_or_default();
    let share = if status.limit == 0 { 1.0 } else { status.used as f64 / status.limit as f64 };
    LimitRow {
        name: format!("{unit} per {} ({whose}{model})", status.window),
        used: amount(status.used),
        limit: amount(status.limit),
        bar: picture::meter(share),
        percent: format!("{} %", number((share * 100.0).min(999.0).round())),
        is_shadow: !status.mode.enforces(),
    }
}
