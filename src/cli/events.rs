//! `keyward events`: the security-event log, or the log as it grows.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde::Deserialize as _;
use serde_json::Value;

use super::{
    Failure, block_on,
    client::{Connection, Service},
    dead_letters,
    output::line,
    status::text,
    when::When,
};
use crate::{
    clock,
    domain::event::{EventEvidence, format_millis},
    forward::format::json_line,
};

/// A stream that ended is opened again after this long.
const RETRY: Duration = Duration::from_secs(2);
/// Events asked for at a time where all are wanted: the most that the service gives.
const PAGE: u16 = 1000;

/// Show security events.
#[derive(Debug, Args)]
pub(super) struct Events {
    /// Go on printing events as they happen.
    #[arg(long, short)]
    follow: bool,
    /// Only about this subject.
    #[arg(long)]
    subject: Option<String>,
    /// Only of this type, such as TEMPORARY_BAN.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Of at least this severity: low, medium, high, critical.
    #[arg(long)]
    severity: Option<String>,
    /// Not before this: a length before now such as 1h or 7d, or an RFC 3339 time.
    #[arg(long, conflicts_with = "follow", value_name = "LENGTH|TIME", value_parser = When::read)]
    since: Option<When>,
    /// Before this, said in the same way.
    #[arg(long, conflicts_with = "follow", value_name = "LENGTH|TIME", value_parser = When::read)]
    until: Option<When>,
    /// At most this many, newest first.
    #[arg(
        long, default_value_t = 50, conflicts_with = "follow",
        value_parser = clap::value_parser!(u16).range(1..=1000),
    )]
    limit: u16,
    /// All of them, however many, newest first.
    #[arg(long, conflicts_with_all = ["follow", "limit"])]
    all: bool,
    /// Show what sinks would not take, instead of events.
    #[arg(long, conflicts_with_all = ["follow", "subject", "kind", "severity", "since", "until", "all"])]
    dead_letters: bool,
    /// Have dead letters sent again.
    #[arg(
        long,
        conflicts_with_all = ["follow", "subject", "kind", "severity", "since", "until", "all", "dead_letters"],
    )]
    redeliver: bool,
    /// Give dead letters up.
    #[arg(
        long,
        requires = "sink",
        conflicts_with_all = [
            "follow", "subject", "kind", "severity", "since", "until", "all", "dead_letters", "redeliver",
        ],
    )]
    discard: bool,
    /// Dead letters of this sink only.
    #[arg(long, value_name = "NAME", conflicts_with = "follow")]
    sink: Option<String>,
    /// The dead letter with this event id only; may be given several times.
    #[arg(long = "id", value_name = "EVENT_ID", requires = "sink")]
    ids: Vec<String>,
    #[command(flatten)]
    service: Service,
}

impl Events {
    pub(super) fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        if let Some(act) = self.act() {
            let (sink, json) = (self.sink.as_deref(), self.service.json);
            return block_on(dead_letters::run(&service, act, sink, &self.ids, json));
        }
        if self.sink.is_some() {
            return Err(Failure::new(
                super::code::USAGE,
                "--sink goes with --dead-letters, --redeliver or --discard",
            ));
        }
        block_on(async { if self.follow { self.follow(&service).await } else { self.list(&service).await } })
    }

    fn act(&self) -> Option<dead_letters::Act> {
        match (self.dead_letters, self.redeliver, self.discard) {
            (true, ..) => Some(dead_letters::Act::List),
            (_, true, _) => Some(dead_letters::Act::Redeliver),
            (.., true) => Some(dead_letters::Act::Discard),
            _ => None,
        }
    }

    fn filter(&self) -> Vec<(&'static str, &str)> {
        let all = [("subject", &self.subject), ("type", &self.kind), ("severity", &self.severity)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }

    async fn list(&self, service: &Connection) -> Result<(), Failure> {
        let span = (self.since, self.until);
        let limit = Some(self.limit).filter(|_| !self.all);
        list(service, &self.filter(), span, limit, self.service.json).await
    }

    /// Follows until the reader goes away or the service refuses. A stream that breaks is resumed where it broke.
    async fn follow(&self, service: &Connection) -> Result<(), Failure> {
        let mut last = None;
        let mut connected = false;
        loop {
            match self.stream(service, &mut last).await {
                Err(End::Refused(failure)) if !connected || failure.code() != super::code::UNAVAILABLE => {
                    return Err(failure);
                }
                Err(End::Refused(_)) => {}
                Ok(()) => connected = true,
            }
            clock::sleep(RETRY).await;
        }
    }

    async fn stream(&self, service: &Connection, last: &mut Option<String>) -> Result<(), End> {
        let mut request = service.request(Method::GET, &["v1", "events", "stream"]).query(&self.filter());
        if let Some(id) = last.as_deref() {
            request = request.header("last-event-id", id);
        }
        let mut response = service.send(request).await.map_err(End::Refused)?;
        let mut lines = Lines::default();
        while let Ok(Some(chunk)) = response.chunk().await {
            for text in lines.take(&chunk) {
                let Some(data) = text.strip_prefix("data:") else { continue };
                let Ok(event) = serde_json::from_str::<Value>(data.trim()) else { continue };
                if let Some(id) = event["id"].as_str() {
                    *last = Some(id.to_owned());
                }
                print(&event, self.service.json).map_err(End::Refused)?;
            }
        }
        Ok(())
    }
}

