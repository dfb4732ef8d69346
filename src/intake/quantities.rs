//! What a record says that its request used: the names of one number brought together, the bounds, and the parts told
//! apart by what they cost.

use super::{FieldError, WireRecord, WireServiceTier, number::WireSeconds};
use crate::domain::price::{
    Excess, MAX_CHARACTERS, MAX_IMAGES, MAX_TOKENS, Quantities, ReportedTokens, Tokens,
};

impl WireRecord {
    /// Brings the two names of prompt and completion together. Notes where they say different numbers.
    pub(super) fn settle_names(&mut self, errors: &mut Vec<FieldError>) {
        let Self { prompt_tokens, completion_tokens, input_tokens, output_tokens, .. } = self;
        for (other, this, pointer, name) in [
            (input_tokens, prompt_tokens, "/input_tokens", "prompt_tokens"),
            (output_tokens, completion_tokens, "/output_tokens", "completion_tokens"),
        ] {
            let Some(given) = other.take() else { continue };
            if *this.get_or_insert(given) != given {
                let detail =
                    format!("is another name of {name}, which is a different number: give one of them");
                errors.push(FieldError::new(pointer, detail));
            }
        }
    }

    /// Notes what is out of bounds, and which part is more than what it is a part of.
    pub(super) fn note_quantities(&self, errors: &mut Vec<FieldError>) {
        let tokens = [
            ("/tokens_used", self.tokens_used),
            ("/prompt_tokens", self.prompt_tokens),
            ("/completion_tokens", self.completion_tokens),
            ("/cached_tokens", self.cached_tokens),
            ("/cache_write_tokens", self.cache_write_tokens),
            ("/cache_write_1h_tokens", self.cache_write_1h_tokens),
            ("/reasoning_tokens", self.reasoning_tokens),
        ];
        let others = [("/images", self.images, MAX_IMAGES), ("/characters", self.characters, MAX_CHARACTERS)];
        let counts = tokens.into_iter().map(|(pointer, count)| (pointer, count, MAX_TOKENS)).chain(others);
        let before = errors.len();
        for (pointer, count, most) in counts {
            if count.is_some_and(|count| count > most) {
                errors.push(FieldError::new(pointer, format!("must be from 0 to {most}")));
            }
        }
        if errors.len() == before
            && let Err(excess) = self.tokens()
        {
            errors.push(excess_error(excess));
        }
    }

    /// The tokens by what they cost.
    ///
    /// # Errors
    /// Which part is more than what it is a part of.
    pub(super) fn tokens(&self) -> Result<Tokens, Excess> {
        Tokens::of(ReportedTokens {
            used: self.tokens_used,
            prompt: self.prompt_tokens,
            completion: self.completion_tokens,
            cached: self.cached_tokens,
            cache_write_5m: self.cache_write_tokens,
            cache_write_1h: self.cache_write_1h_tokens,
            reasoning: self.reasoning_tokens,
        })
    }

    /// All that it used, where its tokens are these.
    pub(super) fn quantities(&self, tokens: Tokens) -> Quantities {
        Quantities {
            tokens,
            service_tier: self.service_tier.and_then(WireServiceTier::priced),
            images: self.images.unwrap_or(0),
            millis: self.seconds.map_or(0, WireSeconds::millis),
            characters: self.characters.unwrap_or(0),
        }
    }

    /// Whether it says what was used; 0 is said, too.
    pub(super) fn says_usage(&self) -> bool {
        let counts =
            [self.tokens_used, self.prompt_tokens, self.completion_tokens, self.images, self.characters];
        counts.iter().any(Option::is_some) || self.seconds.is_some() || self.cost_usd.is_some()
    }

    /// The tokens that limits count: what was reported as used, or prompt and completion where they are more.
    pub(super) fn counted_tokens(&self) -> u64 {
        let parts = self.prompt_tokens.unwrap_or(0).saturating_add(self.completion_tokens.unwrap_or(0));
        self.tokens_used.unwrap_or(0).max(parts)
    }
}

fn excess_error(excess: Excess) -> FieldError {
    let (pointer, detail) = match excess {
        Excess::Cached => ("/cached_tokens", "must not be more than the prompt tokens"),
        Excess::CacheWrite5m => {
            ("/cache_write_tokens", "must not be more than the prompt tokens, together with cached_tokens")
        }
        Excess::CacheWrite1h => (
            "/cache_write_1h_tokens",
            "must not be more than the prompt tokens, together with cached_tokens and cache_write_tokens",
        ),
        Excess::Reasoning => ("/reasoning_tokens", "must not be more than the completion tokens"),
    };
    FieldError::new(pointer, detail)
}
