//! What a prompt asks of the mock provider: words between `[mock ` and `]`, anywhere in the body.

use memchr::memmem;

/// What the prompt asks for. A number that is not given is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Directives {
    /// Tokens of the prompt that are told.
    pub input: Option<u64>,
    /// Tokens of the answer that are told.
    pub output: Option<u64>,
    /// Of the prompt, tokens that came from a cache.
    pub cached: u64,
    /// Of the prompt, tokens that were written to a cache for five minutes.
    pub cache_write: u64,
    /// Of the prompt, tokens that were written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Of the answer, tokens that were spent on reasoning.
    pub reasoning: u64,
    /// Events of a stream that carry text.
    pub events: Option<usize>,
    /// Bytes of text in each of these events.
    pub size: Option<usize>,
    /// Milliseconds before the answer begins.
    pub delay_ms: u64,
    /// Milliseconds between two events.
    pub event_delay_ms: u64,
    /// The status of an error that is answered.
    pub status: Option<u16>,
    /// Seconds in the header `Retry-After` of that error.
    pub retry_after: Option<u64>,
    /// After so many events of the stream the connection breaks.
    pub cut: Option<usize>,
    /// After so many events of the stream comes an error in the form of the interface.
    pub error_after: Option<usize>,
    /// Bytes in each part that is written.
    pub split: Option<usize>,
    /// Whether lines of the stream end with CR LF.
    pub crlf: bool,
    /// Whether no usage is told.
    pub no_usage: bool,
    /// Whether a whole answer is billed although its client left.
    pub bills_full: bool,
}

impl Directives {
    /// Reads them from a body; what is no directive is passed over.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut read = Self::default();
        let Some(start) = memmem::find(body, b"[mock ") else { return read };
        let rest = &body[start + 6..];
        let end = memchr::memchr(b']', rest).unwrap_or(0);
        for word in String::from_utf8_lossy(&rest[..end]).split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, "1"));
            read.set(name, value.parse().unwrap_or(0));
        }
        read
    }

    fn set(&mut self, name: &str, value: u64) {
        let count = usize::try_from(value).unwrap_or(usize::MAX);
        match name {
            "input" => self.input = Some(value),
            "output" => self.output = Some(value),
            "cached" => self.cached = value,
            "cache_write" => self.cache_write = value,
            "cache_write_1h" => self.cache_write_1h = value,
            "reasoning" => self.reasoning = value,
            "events" => self.events = Some(count),
            "size" => self.size = Some(count),
            "delay_ms" => self.delay_ms = value,
            "event_delay_ms" => self.event_delay_ms = value,
            "status" => self.status = u16::try_from(value).ok().filter(|status| (400..600).contains(status)),
            "retry_after" => self.retry_after = Some(value),
            "cut" => self.cut = Some(count),
            "error_after" => self.error_after = Some(count),
            "split" => self.split = Some(count.max(1)),
            "crlf" => self.crlf = value > 0,
            "no_usage" => self.no_usage = value > 0,
            "bills_full" => self.bills_full = value > 0,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_says_what_it_wants_in_words_between_brackets() {
        let read = Directives::read(br#"{"messages":[{"content":"hi [mock output=50 cut=3 crlf] there"}]}"#);
        let expected = Directives { output: Some(50), cut: Some(3), crlf: true, ..Directives::default() };
        assert_eq!(read, expected);
    }

    #[test]
    fn what_is_no_directive_is_passed_over() {
        for body in ["", "[mock", "[mock ]", "[mock x=1 status=200]"] {
            assert_eq!(Directives::read(body.as_bytes()), Directives::default(), "{body}");
        }
    }
}
