//! A dozen typical entries of the shared list, and as many that cannot be taken.

use super::*;
use crate::{
    domain::price::{Quantities, ServiceTier, Tokens},
    pricing::{PriceList, file},
};

const SHARED: &str = include_str!("../../../tests/golden/prices/shared.json");

fn imported() -> (Imported, PriceList) {
    let imported = import(SHARED, &Selection::default(), "shared.json").unwrap();
    let list = file::read(&imported.text, "the imported list").unwrap();
    (imported, list)
}

/// What a million times as much costs, in nano-dollars.
fn million(list: &PriceList, model: &str, tokens: Tokens, service_tier: Option<ServiceTier>) -> u64 {
    let times = |count: u64| count * 1_000_000;
    let tokens = Tokens {
        input: times(tokens.input),
        cached_input: times(tokens.cached_input),
        cache_write_5m: times(tokens.cache_write_5m),
        cache_write_1h: times(tokens.cache_write_1h),
        output: times(tokens.output),
        reasoning: times(tokens.reasoning),
    };
    let cost = list.cost(model, 0, &Quantities { service_tier, ..tokens.into() });
    assert!(!cost.fallback, "{model}");
    cost.nanos
}

#[test]
fn prices_are_taken_digit_by_digit() {
    let (_, list) = imported();
    let (input, output) =
        (Tokens { input: 1, ..Tokens::default() }, Tokens { output: 1, ..Tokens::default() });
    let cached = Tokens { cached_input: 1, ..Tokens::default() };
    let batch = Some(ServiceTier::Batch);
    for (model, tokens, tier, nanos) in [
        ("house-large", input, None, 2_000_000_000),
        ("house-large", cached, None, 500_000_000),
        ("house-large", output, batch, 4_000_000_000),
        ("house-large", input, Some(ServiceTier::Priority), 3_500_000_000),
        ("house-large", input, Some(ServiceTier::Flex), 2_000_000_000),
        ("house-latest", output, None, 8_000_000_000),
        ("house-fine", input, None, 123_456_789),
        ("house-fine", output, None, 300_000_000),
        ("house-embedding", input, None, 20_000_000),
        ("house-embedding", output, None, 0),
        ("bedrock/eu-west-1/house", input, None, 1_000_000_000),
    ] {
        assert_eq!(million(&list, model, tokens, tier), nanos, "{model} {tokens:?} {tier:?}");
    }
    let cost = |model: &str, used: Quantities| list.cost(model, 0, &used).nanos;
    let nothing = Quantities::default();
    assert_eq!(cost("house-voice", Quantities { millis: 2_000, ..nothing }), 200_000);
    assert_eq!(cost("house-picture", Quantities { images: 2, ..nothing }), 80_000_000);
    assert_eq!(cost("house-letters", Quantities { characters: 100, ..nothing }), 1_500_000);
    assert_eq!(cost("house-rank", nothing), 2_000_000);
}

#[test]
fn tiers_by_the_length_of_the_prompt_are_taken_as_the_shared_list_is_read() {
    let (_, list) = imported();
    let cost = |model: &str, input: u64, service_tier| {
        let tokens = Tokens { input, ..Tokens::default() };
        list.cost(model, 0, &Quantities { service_tier, ..tokens.into() }).nanos / input
    };
    assert_eq!([200_000, 200_001].map(|input| cost("claude-house", input, None)), [3_000, 6_000]);
    let batch = Some(ServiceTier::Batch);
    assert_eq!(cost("claude-house", 200_001, batch), 1_500, "a batch has no dearer price for long prompts");
    assert_eq!(
        [127_999, 128_000].map(|input| cost("xai/house", input, None)),
        [3_000, 6_000],
        "from 128k on"
    );
    assert_eq!([256_000, 256_001].map(|input| cost("dashscope/house", input, None)), [50, 250]);
    let thought = Tokens { reasoning: 1, ..Tokens::default() };
    assert_eq!(million(&list, "dashscope/house", thought, None), 2_000_000_000 / 4);
    let written = Tokens { cache_write_1h: 1, ..Tokens::default() };
    assert_eq!(million(&list, "claude-house-20250929", written, None), 6_000_000_000);
}