/// Prints the events that a query names, newest first: at most `limit`, else all of them.
pub(super) async fn list(
    service: &Connection,
    filter: &[(&str, &str)],
    (since, until): (Option<When>, Option<When>),
    limit: Option<u16>,
    json: bool,
) -> Result<(), Failure> {
    let (now, count) = (clock::wall(), limit.unwrap_or(PAGE).to_string());
    let [since, until] = [since, until].map(|when| Some(format_millis(when?.millis(now))));
    let mut query = filter.to_vec();
    let span = [("since", since.as_deref()), ("until", until.as_deref()), ("limit", Some(&*count))];
    query.extend(span.into_iter().filter_map(|(name, value)| Some((name, value?))));
    if limit.is_none() {
        let take = |events: &[Value]| events.iter().try_for_each(|event| print(event, json));
        return service.each_page(&["v1", "events"], &query, take).await;
    }
    let page = service.json(service.request(Method::GET, &["v1", "events"]).query(&query)).await?;
    let events = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    events.iter().try_for_each(|event| print(event, json))
}

fn print(event: &Value, json: bool) -> Result<(), Failure> {
    line(&if json { json_line(event) } else { row(event) })?;
    Ok(())
}

/// Why a stream ended other than by itself.
enum End {
    Refused(Failure),
}

fn row(event: &Value) -> String {
    let [time, severity, kind, subject, action] =
        ["time", "severity", "type", "subject", "action"].map(|name| text(&event[name]));
    let count = event["count"].as_u64().filter(|count| *count > 1).map(|count| format!(" x{count}"));
    let address =
        event["source_ip"].as_str().map(|address| format!("  from {}", super::output::plain(address)));
    let (count, address) = (count.unwrap_or_default(), address.unwrap_or_default());
    let evidence = EventEvidence::deserialize(&event["evidence"]).unwrap_or_default();
    let why = evidence.why().map(|why| format!("  {}", super::output::plain(why))).unwrap_or_default();
    let would = event["would"]["action"].as_str();
    let would =
        would.map(|would| format!(" (not enforced: {})", super::output::plain(would))).unwrap_or_default();
    format!("{time}  {severity:<8}  {kind}{count}  {subject}{address}  -> {action}{would}{why}")
}

/// Puts lines together from pieces that end anywhere.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn take(&mut self, chunk: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(chunk);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let rest = self.0.split_off(end + 1);
        let whole = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::default();
        assert!(lines.take(b"data: {\"a\"").is_empty());
        assert_eq!(lines.take(b":1}\nid: 7\nda"), ["data: {\"a\":1}", "id: 7"]);
        assert_eq!(lines.take(b"ta: x\r\n"), ["data: x"]);
    }

    #[test]
    fn a_row_says_what_a_person_needs_and_obeys_no_escape_sequence() {
        let event = serde_json::json!({
            "time": "2026-03-02T09:13:22.123Z", "severity": "critical", "type": "IMPOSSIBLE_TRAVEL",
            "subject": "key:a\u{1b}[2J", "source_ip": "203.0.113.7", "action": "temporary_ban", "count": 3,
        });
        let row = row(&event);
        assert!(row.contains("IMPOSSIBLE_TRAVEL x3") && row.contains("from 203.0.113.7"), "{row}");
        assert!(!row.contains('\u{1b}'), "{row}");
    }
}
