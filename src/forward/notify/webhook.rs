//! Notices as JSON by HTTPS POST, signed as Standard Webhooks 1.0.0 says: for what has no channel of its own here.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelSettings, Hold, Nature, Notice, message, rule::digest};
use crate::{
    domain::{Millis, event::format_millis},
    forward::{
        Common, Failure, HttpClient, Secret, UrlSource,
        sink::webhook::{Signer, headers},
    },
};

/// Groups that are named in one about what was held back.
const NAMED: usize = 1_000;

/// `type = "notify_webhook"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyWebhook {
    url: UrlSource,
    /// `whsec_` and base64; several, by blanks or lines, while they are being changed: each signs.
    secret: Option<Secret>,
    /// What the header `Authorization` says.
    authorization: Option<Secret>,
}

impl ChannelSettings for NotifyWebhook {
    const NATURE: Nature = Nature { closes: true, acknowledges: true, ..Nature::READ };

    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?;
        let signer = Signer::open(self.secret.as_ref())?;
        Ok(Box::new(Post { client, signer, headers: headers(self.authorization.as_ref())? }))
    }
}

struct Post {
    client: HttpClient,
    signer: Signer,
    headers: HeaderMap,
}

impl Channel for Post {
    fn tell<'a>(&'a mut self, notices: &'a [Notice], now: Millis) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let body = payload(notice).to_string().into_bytes();
                let mut headers = self.headers.clone();
                self.signer.sign(&mut headers, &id(notice), now, &body);
                answer = self.client.post("", headers, body).await?.shown();
            }
            Ok(answer)
        })
    }
}

/// The same when the same notice is sent again. The last time is in it since two about what was held back may begin at the
/// same time and be about as many events.
fn id(notice: &Notice) -> String {
    let what = format!("{} {} {} {}", notice.dedup_key, notice.first, notice.last, notice.total);
    format!("{}-{}", notice.told.name(), digest(&what, 16))
}

fn payload(notice: &Notice) -> Value {
    let hold = |hold: Hold| json!({ "ban": hold.ban, "until": hold.until.map(format_millis) });
    let lines: Vec<Value> =
        message::lines(notice).into_iter().map(|(word, text)| json!([word, text])).collect();
    let held: Vec<Value> = notice.parts.iter().take(NAMED).map(|part| {
        json!({
            "dedup_key": part.dedup_key, "title": part.title, "subject": part.subject, "severity": part.severity,
            "events": part.events, "end": part.end,
        })
    }).collect();
    let samples: Vec<Value> = notice
        .samples
        .iter()
        .map(|sample| {
            let mut value = json!(sample);
            value["time"] = format_millis(sample.time).into();
            value
        })
        .collect();
    json!({
        "type": format!("notice.{}", notice.told.name()),
        "timestamp": format_millis(notice.last),
        "data": {
            "dedup_key": notice.dedup_key,
            "rule": notice.rule,
            "title": notice.title,
            "subject": notice.subject,
            "severity": notice.severity,
            "events": notice.events,
            "total": notice.total,
            "first": format_millis(notice.first),
            "last": format_millis(notice.last),
            "hold": notice.hold.map(hold),
            "end": notice.end,
            "headline": message::headline(notice),
            "lines": lines,
            "samples": samples,
            "held_back": { "groups": notice.parts.len(), "named": held },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{
            event::{Event, EventType},
            finding::Severity,
        },
        forward::notify::Told,
    };

    #[test]
    fn two_notices_of_what_was_held_back_have_two_ids() {
        let event = Event::new(0, EventType::TemporaryBan, Severity::High, None);
        let held = |last| Notice { told: Told::HeldBack, last, ..Notice::alone(&event) };
        assert_ne!(id(&held(1)), id(&held(2)));
        assert_eq!(id(&held(1)), id(&held(1)));
    }
}
