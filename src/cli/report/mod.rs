//! `keyward report`: whom enforcement hit, or would have hit while the policy only observes, by the event log.

mod table;
mod tally;
mod week;

use std::{collections::HashMap, path::PathBuf};

use clap::Args;
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::{
    Failure, block_on,
    client::{Connection, Service},
    code,
    output::{line, plain},
    when::When,
};
use crate::{
    clock,
    domain::{
        DAY, Millis,
        event::{Event, EventType, format_millis},
        subject::{Subject, SubjectKind},
    },
};
use tally::Tally;

/// Events asked for at a time: the most that the service gives.
const PAGE: &str = "1000";
/// What the keys that were hit most have spent is asked for one by one, for at most so many.
const MOST_COSTS: usize = 100;
/// What is read of the log. Bans come first, since requests that they refuse are told by them.
const KINDS: [EventType; 8] = [
    EventType::TemporaryBan,
    EventType::PermanentBan,
    EventType::KeyCutOff,
    EventType::Throttled,
    EventType::BannedRequestBlocked,
    EventType::RateLimitExceeded,
    EventType::KeyNotAllowed,
    EventType::UnknownKey,
];

/// Show whom a running service refused, or would have refused; or sum up a week.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// Not before this: a length before now such as 7d or 12h, or an RFC 3339 time.
    #[arg(long, default_value = "7d", value_name = "LENGTH|TIME", value_parser = When::read)]
    since: When,
    /// Sum up the seven days before `--until` instead: events, bans and how they ended, detectors, spend.
    #[arg(long, conflicts_with = "since")]
    week: bool,
    /// Write the week as an HTML file that holds all that it shows; - is standard output.
    #[arg(long, value_name = "FILE", requires = "week", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Before this, said in the same way [default: now].
    #[arg(long, value_name = "LENGTH|TIME", value_parser = When::read)]
    until: Option<When>,
    #[command(flatten)]
    service: Service,
}

impl Report {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let now = clock::wall();
        if self.week {
            let until = self.until.map(|until| until.millis(now));
            return week::report(&service, until, self.html.as_deref(), self.service.json);
        }
        let since = self.since.millis(now);
        let until = self.until.map_or(now + 1, |until| until.millis(now));
        if since >= until {
            let span = format!("{} is not before {}", format_millis(since), format_millis(until));
            return Err(Failure::new(code::USAGE, format!("--since must be before --until: {span}")));
        }
        let report = block_on(gather(&service, since, until))?;
        let text = if self.service.json { serde_json::to_string(&report)? } else { table::text(&report) };
        text.lines().try_for_each(|text| line(&plain(text)))?;
        Ok(())
    }
}

/// Reads the log and what was spent, and counts.
async fn gather(service: &Connection, since: Millis, until: Millis) -> Result<tally::Report, Failure> {
    let ready = service.json(service.request(Method::GET, &["readyz"])).await?;
    let mut tally = Tally::default();
    for kind in KINDS {
        read_events(service, kind, (since, until), &mut tally).await?;
    }
    let seen = keys_seen(service, since, until).await?;
    let mut report = tally.report((since, until), &ready["enforcement"], seen);
    let costs = costs(service, &report, until).await?;
    report.put_costs(&costs);
    Ok(report)
}

async fn read_events(
    service: &Connection,
    kind: EventType,
    (since, until): (Millis, Millis),
    tally: &mut Tally,
) -> Result<(), Failure> {
    let (since, until) = (format_millis(since), format_millis(until));
    let query = [("type", kind.name()), ("since", &since), ("until", &until), ("limit", PAGE)];
    service
        .each_page(&["v1", "events"], &query, |events| {
            let events: Vec<Event> = events.iter().map(Event::deserialize).collect::<Result<_, _>>()?;
            events.iter().for_each(|event| tally.add(event));
            Ok(())
        })
        .await
}

/// How many keys made requests on the days of the span; `None` when there are too many to be told in one answer.
async fn keys_seen(service: &Connection, since: Millis, until: Millis) -> Result<Option<usize>, Failure> {
    // A day at a time, so that as many keys as can be fit into an answer.
    let mut keys = std::collections::HashSet::new();
    let mut day = since;
    while day < until {
        let next = (day - day.rem_euclid(DAY)).saturating_add(DAY).min(until);
        let query = [
            ("group_by", "key"),
            ("bucket", "day"),
            ("from", &format_millis(day)),
            ("to", &format_millis(next)),
        ];
        let request = service.request(Method::GET, &["v1", "usage"]).query(&query);
        let usage = match service.json(request).await {
            Err(failure) if failure.code() == code::DATA => return Ok(None),
            usage => usage?,
        };
        let rows = usage["rows"].as_array().map(Vec::as_slice).unwrap_or_default();
        keys.extend(rows.iter().filter_map(|row| row["key"].as_str().map(str::to_owned)));
        day = next;
    }
    Ok(Some(keys.len()))
}

/// What keys spent from the hour on in which they were first hit.
async fn costs(
    service: &Connection,
    report: &tally::Report,
    until: Millis,
) -> Result<HashMap<Subject, String>, Failure> {
    let until = format_millis(until);
    let mut costs = HashMap::new();
    let keys = report.subjects.iter().filter(|row| row.subject.kind() == SubjectKind::Key);
    for row in keys.take(MOST_COSTS) {
        let query = [("key", row.subject.id()), ("bucket", "hour"), ("from", &row.first), ("to", &until)];
        let request = service.request(Method::GET, &["v1", "usage"]).query(&query);
        let usage: Value = match service.json(request).await {
            Err(failure) if failure.code() == code::DATA => continue,
            usage => usage?,
        };
        if let Some(cost) = usage["total"]["cost_usd"].as_str() {
            costs.insert(row.subject.clone(), cost.to_owned());
        }
    }
    Ok(costs)
}
