//! What a request to the mock provider says.

use serde::Deserialize;

use super::{bill::Totals, directives::Directives};

/// Tokens of an answer where nothing says how many.
const OUTPUT: u64 = 12;

/// The members of a body that the mock looks at.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    model: String,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    stream_options: Option<StreamOptions>,
    encoding_format: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub model: String,
    pub stream: bool,
    /// Whether a stream of chat completions ends with a chunk of usage.
    pub usage_in_stream: bool,
    pub base64: bool,
    pub directives: Directives,
    /// What the whole answer uses.
    pub used: Totals,
}

impl Asked {
    /// Reads a body; `None` if it is no JSON object of this form.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let read: Body = serde_json::from_slice(body).ok()?;
        let directives = Directives::read(body);
        let cap = [read.max_tokens, read.max_completion_tokens, read.max_output_tokens].into_iter().flatten();
        let cap = cap.min().unwrap_or(u64::MAX);
        let input = directives.input.unwrap_or(body.len() as u64 / 4).max(1);
        let output = directives.output.unwrap_or(OUTPUT).min(cap);
        Some(Self {
            model: read.model,
            stream: read.stream,
            usage_in_stream: read.stream_options.is_some_and(|options| options.include_usage),
            base64: read.encoding_format.as_deref() == Some("base64"),
            used: Totals { input_tokens: input, output_tokens: output, ..Totals::default() },
            directives,
        })
    }

    /// The pieces of text that a stream has, as many as tokens where nothing else is asked for.
    pub(super) fn pieces(&self) -> Vec<String> {
        let count = self.directives.events.unwrap_or(self.used.output_tokens.min(64) as usize);
        let piece = |n: usize| match self.directives.size {
            Some(size) => "x".repeat(size),
            None => format!("{}{n}", if n == 0 { "word" } else { " wörd" }),
        };
        (0..count).map(piece).collect()
    }
}
