//! What a request used, by what is priced.

use super::{Part, ServiceTier};

/// Most tokens in any one field of a record.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// Most images in a record.
pub const MAX_IMAGES: u64 = 1_000_000;
/// Most seconds in a record: eleven days.
pub const MAX_SECONDS: u64 = 1_000_000;
/// Most characters in a record.
pub const MAX_CHARACTERS: u64 = 1_000_000_000_000;

/// The tokens of a request by what they cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Prompt, without what came from a cache or was written to one.
    pub input: u64,
    /// Prompt that came from a cache.
    pub cached_input: u64,
    /// Prompt that was written to a cache for five minutes.
    pub cache_write_5m: u64,
    /// Prompt that was written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Tokens of the answer, without reasoning.
    pub output: u64,
    /// Tokens of the answer that were spent on reasoning.
    pub reasoning: u64,
}

/// What a record says about its tokens. Each is at most [`MAX_TOKENS`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportedTokens {
    /// Tokens of prompt and answer together.
    pub used: Option<u64>,
    /// Tokens of the prompt, those of caches included.
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub completion: Option<u64>,
    /// Prompt from a cache.
    pub cached: Option<u64>,
    /// Prompt that was written to a cache for five minutes.
    pub cache_write_5m: Option<u64>,
    /// Prompt that was written to a cache for an hour.
    pub cache_write_1h: Option<u64>,
    /// Answer that was spent on reasoning.
    pub reasoning: Option<u64>,
}

/// Which part is more than what it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// More came from a cache than was asked.
    Cached,
    /// With those from a cache, more was written to one for five minutes than was asked.
    CacheWrite5m,
    /// With the other two, more was written to a cache for an hour than was asked.
    CacheWrite1h,
    /// More was spent on reasoning than was answered.
    Reasoning,
}

impl Tokens {
    /// Tells prompt and answer apart. What `used` has beyond the two is answer where the prompt is known (reasoning,
    /// or simply all that is left), and prompt where it is not.
    ///
    /// # Errors
    /// The first part that is more than what it is a part of.
    pub fn of(told: ReportedTokens) -> Result<Self, Excess> {
        let (prompt, output) = (told.prompt.unwrap_or(0), told.completion.unwrap_or(0));
        let rest = told.used.unwrap_or(0).saturating_sub(prompt.saturating_add(output));
        let (prompt, output) = match told.prompt {
            Some(prompt) => (prompt, output.saturating_add(rest)),
            None => (rest, output),
        };
        let [cached_input, cache_write_5m, cache_write_1h, reasoning] =
            [told.cached, told.cache_write_5m, told.cache_write_1h, told.reasoning]
                .map(Option::unwrap_or_default);
        let input = prompt.checked_sub(cached_input).ok_or(Excess::Cached)?;
        let input = input.checked_sub(cache_write_5m).ok_or(Excess::CacheWrite5m)?;
        let input = input.checked_sub(cache_write_1h).ok_or(Excess::CacheWrite1h)?;
        let output = output.checked_sub(reasoning).ok_or(Excess::Reasoning)?;
        Ok(Self { input, cached_input, cache_write_5m, cache_write_1h, output, reasoning })
    }

    /// All tokens of the prompt.
    pub fn prompt(&self) -> u64 {
        [self.input, self.cached_input, self.cache_write_5m, self.cache_write_1h]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// All tokens of the answer.
    pub fn completion(&self) -> u64 {
        self.output.saturating_add(self.reasoning)
    }
}

/// All that a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quantities {
    /// Its tokens by what they cost.
    pub tokens: Tokens,
    /// The service tier that it was answered in; `None`: the standard one.
    pub service_tier: Option<ServiceTier>,
    /// Images, asked for or answered.
    pub images: u64,
    /// Sound or film, in milliseconds.
    pub millis: u64,
    /// Characters of text.
    pub characters: u64,
}

impl Quantities {
    /// The same with so many tokens, all of the prompt, and all of the completion.
    pub fn of_one_kind(self, tokens: u64) -> [Self; 2] {
        let prompt = Tokens { input: tokens, ..Tokens::default() };
        let completion = Tokens { output: tokens, ..Tokens::default() };
        [Self { tokens: prompt, ..self }, Self { tokens: completion, ..self }]
    }

    /// How much it used of a part, in thousandths.
    pub(super) fn thousandths(&self, part: Part) -> u64 {
        let whole = match part {
            Part::Input => self.tokens.input,
            Part::CachedInput => self.tokens.cached_input,
            Part::CacheWrite5m => self.tokens.cache_write_5m,
            Part::CacheWrite1h => self.tokens.cache_write_1h,
            Part::Output => self.tokens.output,
            Part::Reasoning => self.tokens.reasoning,
            Part::Request => 1,
            Part::Image => self.images,
            Part::Second => return self.millis,
            Part::Character => self.characters,
        };
        whole.saturating_mul(1_000)
    }
}

impl From<Tokens> for Quantities {
    fn from(tokens: Tokens) -> Self {
        Self { tokens, ..Self::default() }
    }
}
