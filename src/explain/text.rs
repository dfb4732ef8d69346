//! The account of a decision as text, for a terminal.

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

use super::{
    account::{Account, ClimbView, DetectorView, RequestView},
    profile_view::{FamiliarView, KnownPlaceView, ProfileView, StoppedPartView},
    sentence,
};
use crate::{
    detect::{Margin, Quiet},
    domain::{
        SECOND,
        event::FindingEvidence,
        wording::{count, number, span, whole},
    },
};

/// Rows shown of a list that may be long.
const ROWS: usize = 6;
/// An hour is usual if it has at least this share of the requests of the busiest one.
const USUAL: f64 = 0.1;

impl Display for Account<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.request(f)?;
        self.outcome(f)?;
        self.observed(f)?;
        if let Some(profile) = &self.profile {
            usual(f, profile)?;
        } else {
            writeln!(f, "\nUsual for the key\n  nothing is known yet")?;
        }
        writeln!(f, "\nDetectors")?;
        if self.detectors.is_empty() {
            writeln!(f, "  not asked: the decision was made before it came to them")?;
        } else {
            self.detectors.iter().try_for_each(|detector| verdict(f, detector))?;
        }
        if !self.ladder.is_empty() {
            writeln!(f, "\nLadder")?;
            self.ladder.iter().try_for_each(|step| climb(f, step))?;
        }
        let learned = match self.learned {
            "learned" => "the profile learned this request",
            "flagged" => {
                "the profile counted what it spent and learned nothing from it, because it was flagged"
            }
            _ => "the profile learned nothing from it",
        };
        writeln!(f, "\nAfterwards\n  {learned}")
    }
}

impl Account<'_> {
    fn request(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let request: &RequestView<'_> = &self.request;
        writeln!(f, "Request {} of key {}", one_line(request.request_id), one_line(request.key_id))?;
        for also in self.located.also_at.iter().take(ROWS) {
            writeln!(f, "  the same id is on line {}, of key {}", whole(also.line), also.key_id)?;
        }
        if self.located.also_at.len() > ROWS {
            writeln!(f, "  and on {} more", whole((self.located.also_at.len() - ROWS) as u64))?;
        }
        row(f, "line", &whole(self.located.line))?;
        let late = if request.out_of_order {
            ", later than the record says: the key was further already"
        } else {
            ""
        };
        row(f, "time", &format!("{}{late}", request.time))?;
        let mut call = vec![request.endpoint.to_owned()];
        call.extend(request.model.map(str::to_owned));
        call.push(count(request.tokens as f64, "token", "tokens"));
        call.extend(request.cost_usd.map(|usd| format!("${usd}")));
        call.push(format!("status {}", request.response_status));
        row(f, "call", &call.join(", "))?;
        let place = request.place.as_ref().map_or_else(|| "an unknown place".to_owned(), |p| p.full_name());
        row(f, "from", &format!("{}: {place}", request.source_ip))?;
        request.user_agent.map_or(Ok(()), |client| row(f, "client", client))?;
        request.project.map_or(Ok(()), |project| row(f, "project", project))
    }

    fn outcome(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let answer = &self.decision;
        let mut parts = vec![if answer.allowed { "allowed" } else { "refused" }.to_owned()];
        parts.push(format!("action {}", answer.action.name()));
        parts.extend(answer.reason.map(|reason| reason.name().to_owned()));
        parts.extend(answer.retry_after_seconds.map(|seconds| format!("retry after {} s", whole(seconds))));
        writeln!(f, "\nDecision\n  {}\n  {}", one_line(&self.summary), parts.join(", "))
    }

    fn observed(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nObserved")?;
        row(f, "standing", &format!("before: {}", self.standing_before.summary))?;
        if let Some(id) = &self.standing_before.request_id {
            row(f, "", &format!("because of request {id}"))?;
        }
        if !self.windows.is_empty() {
            writeln!(
                f,
                "  {:<10}{:>10}{:>12}{:>12}{:>12}{:>10}{:>10}",
                "window", "requests", "limit", "tokens", "limit", "401/403", "404/405"
            )?;
        }
        let limit = |limit: Option<u64>| limit.map_or_else(|| "-".to_owned(), whole);
        for window in &self.windows {
            writeln!(
                f,
                "  {:<10}{:>10}{:>12}{:>12}{:>12}{:>10}{:>10}",
                window.window,
                whole(window.requests),
                limit(window.request_limit),
                whole(window.tokens),
                limit(window.token_limit),
                whole(window.auth_failures),
                whole(window.not_found),
            )?;
        }
        for (n, seen) in self.recent_places.iter().take(ROWS).enumerate() {
            let before = span(seen.seconds_before * SECOND);
            let requests = count(seen.requests as f64, "request", "requests");
            let place = seen.place.full_name();
            row(f, if n == 0 { "seen in" } else { "" }, &format!("{place}, {before} before, {requests}"))?;
        }
        more(f, self.recent_places.len())
    }
}

