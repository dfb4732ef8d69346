//! PagerDuty by its Events API v2: an incident is triggered, acknowledged and resolved by the key of its group.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{Channel, ChannelSettings, Nature, Notice, Part, Told, message};
use crate::{
    domain::{Millis, event::format_millis, finding::Severity},
    forward::{Common, Failure, HttpClient, Secret, UrlSource},
};

/// Most characters of a summary (Events API v2).
const SUMMARY: usize = 1_024;
/// Groups that are named in the details of what was held back.
const NAMED: usize = 100;
/// Who is told that there were too many waits at least so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// `type = "pagerduty"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDuty {
    /// The integration key of a service.
    routing_key: Secret,
    /// `https://events.eu.pagerduty.com` for accounts in the EU.
    #[serde(default = "us")]
    url: UrlSource,
}

fn us() -> UrlSource {
    UrlSource::Plain("https://events.pagerduty.com".to_owned())
}

impl ChannelSettings for PagerDuty {
    const NATURE: Nature = Nature { closes: true, acknowledges: true, ..Nature::READ };

    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let routing_key = self.routing_key.read().map_err(|hint| ("routing_key", hint))?;
        let client = HttpClient::new(&url, common)?.hiding(&routing_key);
        Ok(Box::new(Events { client, routing_key, sink: common.name.clone() }))
    }
}

struct Events {
    client: HttpClient,
    routing_key: Zeroizing<String>,
    sink: String,
}

impl Channel for Events {
    fn tell<'a>(&'a mut self, notices: &'a [Notice], _now: Millis) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let body = event(notice, &self.routing_key, &self.sink).to_string().into_bytes();
                answer = self.client.post("/v2/enqueue", headers, body).await.map_err(judge)?.shown();
            }
            Ok(answer)
        })
    }
}

/// 429 comes without a time, and lasts minutes. A wrong routing key is answered like a wrong event, with 400, but it is
/// the settings that must be corrected: no event would be taken.
fn judge(failure: Failure) -> Failure {
    match failure {
        Failure::Refused(why) if names_the_key(&why) => Failure::Denied(why),
        Failure::Busy { why, after } => {
            Failure::Busy { why, after: Some(after.unwrap_or(PATIENCE).max(PATIENCE)) }
        }
        other => other,
    }
}

fn names_the_key(why: &str) -> bool {
    let why = why.to_lowercase();
    why.contains("routing key") || why.contains("routing_key")
}

/// The event. `acknowledge` and `resolve` need nothing but the key.
pub(super) fn event(notice: &Notice, routing_key: &str, sink: &str) -> Value {
    let action = match notice.told {
        Told::Firing | Told::Update | Told::HeldBack => "trigger",
        Told::Acknowledged => "acknowledge",
        Told::Resolved => "resolve",
    };
    let mut event =
        json!({ "routing_key": routing_key, "event_action": action, "dedup_key": notice.dedup_key });
    if action == "trigger" {
        event["client"] = "Keyward".into();
        event["payload"] = json!({
            "summary": message::headline(notice).chars().take(SUMMARY).collect::<String>(),
            "source": notice.subject.as_ref().map_or("keyward", |subject| subject.as_str()),
            "severity": severity(notice.severity),
            "timestamp": format_millis(notice.last),
            "component": sink,
            "group": notice.rule,
            "class": notice.title,
            "custom_details": details(notice),
        });
    }
    event
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    }
}

fn details(notice: &Notice) -> Value {
    let mut details = Map::new();
    for (word, text) in message::lines(notice).into_iter().filter(|_| notice.parts.is_empty()) {
        let name = word.to_lowercase();
        let text = match details.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before}\n{text}"),
            None => text,
        };
        details.insert(name, text.into());
    }
    if !notice.parts.is_empty() {
        let named: Vec<Value> = notice.parts.iter().take(NAMED).map(part).collect();
        details.insert("groups".to_owned(), notice.parts.len().into());
        details.insert("held_back".to_owned(), named.into());
    }
    details.insert("events".to_owned(), notice.total.into());
    details.insert("first".to_owned(), format_millis(notice.first).into());
    details.insert("last".to_owned(), format_millis(notice.last).into());
    details.into()
}

fn part(part: &Part) -> Value {
    json!({ "what": part.title, "who": part.subject, "severity": part.severity, "events": part.events, "over": part.end })
}
