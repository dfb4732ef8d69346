//! JSON by HTTPS POST, signed as Standard Webhooks 1.0.0 says.
//!
//! With `batch = 1` a message is one event: `{"type", "timestamp", "data": event}`, and its id is the event's id.
//! Otherwise it is several: `{"type": "events", "timestamp", "data": {"events": […]}}`, and its id names which: a
//! batch that is cut elsewhere has another one. The events in it have ids of their own.

use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{
    domain::{
        Millis,
        event::{Event, format_millis},
    },
    forward::{
        common::CommonSettings,
        context::SinkContext,
        contract::{KindSettings, SendReport, Sink},
        error::SendError,
        format::Format,
        http,
        secret::{Secret, UrlSource},
        signer::WebhookSigner,
    },
    outbound::HttpClient,
    settings::{SettingError, SettingErrors},
};

/// The own settings of a sink with `type = "webhook"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    url: UrlSource,
    /// `whsec_` and base64. Several, separated by blanks or lines, all sign: so a key can be replaced.
    secret: Option<Secret>,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
}

impl KindSettings for Webhook {
    fn check(&self, common: &CommonSettings, errors: &mut SettingErrors) {
        errors.check(common.require_json());
    }

    fn open(&self, common: &CommonSettings, context: &SinkContext) -> Result<Box<dyn Sink>, SettingError> {
        Ok(Box::new(WebhookSink {
            client: HttpClient::new(&self.url.read("url")?, &common.outbound)?,
            signer: WebhookSigner::open(self.secret.as_ref())?,
            headers: http::json_headers(self.authorization.as_ref())?,
            format: common.format.unwrap_or(Format::Json),
            single: common.batch == 1,
            now: context.now.clone(),
        }))
    }

    fn batch(&self) -> usize {
        20
    }
}

struct WebhookSink {
    client: HttpClient,
    signer: WebhookSigner,
    headers: HeaderMap,
    format: Format,
    /// Whether a message is one event.
    single: bool,
    now: Arc<dyn Fn() -> Millis + Send + Sync>,
}

impl Sink for WebhookSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Ok(SendReport::default()) };
            let (id, body) = if self.single {
                (first.id.clone(), message(first.kind.name(), first.time, events, self.format, None))
            } else {
                (batch_id(first, events), message("events", first.time, events, self.format, Some("events")))
            };
            let mut headers = self.headers.clone();
            self.signer.sign(&mut headers, &id, (self.now)(), &body);
            let response = http::post(&self.client, "", headers, body).await?;
            Ok(SendReport::all_taken(response.summary()))
        })
    }
}

/// `<first id>+<count>-<hash>`: 16 hex digits of the SHA-256 of all ids, each with a line feed behind it.
fn batch_id(first: &Event, events: &[Event]) -> String {
    let mut ids = Sha256::new();
    for event in events {
        ids.update(event.id.as_bytes());
        ids.update(b"\n");
    }
    format!("{}+{}-{}", first.id, events.len(), hex::encode(&ids.finalize()[..8]))
}

/// The body of a message of this type: one event, or several under the name `list`.
fn message(kind: &str, time: Millis, events: &[Event], format: Format, list: Option<&str>) -> Vec<u8> {
    let mut body =
        format!("{{\"type\":\"{kind}\",\"timestamp\":\"{}\",\"data\":", format_millis(time)).into_bytes();
    if let Some(name) = list {
        body.extend(format!("{{\"{name}\":[").into_bytes());
    }
    for (n, event) in events.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        format.render(event, &mut body);
    }
    body.extend_from_slice(if list.is_some() { b"]}}" } else { b"}" });
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{event::EventType, finding::Severity};

    #[test]
    fn the_id_of_a_batch_names_what_is_in_it() {
        let of = |ids: &[&str]| {
            let event = |id: &&str| Event {
                id: (*id).to_owned(),
                ..Event::new(0, EventType::TemporaryBan, Severity::High, None)
            };
            let events: Vec<Event> = ids.iter().map(event).collect();
            batch_id(&events[0], &events)
        };
        // printf 'e0-1\ne0-2\n' | sha256sum
        assert_eq!(of(&["e0-1", "e0-2"]), "e0-1+2-cf187af7a51f5706");
        assert_ne!(of(&["e0-1", "e0-2"]), of(&["e0-1", "e0-3"]));
        assert_ne!(of(&["e0-1", "1-2", "3"]), of(&["e0-1", "1-23", ""]));
    }
}
