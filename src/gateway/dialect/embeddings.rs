//! `/v1/embeddings`, as OpenAI has it: prompts without answers.

use serde::Deserialize;

use super::{
    chat,
    surface::Surface,
    usage::{OpenaiUsage, Usage},
};

/// Embeddings: no stream, and no tokens of an answer.
pub(in crate::gateway) const EMBEDDINGS: Surface = Surface {
    name: "embeddings",
    endpoint: "/v1/embeddings",
    path: "/embeddings",
    asks_for_usage: false,
    cap: |_| Some(0),
    answers: |_| 1,
    usage,
    ..chat::CHAT
};

#[derive(Deserialize)]
struct Answer {
    usage: Option<OpenaiUsage>,
}

fn usage(body: &[u8]) -> Option<Usage> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let usage = answer.usage?.usage(None)?;
    Some(Usage { output: usage.output.or(Some(0)), ..usage })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_embeddings_names_no_answer() {
        let used = usage(br#"{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}"#).unwrap();
        assert_eq!((used.prompt(), used.output), (3, Some(0)));
    }
}
