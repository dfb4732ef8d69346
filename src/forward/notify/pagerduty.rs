//! PagerDuty by its Events API v2: an incident is triggered, acknowledged and resolved by the key of its group.

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{
    channel::{Channel, ChannelSettings, ChannelTraits},
    message,
    notice::{HeldBackGroup, Notice, NoticeKind},
};
use crate::{
    domain::{Millis, event::format_millis, finding::Severity},
    forward::{
        common::CommonSettings,
        error::{SendError, SendErrorKind},
        http::{accepted, json_headers},
        secret::{Secret, UrlSource},
    },
    outbound::{HttpClient, HttpResponse},
    settings::SettingError,
};

/// Most characters of a summary (Events API v2).
const MAX_SUMMARY: usize = 1_024;
/// Most groups that are named in the details of what was held back.
const MAX_NAMED: usize = 100;
/// How long to wait at least after a 429.
const MIN_WAIT: Duration = Duration::from_secs(60);

/// The own settings of a sink with `type = "pagerduty"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagerDuty {
    /// The integration key of a service.
    routing_key: Secret,
    /// The address of the Events API: `https://events.eu.pagerduty.com` for accounts in the EU.
    #[serde(default = "us")]
    url: UrlSource,
}

fn us() -> UrlSource {
    UrlSource::Plain("https://events.pagerduty.com".to_owned())
}

impl ChannelSettings for PagerDuty {
    const TRAITS: ChannelTraits =
        ChannelTraits { closes: true, acknowledges: true, ..ChannelTraits::READ_BY_PEOPLE };

    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError> {
        let routing_key = self.routing_key.read("routing_key")?;
        Ok(Box::new(PagerDutyChannel {
            client: HttpClient::new(&self.url.read("url")?, &common.outbound)?.redacting(&routing_key),
            headers: json_headers(None)?,
            routing_key,
            sink: common.name.clone(),
        }))
    }
}

struct PagerDutyChannel {
    client: HttpClient,
    headers: HeaderMap,
    routing_key: Zeroizing<String>,
    sink: String,
}

impl Channel for PagerDutyChannel {
    fn send<'a>(
        &'a mut self,
        notices: &'a [Notice],
        _now: Millis,
    ) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let body = event(notice, &self.routing_key, &self.sink).to_string().into_bytes();
                let response = self.client.post("/v2/enqueue", self.headers.clone(), body).await?;
                answer = taken(response)?.summary();
            }
            Ok(answer)
        })
    }
}

/// The answer, if the event was taken. A wrong routing key is answered like a wrong event, but then the settings must
/// be corrected: no event would be taken. 429 comes without a time, and lasts minutes.
fn taken(response: HttpResponse) -> Result<HttpResponse, SendError> {
    let names_the_key = names_the_key(&response);
    accepted(response).map_err(|mut error| {
        match error.kind {
            SendErrorKind::Refused if names_the_key => error.kind = SendErrorKind::Denied,
            SendErrorKind::Busy { retry_after } => {
                let wait = retry_after.unwrap_or(MIN_WAIT).max(MIN_WAIT);
                error.kind = SendErrorKind::Busy { retry_after: Some(wait) };
            }
            _ => {}
        }
        error
    })
}

/// Whether the body blames the routing key, which PagerDuty says in words alone.
fn names_the_key(response: &HttpResponse) -> bool {
    let body = String::from_utf8_lossy(&response.body).to_lowercase();
    body.contains("routing key") || body.contains("routing_key")
}

/// The event. `acknowledge` and `resolve` need nothing but the key.
pub(super) fn event(notice: &Notice, routing_key: &str, sink: &str) -> Value {
    let action = match notice.kind {
        NoticeKind::Firing | NoticeKind::Update | NoticeKind::HeldBack => "trigger",
        NoticeKind::Acknowledged => "acknowledge",
        NoticeKind::Resolved => "resolve",
    };
    let mut event =
        json!({ "routing_key": routing_key, "event_action": action, "dedup_key": notice.dedup_key });
    if action == "trigger" {
        event["client"] = "Keyward".into();
        event["payload"] = json!({
            "summary": message::headline(notice).chars().take(MAX_SUMMARY).collect::<String>(),
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
        let named: Vec<Value> = notice.parts.iter().take(MAX_NAMED).map(part).collect();
        details.insert("groups".to_owned(), notice.parts.len().into());
        details.insert("held_back".to_owned(), named.into());
    }
    details.insert("events".to_owned(), notice.total.into());
    details.insert("first".to_owned(), format_millis(notice.first).into());
    details.insert("last".to_owned(), format_millis(notice.last).into());
    details.into()
}

fn part(part: &HeldBackGroup) -> Value {
    json!({
        "what": part.title, "who": part.subject, "severity": part.severity, "events": part.events, "over": part.end,
    })
}
