//! `/v1/completions`, OpenAI's older interface: answered as chat completions are.

use super::{caps::Caps, chat, surface::Surface};

/// Tokens of an answer where the request names no cap, by the provider's documentation.
const DEFAULT_CAP: u64 = 16;

/// Text completions, whose cap has a default.
pub(in crate::gateway) const COMPLETIONS: Surface = Surface {
    name: "completions",
    endpoint: "/v1/completions",
    path: "/completions",
    cap: |caps| Some(caps.max_tokens.unwrap_or(DEFAULT_CAP)),
    answers,
    ..chat::CHAT
};

fn answers(caps: &Caps) -> u64 {
    caps.choices.max(caps.best_of).saturating_mul(caps.prompts)
}
