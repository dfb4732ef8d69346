//! JSON by HTTPS POST, signed as Standard Webhooks 1.0.0 says.
//!
//! With `batch = 1` a message is one event: `{"type", "timestamp", "data": event}` and its id is the event's id. Else it
//! is several: `{"type": "events", "timestamp", "data": {"events": […]}}`, and its id names which: a batch that is cut
//! elsewhere has another one. The events in it have ids of their own.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Failure, KindSettings, Sent, Sink};
use crate::{
    domain::{
        Millis,
        event::{Event, format_millis},
    },
    forward::{Common, HttpClient, Secret, SinkContext, UrlSource, format::Format},
};

/// Of a secret, in bytes (Standard Webhooks).
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// `type = "webhook"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    url: UrlSource,
    /// `whsec_` and base64; several, by blanks or lines, while they are being changed: each signs.
    secret: Option<Secret>,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
}

impl KindSettings for Webhook {
    fn check(&self, common: &Common) -> Result<(), (&'static str, String)> {
        json_only(common)
    }

    fn open(&self, common: &Common, context: &SinkContext) -> Result<Box<dyn Sink>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?;
        let signer = Signer::open(self.secret.as_ref())?;
        let headers = headers(self.authorization.as_ref())?;
        let format = common.format.unwrap_or(Format::Json);
        let now = context.now.clone();
        Ok(Box::new(Post { client, signer, headers, format, single: common.batch == 1, now }))
    }

    fn batch(&self) -> usize {
        20
    }
}

/// A format that is no JSON cannot be put into a JSON message.
pub(super) fn json_only(common: &Common) -> Result<(), (&'static str, String)> {
    match common.format {
        Some(format) if !format.is_json() => {
            Err(("format", format!("must be json, ocsf or ecs for a sink of type {}", common.kind)))
        }
        _ => Ok(()),
    }
}

pub(crate) fn headers(authorization: Option<&Secret>) -> Result<HeaderMap, (&'static str, String)> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(secret) = authorization {
        let text = secret.read().map_err(|hint| ("authorization", hint))?;
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| ("authorization", "must be printable text in one line".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Signs messages.
pub(crate) struct Signer {
    keys: Vec<Zeroizing<Vec<u8>>>,
}

impl Signer {
    pub fn open(secret: Option<&Secret>) -> Result<Self, (&'static str, String)> {
        let Some(secret) = secret else { return Ok(Self { keys: Vec::new() }) };
        let text = secret.read().map_err(|hint| ("secret", hint))?;
        let wrong = || {
            let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
            ("secret", format!("must be whsec_ and {least} to {most} random bytes in base64"))
        };
        let key = |text: &str| {
            let key = STANDARD.decode(text.strip_prefix("whsec_").ok_or_else(wrong)?).map_err(|_| wrong())?;
            if SECRET_BYTES.contains(&key.len()) { Ok(Zeroizing::new(key)) } else { Err(wrong()) }
        };
        Ok(Self { keys: text.split_whitespace().map(key).collect::<Result<_, _>>()? })
    }

    /// The three headers of a message.
    pub fn sign(&self, headers: &mut HeaderMap, id: &str, now: Millis, body: &[u8]) {
        let timestamp = now.div_euclid(1000).to_string();
        let mut signatures = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            // A key of any length is one.
            let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { continue };
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            signatures.push(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
        }
        let mut put = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        put("webhook-id", id);
        put("webhook-timestamp", &timestamp);
        if !signatures.is_empty() {
            put("webhook-signature", &signatures.join(" "));
        }
    }
}

struct Post {
    client: HttpClient,
    signer: Signer,
    headers: HeaderMap,
    format: Format,
    single: bool,
    now: Arc<dyn Fn() -> Millis + Send + Sync>,
}

impl Sink for Post {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let Some(first) = events.first() else { return Ok(Sent::default()) };
            let (id, body) = if self.single {
                (first.id.clone(), message(first.kind.name(), first.time, events, self.format, None))
            } else {
                (batch_id(first, events), message("events", first.time, events, self.format, Some("events")))
            };
            let mut headers = self.headers.clone();
            self.signer.sign(&mut headers, &id, (self.now)(), &body);
            let answer = self.client.post("", headers, body).await?;
            Ok(Sent { refused: Vec::new(), answer: answer.shown() })
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

/// The body of a message.
pub(super) fn message(
    kind: &str,
    time: Millis,
    events: &[Event],
    format: Format,
    list: Option<&str>,
) -> Vec<u8> {
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

    fn signer(text: &str) -> Result<Signer, (&'static str, String)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Signer::open(Some(&Secret::File(file.path().display().to_string())))
    }

    /// The example of the specification's reference libraries.
    #[test]
    fn a_message_is_signed_as_standard_webhooks_says() {
        let signer = signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut headers = HeaderMap::new();
        let body = br#"{"test": 2432232314}"#;
        signer.sign(&mut headers, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, body);
        assert_eq!(headers["webhook-signature"], "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers["webhook-timestamp"], "1614265330");
    }

    #[test]
    fn two_secrets_sign_both_and_a_short_one_is_refused() {
        let two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\nwhsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
        let mut headers = HeaderMap::new();
        signer(two).unwrap().sign(&mut headers, "a", 0, b"");
        assert_eq!(headers["webhook-signature"].to_str().unwrap().split(' ').count(), 2);
        for bad in ["whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"] {
            let (setting, hint) = signer(bad).err().unwrap();
            assert!(setting == "secret" && !hint.contains(bad), "{hint}");
        }
    }
}
