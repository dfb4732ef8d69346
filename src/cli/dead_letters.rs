//! `keyward events --dead-letters`: what sinks would not take; and what is to become of it.

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::Connection,
    code,
    output::{line, plain},
    status::text,
};

/// Letters asked for at a time: the most that the service gives.
const PAGE: &str = "1000";

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// Show those that are parked.
    List,
    /// Have them sent again.
    Redeliver,
    /// Give them up: they are not sent any more.
    Discard,
}

/// Does it for one sink, or for all.
pub(super) async fn run(
    service: &Connection,
    act: Act,
    sink: Option<&str>,
    ids: &[String],
    json: bool,
) -> Result<(), Failure> {
    let sinks = match sink {
        Some(name) => vec![name.to_owned()],
        None => names(service).await?,
    };
    for sink in sinks {
        match act {
            Act::List => list(service, &sink, json).await?,
            Act::Redeliver => order(service, &sink, "redeliver", "will be sent again", ids).await?,
            Act::Discard => order(service, &sink, "discard", "given up", ids).await?,
        }
    }
    Ok(())
}

async fn names(service: &Connection) -> Result<Vec<String>, Failure> {
    let page = service.json(service.request(Method::GET, &["v1", "sinks"])).await?;
    let items = page["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    Ok(items.iter().filter_map(|sink| sink["name"].as_str()).map(str::to_owned).collect())
}

async fn list(service: &Connection, sink: &str, json: bool) -> Result<(), Failure> {
    let path = ["v1", "sinks", sink, "dead-letters"];
    let print = |letter: &Value| Ok(line(&if json { letter.to_string() } else { row(letter) })?);
    service.each_page(&path, &[("limit", PAGE)], |letters| letters.iter().try_for_each(print)).await
}

async fn order(
    service: &Connection,
    sink: &str,
    act: &str,
    done: &str,
    ids: &[String],
) -> Result<(), Failure> {
    let body = if ids.is_empty() { json!({}) } else { json!({ "ids": ids }) };
    let request = service.request(Method::POST, &["v1", "sinks", sink, "dead-letters", act]).json(&body);
    let reply = service.json(request).await?;
    if !ids.is_empty() && reply["count"] == 0 {
        return Err(Failure::new(code::NO_INPUT, format!("{sink} has no such dead letter")));
    }
    Ok(line(&format!("{sink}: {} {done}", reply["count"]))?)
}

fn row(letter: &Value) -> String {
    let [parked, sink, reason] = ["parked_at", "sink", "reason"].map(|name| text(&letter[name]));
    let [id, kind, subject] = ["id", "type", "subject"].map(|name| text(&letter["event"][name]));
    let again = if letter["again"] == true { "  (will be sent again)" } else { "" };
    format!("{parked}  {sink}  {id}  {kind}  {subject}  {}{again}", plain(&reason))
}
