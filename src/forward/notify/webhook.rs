//! Notices as JSON by HTTPS POST, signed as Standard Webhooks 1.0.0 says: for what has no channel of its own here.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    channel::{Channel, ChannelSettings, ChannelTraits},
    message,
    notice::Notice,
    rule::{Restriction, digest},
};
use crate::{
    domain::{Millis, event::format_millis},
    forward::{
        common::CommonSettings,
        error::SendError,
        http::{json_headers, post},
        secret::{Secret, UrlSource},
        signer::WebhookSigner,
    },
    outbound::HttpClient,
    settings::SettingError,
};

/// Most groups that are named in a notice about what was held back.
const MAX_NAMED: usize = 1_000;

/// The own settings of a sink with `type = "notify_webhook"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotifyWebhook {
    url: UrlSource,
    /// `whsec_` and base64. Several, separated by blanks or lines, all sign: so a key can be replaced.
    secret: Option<Secret>,
    /// The value of the header `Authorization`.
    authorization: Option<Secret>,
}

impl ChannelSettings for NotifyWebhook {
    const TRAITS: ChannelTraits =
        ChannelTraits { closes: true, acknowledges: true, ..ChannelTraits::READ_BY_PEOPLE };

    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError> {
        let client = HttpClient::new(&self.url.read("url")?, &common.outbound)?;
        let signer = WebhookSigner::open(self.secret.as_ref())?;
        Ok(Box::new(WebhookChannel { client, signer, headers: json_headers(self.authorization.as_ref())? }))
    }
}

struct WebhookChannel {
    client: HttpClient,
    signer: WebhookSigner,
    headers: HeaderMap,
}

impl Channel for WebhookChannel {
    fn send<'a>(
        &'a mut self,
        notices: &'a [Notice],
        now: Millis,
    ) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let body = payload(notice).to_string().into_bytes();
                let mut headers = self.headers.clone();
                self.signer.sign(&mut headers, &id(notice), now, &body);
                answer = post(&self.client, "", headers, body).await?.summary();
            }
            Ok(answer)
        })
    }
}

/// The same when the same notice is sent again. The last time is in it since two about what was held back may begin at
/// the same time and be about as many events.
fn id(notice: &Notice) -> String {
    let what = format!("{} {} {} {}", notice.dedup_key, notice.first, notice.last, notice.total);
    format!("{}-{}", notice.kind.name(), digest(&what, 16))
}

fn payload(notice: &Notice) -> Value {
    let hold = |Restriction { ban, until }| json!({ "ban": ban, "until": until.map(format_millis) });
    let lines: Vec<Value> =
        message::lines(notice).into_iter().map(|(word, text)| json!([word, text])).collect();
    let held: Vec<Value> = notice.parts.iter().take(MAX_NAMED).map(|part| {
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
        "type": format!("notice.{}", notice.kind.name()),
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
            "hold": notice.restriction.map(hold),
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
        forward::notify::notice::NoticeKind,
    };

    #[test]
    fn two_notices_of_what_was_held_back_have_two_ids() {
        let event = Event::new(0, EventType::TemporaryBan, Severity::High, None);
        let held = |last| Notice { kind: NoticeKind::HeldBack, last, ..Notice::alone(&event) };
        assert_ne!(id(&held(1)), id(&held(2)));
        assert_eq!(id(&held(1)), id(&held(1)));
    }
}
