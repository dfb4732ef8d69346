//! The names of prices in the shared list: what each is of, and why some cannot be taken.

use crate::domain::price::{Part, ServiceTier};

/// The beginnings of the names that are taken, the longer before those that they begin with.
const TAKEN: [(&str, Part); 16] = [
    ("input_cost_per_token_cache_hit", Part::CachedInput),
    ("input_cost_per_token", Part::Input),
    ("output_cost_per_token", Part::Output),
    ("output_cost_per_reasoning_token", Part::Reasoning),
    ("cache_read_input_token_cost", Part::CachedInput),
    ("cache_creation_input_token_cost_above_1hr", Part::CacheWrite1h),
    ("cache_creation_input_token_cost", Part::CacheWrite5m),
    ("input_cost_per_request", Part::Request),
    ("input_cost_per_query", Part::Request),
    ("input_cost_per_image", Part::Image),
    ("output_cost_per_image", Part::Image),
    ("input_cost_per_second", Part::Second),
    ("output_cost_per_second", Part::Second),
    ("cost_per_second", Part::Second),
    ("input_cost_per_character", Part::Character),
    ("output_cost_per_character", Part::Character),
];
const SERVICES: [(&str, ServiceTier); 3] =
    [("_batches", ServiceTier::Batch), ("_flex", ServiceTier::Flex), ("_priority", ServiceTier::Priority)];
/// Parts of names that are not taken, with the reason; the first that is in the name counts.
const REASONS: [(&str, &str); 16] = [
    ("_dbu_", "is in another unit than US dollars"),
    ("off_peak", "depends on the hour of the day"),
    ("multiplier", "holds for some accounts or regions only"),
    ("audio", "is of audio tokens, which no field of a record counts"),
    ("image_token", "is of image tokens, which no field of a record counts"),
    ("video", "is of film by another measure than its seconds"),
    ("above_12hr", "is of a cache that is written for longer than an hour"),
    ("_ultrafast", "is of a service tier that no record has"),
    ("_balanced", "is of a service tier that no record has"),
    ("_decisions", "is of a service tier that no record has"),
    ("per_query", "is of searches, which no field of a record counts"),
    ("pixel", "is of pixels, which no field of a record counts"),
    ("page", "is of pages, which no field of a record counts"),
    ("per_second_", "depends on the size of the picture"),
    ("per_image_", "depends on the size of the picture"),
    ("tiered_pricing", "has tiers by something else than the length of the prompt"),
];

/// Where a price belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub part: Part,
    /// For prompts above so many tokens.
    pub above: Option<u64>,
    pub service: Option<ServiceTier>,
}

/// Where a field of the shared list belongs; `None` where it is no price that a list can say.
pub(super) fn place(field: &str) -> Option<Place> {
    let service = SERVICES.iter().find(|(ending, _)| field.ends_with(ending));
    let named = service.map_or(field, |(ending, _)| &field[..field.len() - ending.len()]);
    TAKEN.iter().find_map(|(beginning, part)| {
        let rest = named.strip_prefix(beginning)?;
        let above = if rest.is_empty() { None } else { Some(tokens_above(rest)?) };
        Some(Place { part: *part, above, service: service.map(|(_, tier)| *tier) })
    })
}

/// Reads `_above_200k_tokens`.
fn tokens_above(text: &str) -> Option<u64> {
    let number = text.strip_prefix("_above_")?.strip_suffix("_tokens")?;
    match number.strip_suffix('k') {
        Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000),
        None => number.parse().ok(),
    }
}

/// Whether a field is about money, though it is none that is taken.
pub(super) fn is_price(field: &str) -> bool {
    ["cost", "pric", "multiplier"].iter().any(|word| field.contains(word))
}

/// Why a price is not taken.
pub(super) fn reason(field: &str) -> &'static str {
    let known = REASONS.iter().find(|(part, _)| field.contains(part));
    known.map_or("is of something that no field of a record counts", |(_, reason)| reason)
}
