//! How many tokens of an answer a request allows, by every name that interfaces have for it.

/// How many tokens a request allows for answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) struct Caps {
    /// The member `max_tokens`, of every interface.
    pub max_tokens: Option<u64>,
    /// The member `max_completion_tokens`, of chat completions.
    pub max_completion_tokens: Option<u64>,
    /// The member `max_output_tokens`, of responses.
    pub max_output_tokens: Option<u64>,
    /// Answers that are asked for: `n`, at least 1.
    pub choices: u64,
    /// Answers of which the best are asked for: `best_of`, at least 1.
    pub best_of: u64,
    /// Prompts in one request of completions, at least 1.
    pub prompts: u64,
}