fn usual(f: &mut Formatter<'_>, profile: &ProfileView) -> fmt::Result {
    writeln!(f, "\nUsual for the key")?;
    let days = count(f64::from(profile.days_seen), "day", "days");
    let requests = count(profile.requests as f64, "request", "requests");
    let since = profile.first_seen.as_deref().and_then(|at| at.get(..10)).unwrap_or("ever");
    let young = if profile.warming_up { "; still warming up, so nothing is called unusual" } else { "" };
    row(f, "known", &format!("{days}, {requests} since {since}{young}"))?;
    row(f, "hours", &hours(&profile.hours))?;
    let sizes = &profile.sizes;
    if let (Some(half), Some(most)) = (sizes.p50, sizes.p95) {
        let (half, most) = (number(half), number(most));
        let of = count(sizes.count as f64, "request", "requests");
        row(f, "sizes", &format!("half up to {half} tokens, 95 % up to {most}, of {of}"))?;
    }
    let place = |known: &KnownPlaceView| familiar(&known.place.full_name(), known.count, known.days);
    list(f, "places", profile.places.iter().map(place).collect())?;
    let tables =
        [("clients", &profile.clients), ("endpoints", &profile.endpoints), ("models", &profile.models)];
    let value = |row: &FamiliarView| familiar(&row.value, row.count, row.days);
    tables.into_iter().try_for_each(|(name, rows)| list(f, name, rows.iter().map(value).collect()))?;
    let stopped = |part: &StoppedPartView| format!("{}, until {}", part.name, part.until);
    list(f, "stopped", profile.stopped_parts.iter().map(stopped).collect())
}

fn familiar(what: &str, requests: u64, days: u32) -> String {
    let (requests, days) =
        (count(requests as f64, "request", "requests"), count(f64::from(days), "day", "days"));
    format!("{what}: {requests} on {days}")
}

fn verdict(f: &mut Formatter<'_>, view: &DetectorView<'_>) -> fmt::Result {
    let name = view.detector;
    match (view.finding, view.quiet) {
        (Some(finding), _) => {
            let severity = finding.severity.name().to_uppercase();
            let mode = if finding.is_enforced() { "" } else { " (shadow: not acted on)" };
            writeln!(f, "  {name:<22}{severity:<10}{}{mode}", one_line(&sentence::summary(finding)))?;
            writeln!(f, "  {:<32}{}", "", one_line(&numbers(&finding.evidence)))
        }
        (None, Some(Quiet { why, margin })) => {
            let margin = margin
                .map(|m: Margin| format!(": {} of {} {}", number(m.observed), number(m.threshold), m.unit));
            writeln!(f, "  {name:<22}{:<10}{why}{}", "quiet", margin.unwrap_or_default())
        }
        (None, None) => Ok(()),
    }
}

/// The numbers and names in evidence; what every finding has comes first.
fn numbers(evidence: &Value) -> String {
    let Some(map) = evidence.as_object() else { return String::new() };
    let shared = FindingEvidence::NAMES;
    let rest = map.iter().filter(|(name, _)| !shared.contains(&name.as_str()));
    let first = shared.iter().filter(|name| **name != "summary").filter_map(|name| map.get_key_value(*name));
    let shown = first.chain(rest).filter_map(|(name, value)| Some(format!("{name} {}", scalar(value)?)));
    shown.collect::<Vec<_>>().join(", ")
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(format!("\"{text}\"")),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items.map(|items| items.join("+")).filter(|text| !text.is_empty())
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn climb(f: &mut Formatter<'_>, step: &ClimbView) -> fmt::Result {
    let until = step.until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
    row(f, "whose", &step.subject)?;
    row(f, "action", &format!("{}{until}", step.action.name()))?;
    row(f, "why", &step.why)?;
    let (before, after) = (number(step.strikes_before), number(step.strikes_after));
    row(f, "strikes", &format!("{before} before, {after} after"))
}

/// Breaks and other control characters are shown, not obeyed: a request could else write lines of its own.
fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// Usual hours of working days and of weekends.
fn hours(week: &[Vec<f64>]) -> String {
    let busiest = week.iter().flatten().copied().fold(0.0, f64::max);
    let of = |days: &[Vec<f64>]| {
        ranges(|hour| {
            let mean = days.iter().filter_map(|day| day.get(hour)).sum::<f64>() / days.len().max(1) as f64;
            mean > 0.0 && mean >= USUAL * busiest
        })
    };
    let (working, weekend) = week.split_at(week.len().min(5));
    format!("working days {}; weekends {} (UTC)", of(working), of(weekend))
}

/// Hours of the day as ranges: `08-18`, `22-24`.
fn ranges(is_usual: impl Fn(usize) -> bool) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for hour in (0..24).filter(|hour| is_usual(*hour)) {
        match ranges.last_mut() {
            Some((_, end)) if *end == hour => *end += 1,
            _ => ranges.push((hour, hour + 1)),
        }
    }
    match ranges.as_slice() {
        [] => "none".to_owned(),
        [(0, 24)] => "all day".to_owned(),
        some => some.iter().map(|(a, b)| format!("{a:02}-{b:02}")).collect::<Vec<_>>().join(", "),
    }
}

/// One line, whatever breaks are in what others wrote.
fn row(f: &mut Formatter<'_>, name: &str, value: &str) -> fmt::Result {
    writeln!(f, "  {name:<10}{}", one_line(value))
}

fn list(f: &mut Formatter<'_>, name: &str, items: Vec<String>) -> fmt::Result {
    for (n, item) in items.iter().take(ROWS).enumerate() {
        row(f, if n == 0 { name } else { "" }, item)?;
    }
    more(f, items.len())
}

fn more(f: &mut Formatter<'_>, length: usize) -> fmt::Result {
    if length > ROWS { row(f, "", &format!("and {} more", length - ROWS)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_shown_as_ranges() {
        assert_eq!(ranges(|hour| (8..18).contains(&hour) || hour >= 22), "08-18, 22-24");
        assert_eq!(ranges(|_| true), "all day");
        assert_eq!(ranges(|_| false), "none");
    }
}
