//! Slack's incoming webhooks, and what takes the same (Mattermost, Rocket.Chat, Discord with `/slack`).
//!
//! Everything from events is in `plain_text` objects, where there is no markup, with `&`, `<` and `>` escaped, as Slack
//! asks for. `text` says the same once more for notifications and for services that know no blocks; so that nobody is
//! called by what an event holds, an `@` and the middle of a link are broken there.

use futures::future::BoxFuture;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Channel, ChannelSettings, Nature, Notice, message};
use crate::{
    domain::Millis,
    forward::{Common, Failure, HttpClient, Secret, format::text::one_line},
};

/// Most characters of a header, of the text of a section and of one in a context (Slack's Block Kit: 150, 3,000, 2,000),
/// and of the fallback, of which Slack recommends 4,000.
const HEADER: usize = 150;
const SECTION: usize = 3_000;
const CONTEXT: usize = 300;
const FALLBACK: usize = 3_800;

/// `type = "slack"`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slack {
    /// Whoever has it can post: a secret.
    url: Secret,
}

impl ChannelSettings for Slack {
    const NATURE: Nature = Nature::READ;

    fn open(&self, common: &Common) -> Result<Box<dyn Channel>, (&'static str, String)> {
        let url = self.url.read().map_err(|hint| ("url", hint))?;
        let client = HttpClient::new(&url, common)?;
        Ok(Box::new(Post { client, sink: common.name.clone() }))
    }
}

struct Post {
    client: HttpClient,
    sink: String,
}

impl Channel for Post {
    fn tell<'a>(&'a mut self, notices: &'a [Notice], _now: Millis) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut answer = String::new();
            for notice in notices {
                let mut headers = HeaderMap::new();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                let body = payload(notice, &self.sink).to_string().into_bytes();
                answer = self.client.post("", headers, body).await?.shown();
            }
            Ok(answer)
        })
    }
}

/// The message.
pub(super) fn payload(notice: &Notice, sink: &str) -> Value {
    let plain =
        |text: &str, most| json!({ "type": "plain_text", "text": escaped(text, most), "emoji": false });
    let (headline, body) = (message::headline(notice), message::body(notice));
    let about = one_line(&format!("Keyward, sink {sink}, {}", notice.dedup_key), CONTEXT);
    json!({
        "text": escaped(&calm(&format!("{headline}\n{body}")), FALLBACK),
        "blocks": [
            { "type": "header", "text": plain(&headline, HEADER) },
            { "type": "section", "text": plain(&body, SECTION) },
            { "type": "context", "elements": [plain(&about, CONTEXT)] },
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