#[test]
fn every_entry_is_taken_exactly_or_told_with_its_reason() {
    let (imported, _) = imported();
    let outcome = |name: &str| match imported.entries.iter().rev().find(|(of, _)| of == name) {
        Some((_, Outcome::Whole)) => "whole".to_owned(),
        Some((_, Outcome::InPart(left_out))) => left_out.join("; "),
        Some((_, Outcome::Not(reason))) => format!("not: {reason}"),
        None => "nothing".to_owned(),
    };
    for (name, expected) in [
        ("sample_spec", "not: shows the form of an entry and is no model"),
        ("house-fine", "whole"),
        ("house-latest", "whole"),
        ("house-picture", "whole"),
        (
            "claude-house-20250929",
            "`search_context_cost_per_query` is of searches, which no field of a record counts",
        ),
        ("house-voice", "`input_cost_per_audio_token` is of audio tokens, which no field of a record counts"),
        ("house-lost", "not: is an alias of nobody, which is not in the list"),
        (
            "house-noise",
            "not: `input_cost_per_token` is 9.499999999999999e-07, which is finer than 15 decimal places of USD",
        ),
        (
            "house-two",
            "not: `output_cost_per_image` is a second price for what a price list calls `per_image`",
        ),
        ("house-below", "not: `input_cost_per_token` is below 0"),
        ("house-dear", "not: `input_cost_per_token` is 1, which is above the highest price"),
        ("house-words", "not: `input_cost_per_token` is no number"),
        ("house-large", "not: is there twice; the first counts"),
        ("house-silent", "not: names no price of its own that a record can be charged"),
        ("house-number", "not: is no JSON object"),
    ] {
        assert_eq!(outcome(name), expected, "{name}");
    }
    assert!(outcome("house-[").starts_with("not: has a name that is no pattern: "), "{}", outcome("house-["));
    assert!(
        outcome("house-pixels")
            .ends_with("`input_cost_per_pixel` is of pixels, which no field of a record counts")
    );
    assert_eq!(imported.entries.len(), 24);
}

#[test]
fn only_what_is_asked_for_is_taken() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let selection =
        Selection { providers: words(&["openai", "xai"]), modes: words(&["embedding", "rerank"]) };
    let imported = import(SHARED, &selection, "shared.json").unwrap();
    assert_eq!(imported.entries, [("house-embedding".to_owned(), Outcome::Whole)]);
    assert_eq!(imported.unwanted, 23);
    let nobody = Selection { providers: words(&["nobody"]), modes: Vec::new() };
    assert!(matches!(import(SHARED, &nobody, "shared.json"), Err(ImportError::Nothing)));
    for text in ["", "[]", "7", "{\"a\":"] {
        assert!(
            matches!(import(text, &Selection::default(), "shared.json"), Err(ImportError::Form(_))),
            "{text}"
        );
    }
}

#[test]
fn the_fallback_is_a_price_that_hardly_any_model_exceeds() {
    let entry =
        |n: u64| format!(r#""m{n}":{{"input_cost_per_token":{n}e-6,"output_cost_per_token":{n}e-5}}"#);
    let shared = format!("{{{}}}", (1..=200).map(entry).collect::<Vec<_>>().join(","));
    let imported = import(&shared, &Selection::default(), "shared.json").unwrap();
    let list = file::read(&imported.text, "the imported list").unwrap();
    let base = list.choose("new", 0).price.standard().base;
    let micro = [Part::Input, Part::Output].map(|part| base.get(part) / 1_000_000_000);
    assert_eq!(micro, [196, 1960], "four of two hundred are dearer");
}
