//! A replay: who would have been banned, throttled and refused, and why; by day, by detector and by key; and what
//! another policy does differently.

use super::page::{Grid, Page, Section};
use crate::{
    domain::{
        DAY, Millis,
        event::{format_millis, to_minute},
        wording::{count, whole},
    },
    picture::{Bar, Bars},
    replay::{Compared, DayRow, Figures, SubjectRow},
};

/// Bars that a picture has at most; where there are more days, a bar is several of them.
const BARS: i64 = 100;
/// Labels below the bars, at most.
const LABELS: usize = 8;
/// Days that a table has at most.
const DAYS: usize = 100;

/// What one policy came to.
#[derive(Debug)]
pub struct Decided {
    /// The policy, in words.
    pub policy: String,
    /// What it came to.
    pub figures: Figures,
}

/// The report of a replay of `input`. With a second policy, `compared` says where the two differ.
pub fn of_replay(
    input: &str,
    new: &Decided,
    old: Option<(&Decided, &Compared)>,
    verdicts: Option<&str>,
) -> Page {
    let figures = &new.figures;
    let mut page = Page::new("Replay", lead(input, figures));
    if let Some(bad) = &figures.first_bad {
        let lines = count(figures.bad_lines as f64, "line is no record", "lines are no records");
        page.notices.push(format!("{lines}, and nothing was decided about them. The first: {bad}"));
    }
    if figures.observed {
        let words =
            "The policy only observes: what is called refused, throttled or banned here would have been.";
        page.notices.push(words.to_owned());
    }
    page.notices.extend(verdicts.map(str::to_owned));
    tiles(&mut page, figures, old.map(|(old, _)| &old.figures));
    match old {
        None => page.sections = side(&new.policy, None, figures),
        Some((old, compared)) => {
            page.sections = difference(&new.policy, &old.policy, compared);
            page.sections.extend(side(&new.policy, Some("New policy"), figures));
            page.sections.extend(side(&old.policy, Some("Old policy"), &old.figures));
        }
    }
    page
}

fn lead(input: &str, figures: &Figures) -> String {
    let records = count(figures.records as f64, "record", "records");
    let keys = count(figures.keys as f64, "key", "keys");
    let days = count(figures.key_days as f64, "key-day", "key-days");
    let span = figures.span.map(|(first, last)| format!(", {} to {} UTC", minute(first), minute(last)));
    format!("{records} of {keys} over {days} from {input}{}.", span.unwrap_or_default())
}

fn tiles(page: &mut Page, new: &Figures, old: Option<&Figures>) {
    let note = |words: String, of: &dyn Fn(&Figures) -> String| {
        old.map_or(words.clone(), |old| format!("{words}; old policy: {}", of(old)))
    };
    let keys = |n: usize| format!("of {}", count(n as f64, "key", "keys"));
    page.tile(
        "Requests refused",
        whole(new.refused),
        note(keys(new.keys_refused), &|old| whole(old.refused)),
    );
    page.tile(
        "Requests throttled",
        whole(new.throttled),
        note(keys(new.keys_throttled), &|old| whole(old.throttled)),
    );
    let banned = |figures: &Figures| {
        let addresses = count(figures.addresses_banned as f64, "address", "addresses");
        (whole(figures.keys_banned as u64), format!("and {addresses}"))
    };
    let (keys_banned, addresses) = banned(new);
    page.tile(
        "Keys banned",
        keys_banned,
        note(addresses, &|old| {
            let (keys, addresses) = banned(old);
            format!("{keys} {addresses}")
        }),
    );
    let per_key_day = |figures: &Figures| format!("{:.4}", figures.findings_per_key_day());
    page.tile(
        "High findings per key-day",
        per_key_day(new),
        note("once per key, type and hour".to_owned(), &per_key_day),
    );
}

/// What one policy did: by day, by detector, by reason, and to whom.
fn side(policy: &str, part: Option<&str>, figures: &Figures) -> Vec<Section> {
    let part = part.map_or_else(|| format!("Policy {policy}"), |part| format!("{part}: {policy}"));
    vec![
        Section { part: Some(part), ..by_day(figures) },
        Section::of("By detector", "", by_detector(figures)),
        Section::of("Requests refused, by reason", "", by_reason(figures)),
        Section::of(
            "By key and address",
            "Who was banned comes first, then who was refused most.",
            subjects(figures),
        ),
    ]
}

fn by_day(figures: &Figures) -> Section {
    let mut grid = Grid::new(&["Day", "Requests", "Refused", "Throttled", "Bans"], "There are no records.");
    for row in figures.days.iter().take(DAYS) {
        let counts = [row.requests, row.refused, row.throttled, row.bans].map(whole);
        grid.row([day(row.day)].into_iter().chain(counts));
    }
    grid.leave_out(figures.days.len().saturating_sub(DAYS), "days");
    Section {
        title: "By day".to_owned(),
        picture: (!figures.days.is_empty()).then(|| picture(&figures.days)),
        legend: vec![("s-critical", "refused"), ("s-medium", "throttled")],
        grid: Some(grid),
        is_folded: true,
        ..Section::default()
    }
}

