//! What an answer says that it used, in one form for all dialects.

use serde::Deserialize;

/// What an answer used. `None` is what was not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Usage {
    /// Tokens of the prompt, without those of caches.
    pub input: Option<u64>,
    /// Of the prompt, tokens that came from a cache.
    pub cached: Option<u64>,
    /// Of the prompt, tokens that were written to caches, for however long.
    pub cache_write: Option<u64>,
    /// Of those, tokens that were written for an hour. Events of a stream repeat the sum without this part of it, so
    /// that the difference is taken at the end alone.
    pub cache_write_1h: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub output: Option<u64>,
    /// Of the answer, tokens that were spent on reasoning.
    pub reasoning: Option<u64>,
    /// The service tier that it was answered in.
    pub tier: Option<Tier>,
}

/// A service tier, as providers name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::gateway) enum Tier {
    /// Answered within a day.
    Batch,
    /// Answered when there is room.
    Flex,
    /// Answered before the others.
    Priority,
    /// Every other one, which costs the ordinary price.
    #[serde(other)]
    Ordinary,
}

impl Usage {
    /// All tokens of the prompt.
    pub(in crate::gateway) fn prompt(&self) -> u64 {
        [self.input, self.cached, self.cache_write_5m(), self.cache_write_1h]
            .into_iter()
            .flatten()
            .fold(0, u64::saturating_add)
    }

    /// Of the prompt, tokens that were written to a cache for five minutes: all but those for an hour.
    pub(in crate::gateway) fn cache_write_5m(&self) -> Option<u64> {
        self.cache_write.map(|all| all.saturating_sub(self.cache_write_1h.unwrap_or(0)))
    }

    /// The same with what a later event says in place of what this one said.
    pub(in crate::gateway) fn updated(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cached: later.cached.or(self.cached),
            cache_write: later.cache_write.or(self.cache_write),
            cache_write_1h: later.cache_write_1h.or(self.cache_write_1h),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
            tier: later.tier.or(self.tier),
        }
    }
}

/// The usage of OpenAI's interfaces, by either of its names: parts are included in the whole.
#[derive(Debug, Deserialize)]
pub(super) struct OpenaiUsage {
    #[serde(alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(alias = "input_tokens_details")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(alias = "output_tokens_details")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl OpenaiUsage {
    /// In the common form; `None` where it says no prompt, or a part is more than its whole.
    pub(super) fn usage(self, tier: Option<Tier>) -> Option<Usage> {
        let details = self.prompt_tokens_details.unwrap_or_default();
        let (cached, cache_write) = (details.cached_tokens, details.cache_write_tokens);
        let reasoning = self.completion_tokens_details.unwrap_or_default().reasoning_tokens;
        let output = self.completion_tokens.unwrap_or(0);
        if reasoning.unwrap_or(0) > output {
            return None;
        }
        let uncached = self.prompt_tokens?.checked_sub(cached.unwrap_or(0))?;
        let input = Some(uncached.checked_sub(cache_write.unwrap_or(0))?);
        let output = Some(output);
        Some(Usage { input, cached, cache_write, output, reasoning, tier, ..Usage::default() })
    }
}

/// The usage of Anthropic's interface: parts stand beside each other.
#[derive(Debug, Deserialize)]
pub(super) struct AnthropicUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    service_tier: Option<Tier>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<u64>,
}

impl AnthropicUsage {
    /// In the common form. What was written to caches is for five minutes, but for what is said to be for an hour.
    pub(super) fn usage(self) -> Usage {
        Usage {
            input: self.input_tokens,
            cached: self.cache_read_input_tokens,
            cache_write: self.cache_creation_input_tokens,
            cache_write_1h: self.cache_creation.and_then(|creation| creation.ephemeral_1h_input_tokens),
            output: self.output_tokens,
            reasoning: None,
            tier: self.service_tier,
        }
    }
}
