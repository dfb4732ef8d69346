//! A report as a table for people, at most 100 columns wide.

use std::fmt::Write as _;

use super::tally::{Report, Row, Total};
use crate::domain::{event::to_minute, wording::whole};

/// Columns of a line.
const WIDTH: usize = 100;
/// Subjects that are shown; JSON has all.
const ROWS: usize = 50;

/// The report as text.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let mode = match report.enforcement.as_str() {
        Some("observe") => "; the policy observes",
        Some("enforce") => "; the policy enforces",
        _ => "",
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "from {} to {} UTC{mode}", to_minute(&report.since), to_minute(&report.until));
    let seen = report.keys_seen.map_or_else(|| "more keys than can be counted".to_owned(), of_keys);
    let _ = writeln!(out, "keys hit         {} of {seen}", whole(report.keys_hit as u64));
    let _ = writeln!(out, "would be refused {} requests (observed only)", whole(report.would_refuse));
    let _ = writeln!(out, "refused          {} requests", whole(report.refused));
    if report.subjects.is_empty() {
        out.push_str("Nobody was hit.\n");
        return out;
    }
    totals(&mut out, "reason", &report.by_reason);
    totals(&mut out, "detector", &report.by_detector);
    subjects(&mut out, &report.subjects);
    out
}

fn of_keys(keys: usize) -> String {
    if keys == 1 { "1 key seen".to_owned() } else { format!("{} keys seen", whole(keys as u64)) }
}

fn totals(out: &mut String, of: &str, totals: &[Total]) {
    let _ = writeln!(
        out,
        "\n{of:<34}{:>10}{:>18}{:>12}{:>12}",
        "subjects", "would be refused", "refused", "throttles"
    );
    for total in totals {
        let name = cut(&total.name, 33);
        let (would, refused) = (whole(total.would_refuse), whole(total.refused));
        let _ =
            writeln!(out, "{name:<34}{:>10}{would:>18}{refused:>12}{:>12}", total.subjects, total.throttles);
    }
}

fn subjects(out: &mut String, rows: &[Row]) {
    let _ = writeln!(
        out,
        "\n{:<30}{:>14}{:>14}{:>13}{:>13}{:>16}",
        "subject", "would", "refused", "first (UTC)", "last (UTC)", "cost USD"
    );
    for row in rows.iter().take(ROWS) {
        let _ = writeln!(
            out,
            "{:<30}{:>14}{:>14}{:>13}{:>13}{:>16}",
            cut(row.subject.as_str(), 29),
            whole(row.would_refuse),
            whole(row.refused),
            short(&row.first),
            short(&row.last),
            row.cost_usd.as_deref().map_or_else(|| "-".to_owned(), cents),
        );
        let _ = writeln!(out, "{}", cut(&format!("    {}", why(row)), WIDTH));
    }
    if rows.len() > ROWS {
        let _ = writeln!(out, "and {} more; --json has all", rows.len() - ROWS);
    }
}

/// `API_KEY_BANNED 212, CRITICAL_ANOMALY_DETECTED 1; impossible_travel; Bucharest, RO`
fn why(row: &Row) -> String {
    let mut reasons: Vec<String> =
        row.reasons.iter().map(|(reason, count)| format!("{reason} {}", whole(*count))).collect();
    if row.throttles > 0 {
        reasons.push(format!("THROTTLED {}", whole(row.throttles)));
    }
    let detectors: Vec<&str> = row.detectors.iter().map(String::as_str).collect();
    let places: Vec<&str> = row.places.iter().map(String::as_str).collect();
    let parts = [reasons.join(", "), detectors.join(", "), places.join(" / ")];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// A time to the minute, without its year: `03-02 09:13`
fn short(time: &str) -> String {
    to_minute(time).chars().skip(5).collect()
}

/// A decimal cut to four places.
fn cents(cost: &str) -> String {
    match cost.split_once('.') {
        Some((dollars, rest)) => format!("{dollars}.{}", rest.chars().take(4).collect::<String>()),
        None => cost.to_owned(),
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