/// Refused and throttled requests as bars; days without records are empty ones.
fn picture(days: &[DayRow]) -> String {
    let (first, last) = (days[0].day, days[days.len() - 1].day);
    let step = (last - first) / DAY / BARS + 1;
    let slots = usize::try_from((last - first) / DAY / step + 1).unwrap_or(1);
    let mut sums = vec![DayRow::default(); slots];
    for row in days {
        let slot = usize::try_from((row.day - first) / DAY / step).unwrap_or(0);
        if let Some(sum) = sums.get_mut(slot) {
            sum.refused += row.refused;
            sum.throttled += row.throttled;
            sum.bans += row.bans;
        }
    }
    let every = slots.div_ceil(LABELS);
    let bar = |(n, sum): (usize, &DayRow)| {
        let begin = day(first + n as Millis * step * DAY);
        let counts = format!("{} refused, {} throttled, {} bans", sum.refused, sum.throttled, sum.bans);
        Bar {
            title: format!("{begin}: {counts}"),
            label: if n.is_multiple_of(every) {
                begin.get(5..).unwrap_or_default().to_owned()
            } else {
                String::new()
            },
            parts: vec![("s-critical", sum.refused as f64), ("s-medium", sum.throttled as f64)],
        }
    };
    let bars = sums.iter().enumerate().map(bar).collect();
    let span = if step == 1 { "by day".to_owned() } else { format!("by {step} days") };
    Bars { description: format!("Requests refused and throttled, {span}"), bars, marks: Vec::new() }.svg()
}

fn by_detector(figures: &Figures) -> Grid {
    let columns = ["Detector", "Findings", "High or critical", "Keys", "Keys banned"];
    let mut grid = Grid::new(&columns, "No detector found anything.");
    for row in &figures.detectors {
        let counts = [row.findings, row.serious, row.keys, row.banned].map(whole);
        grid.row([row.name.to_owned()].into_iter().chain(counts));
    }
    grid
}

fn by_reason(figures: &Figures) -> Grid {
    let mut grid = Grid::new(&["Reason", "Requests"], "No request was refused.");
    for (reason, requests) in &figures.reasons {
        grid.row([(*reason).to_owned(), whole(*requests)]);
    }
    grid
}

fn subjects(figures: &Figures) -> Grid {
    let columns = ["Subject", "~First ban", "Bans", "Refused", "Throttled", "Requests", "~Why"];
    let mut grid = Grid::new(&columns, "Nobody was banned, throttled or refused.");
    for row in &figures.subjects {
        let first = row.first_ban.map_or_else(|| "-".to_owned(), minute);
        let counts = [row.bans, row.refused, row.throttled, row.requests].map(whole);
        grid.row([row.subject.clone(), first].into_iter().chain(counts).chain([why(row)]));
    }
    grid.leave_out(figures.more_subjects, "keys and addresses");
    grid
}

/// Detectors and reasons, such as `IMPOSSIBLE_TRAVEL; API_KEY_BANNED 212, CRITICAL_ANOMALY_DETECTED 1`
fn why(row: &SubjectRow) -> String {
    let reasons = row.reasons.iter().map(|(reason, requests)| format!("{reason} {}", whole(*requests)));
    let parts = [row.detectors.join(", "), reasons.collect::<Vec<_>>().join(", ")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Sections about where the two policies differ.
fn difference(new: &str, old: &str, compared: &Compared) -> Vec<Section> {
    let note = if new == old {
        "The two policies are the same.".to_owned()
    } else {
        let requests = count(compared.differing as f64, "request", "requests");
        let keys = count(compared.keys as f64, "key", "keys");
        format!("Decided differently: {requests} of {keys}. New: {new}. Old: {old}.")
    };
    let mut totals = Grid::new(&["", "New", "Old"], "");
    for (what, counts) in &compared.totals {
        totals.row([(*what).to_owned()].into_iter().chain(counts.map(whole)));
    }
    for (what, counts) in &compared.findings {
        totals.row([what.clone()].into_iter().chain(counts.map(whole)));
    }
    let bans = format!(
        "Banned under the new policy only: {}; under the old only: {}; under both, at other times: {}.",
        compared.new_only, compared.old_only, compared.other_times
    );
    vec![
        Section { part: Some("What differs".to_owned()), ..Section::of("In all", note, totals) },
        Section::of("By key and address", bans, differences(compared)),
    ]
}

fn differences(compared: &Compared) -> Grid {
    let columns =
        ["Subject", "~Banned", "Refused", "(old)", "Throttled", "(old)", "Differ", "~First difference"];
    let mut grid = Grid::new(&columns, "The two policies treat every key and address alike.");
    for row in &compared.rows {
        let ([refused, old_refused], [throttled, old_throttled]) = (row.refused, row.throttled);
        let counts = [refused, old_refused, throttled, old_throttled, row.differing].map(whole);
        let first = row.first.clone().unwrap_or_else(|| "-".to_owned());
        grid.row([row.subject.clone(), row.banned.to_owned()].into_iter().chain(counts).chain([first]));
    }
    grid.leave_out(compared.more, "keys and addresses");
    grid
}

/// The day of a moment in UTC, such as `2026-03-02`.
fn day(at: Millis) -> String {
    format_millis(at).chars().take(10).collect()
}

/// A moment in UTC to the minute, such as `2026-03-02 09:13`.
fn minute(at: Millis) -> String {
    to_minute(&format_millis(at))
}
