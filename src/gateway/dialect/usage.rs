//! What an answer says that it used, in one form for all dialects.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use serde_json::Value;

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gateway) enum Tier {
    /// Answered within a day.
    Batch,
    /// Answered when there is room.
    Flex,
    /// Answered before the others.
    Priority,
    /// Every other one, which costs the ordinary price.
    Ordinary,
}

impl<'de> Deserialize<'de> for Tier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What is no text names none that is known; the usage beside it counts all the same.
        Ok(match Value::deserialize(deserializer)?.as_str() {
            Some("batch") => Self::Batch,
            Some("flex") => Self::Flex,
            Some("priority") => Self::Priority,
            _ => Self::Ordinary,
        })
    }
}

/// A number of tokens: whole, however it is written.
#[derive(Debug, Clone, Copy)]
struct Count(u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = Count;

    fn expecting(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        form.write_str("a number of tokens")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Count, E> {
        Ok(Count(number))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Count, E> {
        let is_whole = number.fract() == 0.0 && (0.0..1e15).contains(&number);
        if is_whole { Ok(Count(number as u64)) } else { Err(E::custom("must be whole")) }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Count, E> {
        text.parse().map(Count).map_err(|_| E::custom("must be a number"))
    }
}

fn number(count: Option<Count>) -> Option<u64> {
    count.map(|count| count.0)
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

/// The usage of OpenAI's interfaces, by either of its names or by both: parts are included in the whole.
#[derive(Debug, Deserialize)]
pub(super) struct OpenaiUsage {
    prompt_tokens: Option<Count>,
    input_tokens: Option<Count>,
    completion_tokens: Option<Count>,
    output_tokens: Option<Count>,
    total_tokens: Option<Count>,
    prompt_tokens_details: Option<PromptDetails>,
    input_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    output_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<Count>,
    cache_write_tokens: Option<Count>,
}

#[derive(Debug, Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<Count>,
}

impl OpenaiUsage {
    /// In the common form, without the answer where it says none; `None` where it says no prompt, or a part is more
    /// than its whole.
    pub(super) fn usage(self, tier: Option<Tier>) -> Option<Usage> {
        // Some providers say it by both names, of which one is 0.
        let prompt = number(self.prompt_tokens).max(number(self.input_tokens))?;
        let output = number(self.completion_tokens).max(number(self.output_tokens));
        let details = self.prompt_tokens_details.or(self.input_tokens_details).unwrap_or_default();
        let (cached, cache_write) = (number(details.cached_tokens), number(details.cache_write_tokens));
        let of_answer = self.completion_tokens_details.or(self.output_tokens_details);
        let reasoning = number(of_answer.unwrap_or_default().reasoning_tokens);
        let output = with_reasoning(prompt, output, reasoning, number(self.total_tokens));
        if reasoning.unwrap_or(0) > output.unwrap_or(0) {
            return None;
        }
        let uncached = prompt.checked_sub(cached.unwrap_or(0))?;
        let input = Some(uncached.checked_sub(cache_write.unwrap_or(0))?);
        Some(Usage { input, cached, cache_write, output, reasoning, tier, ..Usage::default() })
    }
}

/// All tokens of the answer: of some providers reasoning stands beside it, as the sum tells.
fn with_reasoning(
    prompt: u64,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
) -> Option<u64> {
    let (said, reasoning) = (output?, reasoning.unwrap_or(0));
    let all = said.saturating_add(reasoning);
    let is_beside = reasoning > 0 && total == Some(all.saturating_add(prompt));
    Some(if is_beside { all } else { said })
}

/// The usage of Anthropic's interface: parts stand beside each other.
#[derive(Debug, Deserialize)]
pub(super) struct AnthropicUsage {
    input_tokens: Option<Count>,
    output_tokens: Option<Count>,
    cache_read_input_tokens: Option<Count>,
    cache_creation_input_tokens: Option<Count>,
    cache_creation: Option<CacheCreation>,
    service_tier: Option<Tier>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    ephemeral_1h_input_tokens: Option<Count>,
}

impl AnthropicUsage {
    /// In the common form. What was written to caches is for five minutes, but for what is said to be for an hour.
    pub(super) fn usage(self) -> Usage {
        Usage {
            input: number(self.input_tokens),
            cached: number(self.cache_read_input_tokens),
            cache_write: number(self.cache_creation_input_tokens),
            cache_write_1h: self
                .cache_creation
                .and_then(|creation| number(creation.ephemeral_1h_input_tokens)),
            output: number(self.output_tokens),
            reasoning: None,
            tier: self.service_tier,
        }
    }
}
