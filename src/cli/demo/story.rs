//! What people see of the play before the gateway: a line per answer, and the words of the stream as they come.

use std::{io, time::Duration};

use reqwest::Response;
use serde_json::Value;

use super::{
    super::output,
    screen::{Paint, Screen},
};
use crate::domain::address;

/// The model that everything is asked of.
pub(super) const MODEL: &str = "gpt-4.1";
/// A line is shown for so many words of the stream.
const WORDS_OF_A_LINE: usize = 10;
/// What stands before the cost in a comment of a stream.
const COST: &str = ": keyward cost_usd=";

/// Where it is, what to try, what comes.
pub(super) fn welcome(
    screen: &Screen,
    (url, gateway): (&str, &str),
    to_try: &str,
    length: Duration,
) -> io::Result<()> {
    let strong = |text: &str| screen.paint(Paint::Strong, text);
    let (name, here, there) = (strong("keyward demo --gateway"), strong(url), strong(gateway));
    output::line(&format!("{name} listens on {here}, its gateway on {there}"))?;
    output::line(&format!("  page     {url}/ui"))?;
    output::line(&format!("  events   curl -s '{url}/v1/events?limit=5'"))?;
    output::line("  provider keyward mock-provider, built in: it needs no key and costs nothing")?;
    output::line(&format!("\nTry a stream with a key of your own:\n  {to_try}"))?;
    output::line(&format!("\nNow playing, for {} s: a key leaks while it has a stream\n", length.as_secs()))?;
    let heads = format!("{:>6}  {:<20} {:<17} answer", "time", "what it is", "from");
    output::line(&screen.paint(Paint::Faint, &heads))
}

/// What is seen of an answer.
pub(super) struct Seen {
    /// Whether it is one that was asked for.
    pub is_success: bool,
    words: String,
}

impl Seen {
    /// A whole answer, which is read to its end.
    pub(super) async fn of(response: Response) -> Self {
        let (status, cost) = (response.status(), header(&response, "x-cost-usd"));
        let reason = header(&response, "x-keyward-reason");
        // Nobody reads the mock's story.
        drop(response.bytes().await);
        let more = match (reason, cost) {
            (Some(reason), _) => format!(" {reason}"),
            (None, Some(cost)) => format!(", {cost} USD"),
            (None, None) => String::new(),
        };
        Self { is_success: status.is_success(), words: format!("{}{more}", status.as_u16()) }
    }

    /// The beginning of a stream.
    pub(super) fn begun(response: &Response) -> Self {
        let status = response.status();
        Self { is_success: status.is_success(), words: format!("{}, word by word", status.as_u16()) }
    }

    /// The end of a stream, of which this has come.
    pub(super) fn cut(text: &str) -> Self {
        match error_in(text) {
            Some(message) => Self { is_success: false, words: format!("cut: {message}") },
            None => Self { is_success: true, words: "by itself".to_owned() },
        }
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    Some(output::plain(response.headers().get(name)?.to_str().ok()?))
}

/// The error with which a stream ended; `None` where it did not end with one.
pub(super) fn error_in(text: &str) -> Option<String> {
    let (_, last) = text.trim_end().rsplit_once("data: ")?;
    let event: Value = serde_json::from_str(last).ok()?;
    Some(output::plain(event["error"]["message"].as_str()?))
}

/// Tells the play, on a screen.
pub(super) struct Story<'s> {
    screen: &'s Screen,
}

impl<'s> Story<'s> {
    pub(super) fn new(screen: &'s Screen) -> Self {
        Self { screen }
    }

    /// Shows one answer on a line.
    pub(super) fn line(&self, at: Duration, what: &str, from: &str, seen: &Seen) -> io::Result<()> {
        let place =
            address::parse(from).map_or_else(|_| from.to_owned(), |address| self.screen.place(address));
        let paint = if seen.is_success { Paint::Good } else { Paint::Bad };
        let words = self.screen.paint(paint, &seen.words);
        output::line(&format!("{:>5.1}s  {what:<20} {place:<17} {words}", at.as_secs_f64()))
    }

    /// Shows how it went: `spent` by the budget of the key and `billed` by the provider, in US dollars.
    pub(super) fn ends(
        &self,
        key: &str,
        cut_after: Option<Duration>,
        is_refused: bool,
        (spent, billed): (&str, &str),
    ) -> io::Result<()> {
        let cut = match cut_after {
            Some(after) => format!("stream cut {} ms after the thief asked", after.as_millis()),
            None => "the stream was not cut".to_owned(),
        };
        let refused = if is_refused { "key refused" } else { "key not refused" };
        output::line(&format!("\n{}", self.screen.paint(Paint::Strong, &format!("{cut}; {refused}"))))?;
        let unknown =
            "how much of a stream that was cut the provider bills nobody says, so all that was held is paid";
        output::line(&format!("the budget paid {spent} USD, the provider bills {billed} USD: {unknown}"))?;
        output::line(&format!("lift the ban: keyward unban key:{key}"))
    }
}

/// How many words of a stream were shown.
#[derive(Default)]
pub(super) struct Words(usize);

impl Words {
    /// Shows how far a stream is of which `text` has come, a line for every ten words.
    pub(super) fn show(&mut self, story: &Story<'_>, at: Duration, text: &str) -> io::Result<()> {
        let words = text.matches("\"content\":").count();
        if words < self.0 + WORDS_OF_A_LINE {
            return Ok(());
        }
        self.0 = words;
        let cost = text.rsplit_once(COST).and_then(|(_, rest)| rest.lines().next());
        let cost = cost.map(|cost| format!(", {} USD so far", output::plain(cost))).unwrap_or_default();
        let row = format!("{:>5.1}s  {:<20} {:<17} {words} words{cost}", at.as_secs_f64(), "", "");
        output::line(&story.screen.paint(Paint::Faint, &row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_of_a_stream_is_its_last_event_and_nothing_else_is_one() {
        let words = "data: {\"choices\":[{\"delta\":{\"content\":\"error\"}}]}\n\n";
        let error = "data: {\"error\":{\"message\":\"This API key is banned.\"}}\n\n";
        assert_eq!(error_in(&format!("{words}{error}")), Some("This API key is banned.".to_owned()));
        for text in ["", words, &format!("{error}{words}"), &format!("{words}data: [DONE]\n\n")] {
            assert_eq!(error_in(text), None, "{text}");
        }
    }
}
