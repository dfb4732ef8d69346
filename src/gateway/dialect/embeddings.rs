//! `/v1/embeddings`, as OpenAI has it: prompts without answers.

use super::{chat, surface::Surface};

/// Embeddings: no stream, and no tokens of an answer.
pub(in crate::gateway) const EMBEDDINGS: Surface = Surface {
    name: "embeddings",
    endpoint: "/v1/embeddings",
    path: "/embeddings",
    asks_for_usage: false,
    cap: |_| Some(0),
    answers: |_| 1,
    ..chat::CHAT
};
