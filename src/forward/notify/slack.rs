//! Slack's incoming webhooks, and what takes the same (Mattermost, Rocket.Chat, Discord with `/slack`).
//!
//! Everything from events is in `plain_text` objects, where there is no markup, with `&`, `<` and `>` escaped, as Slack
//! asks for. `text` says the same once more for notifications and for services that know no blocks; so that nobody is
//! called by what an event holds, an `@` and the middle of a link are broken there.

use futures::future::BoxFuture;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    channel::{Channel, ChannelSettings, ChannelTraits},
    message,
    notice::Notice,
};
use crate::{
    domain::Millis,
    forward::{
        common::CommonSettings,
        error::SendError,
        format::text::one_line,
        http::{json_headers, post},
        secret::Secret,
    },
    outbound::HttpClient,
    settings::SettingError,
};

/// Most characters of a header (Slack's Block Kit).
const MAX_HEADER: usize = 150;
/// Most characters of the text of a section (Slack's Block Kit).
const MAX_SECTION: usize = 3_000;
/// Most characters of a text in a context, of which Slack takes 2,000.
const MAX_CONTEXT: usize = 300;
/// Most characters of the fallback, for which Slack recommends at most 4,000.
const MAX_FALLBACK: usize = 3_800;

/// The own settings of a sink with `type = "slack"`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// The address of the webhook. Whoever has it can post, so it is a secret.
    url: Secret,
}

impl ChannelSettings for Slack {
    const TRAITS: ChannelTraits = ChannelTraits::READ_BY_PEOPLE;

    fn open(&self, common: &CommonSettings) -> Result<Box<dyn Channel>, SettingError> {
        let client = HttpClient::new(&self.url.read("url")?, &common.outbound)?;
        Ok(Box::new(SlackChannel { client, headers: json_headers(None)?, sink: common.name.clone() }))
    }
}

struct SlackChannel {
    client: HttpClient,
    headers: HeaderMap,
    sink: String,
}

impl Channel for SlackChannel {
    fn send<'a>(
        &'a mut self,
        notices: &'a [Notice],
        _now: Millis,
    ) -> BoxFuture<'a, Result<String, SendError>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let body = payload(notice, &self.sink).to_string().into_bytes();
                answer = post(&self.client, "", self.headers.clone(), body).await?.summary();
            }
            Ok(answer)
        })
    }
}

/// The message that a notice becomes, as Block Kit has it.
pub(super) fn payload(notice: &Notice, sink: &str) -> Value {
    let plain =
        |text: &str, most| json!({ "type": "plain_text", "text": escaped(text, most), "emoji": false });
    let (headline, body) = (message::headline(notice), message::body(notice));
    let about = one_line(&format!("Keyward, sink {sink}, {}", notice.dedup_key), MAX_CONTEXT);
    json!({
        "text": escaped(&calm(&format!("{headline}\n{body}")), MAX_FALLBACK),
        "blocks": [
            { "type": "header", "text": plain(&headline, MAX_HEADER) },
            { "type": "section", "text": plain(&body, MAX_SECTION) },
            { "type": "context", "elements": [plain(&about, MAX_CONTEXT)] },
        ],
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Escaped as Slack asks for, cut after `most` characters, never within an escape.
fn escaped(text: &str, most: usize) -> String {
    let (mut out, mut left) = (String::with_capacity(text.len()), most);
    for c in text.chars() {
        let mut buffer = [0; 4];
        let piece = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            c => c.encode_utf8(&mut buffer),
        };
        let length = piece.chars().count();
        if length > left {
            break;
        }
        left -= length;
        out.push_str(piece);
    }
    out
}

/// Calls nobody and links nowhere, for those that read Markdown.
fn calm(text: &str) -> String {
    text.replace('@', "@\u{200b}").replace("](", "]\u{200b}(")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_reads_as_markup_is_escaped_and_never_cut_in_the_middle() {
        assert_eq!(escaped("<!channel> & you", 100), "&lt;!channel&gt; &amp; you");
        assert_eq!(escaped("ab<c", 5), "ab");
        assert_eq!(escaped("ab<c", 7), "ab&lt;c");
        assert_eq!(calm("@all [x](http://evil)"), "@\u{200b}all [x]\u{200b}(http://evil)");
    }
}
