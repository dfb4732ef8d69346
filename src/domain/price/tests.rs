//! Costs: which tokens are which, how a cost is rounded, which price holds when, and that nothing is lost.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::Millis;

fn told(
    used: impl Into<Option<u64>>,
    split: (Option<u64>, Option<u64>),
    cached: Option<u64>,
) -> Result<Tokens, Excess> {
    Tokens::of(ReportedTokens {
        used: used.into(),
        prompt: split.0,
        completion: split.1,
        cached,
        ..ReportedTokens::default()
    })
}

fn tokens(input: u64, cached_input: u64, output: u64) -> Tokens {
    Tokens { input, cached_input, output, ..Tokens::default() }
}

/// Prices of parts, in femto-dollars of one.
fn given(parts: &[(Part, u64)]) -> GivenRates {
    let mut rates = GivenRates::default();
    parts.iter().for_each(|(part, femto)| rates.set(*part, *femto));
    rates
}

fn price(parts: &[(Part, u64)]) -> Price {
    Price::new(&GivenSchedule { base: given(parts), tiers: Vec::new() }, &[])
}

/// The same price for every token.
fn flat(femto: u64) -> Arc<Price> {
    Arc::new(price(&[(Part::Input, femto), (Part::Output, femto)]))
}

#[test]
fn tokens_are_told_apart_as_far_as_the_record_does() {
    assert_eq!(told(None, (Some(812), Some(120)), None), Ok(tokens(812, 0, 120)));
    assert_eq!(told(932, (Some(812), Some(120)), Some(800)), Ok(tokens(12, 800, 120)));
    assert_eq!(told(932, (None, None), None), Ok(tokens(932, 0, 0)));
    assert_eq!(told(932, (None, None), Some(32)), Ok(tokens(900, 32, 0)));
    assert_eq!(told(932, (Some(812), None), None), Ok(tokens(812, 0, 120)), "the rest is the answer");
    assert_eq!(told(932, (None, Some(120)), None), Ok(tokens(812, 0, 120)), "the rest is the prompt");
    assert_eq!(told(1000, (Some(812), Some(120)), None), Ok(tokens(812, 0, 188)), "reasoning is answer");
    assert_eq!(told(5, (Some(812), Some(120)), None), Ok(tokens(812, 0, 120)), "the parts count");
    assert_eq!(told(None, (None, None), None), Ok(tokens(0, 0, 0)));
    assert_eq!(told(None, (Some(812), None), Some(813)), Err(Excess::Cached));
    assert_eq!(told(None, (None, None), Some(1)), Err(Excess::Cached));
}

#[test]
fn tokens_of_caches_are_part_of_the_prompt_and_reasoning_is_part_of_the_answer() {
    let parts = ReportedTokens {
        prompt: Some(100),
        completion: Some(50),
        cached: Some(30),
        cache_write_5m: Some(20),
        cache_write_1h: Some(10),
        reasoning: Some(40),
        ..ReportedTokens::default()
    };
    let tokens = Tokens::of(parts).unwrap();
    assert_eq!((tokens.input, tokens.output), (40, 10));
    assert_eq!((tokens.prompt(), tokens.completion()), (100, 50));
    for (more, excess) in [
        (ReportedTokens { cached: Some(101), ..parts }, Excess::Cached),
        (ReportedTokens { cache_write_5m: Some(71), ..parts }, Excess::CacheWrite5m),
        (ReportedTokens { cache_write_1h: Some(51), ..parts }, Excess::CacheWrite1h),
        (ReportedTokens { reasoning: Some(51), ..parts }, Excess::Reasoning),
    ] {
        assert_eq!(Tokens::of(more), Err(excess));
    }
}

#[test]
fn a_cost_is_rounded_half_up_once() {
    let dear =
        price(&[(Part::Input, 8_000_000_000), (Part::CachedInput, 2_000_000_000), (Part::Output, 1_000)]);
    assert_eq!(dear.nanos(&tokens(812, 0, 0).into()), 812 * 8_000);
    assert_eq!(dear.nanos(&tokens(812, 100, 0).into()), 812 * 8_000 + 100 * 2_000);
    assert_eq!(dear.nanos(&tokens(0, 0, 499).into()), 0);
    assert_eq!(dear.nanos(&tokens(0, 0, 500).into()), 1);
    let tiny = price(&[(Part::Input, 300_000), (Part::Output, 300_000)]);
    assert_eq!(tiny.nanos(&tokens(1, 1, 1).into()), 1, "0.9 of a nano-dollar, not three times 0.3");
    let most = told(MAX_TOKENS, (Some(MAX_TOKENS), Some(MAX_TOKENS)), None).unwrap();
    assert_eq!(flat(MAX_PRICE).nanos(&most.into()), 10_000_000_000 * 1_000_000_000);
}

#[test]
fn the_largest_request_at_the_highest_prices_is_not_cut_off() {
    let price = price(&Part::ALL.map(|part| (part, part.most())));
    let used = Quantities {
        tokens: tokens(MAX_TOKENS, 0, MAX_TOKENS),
        service_tier: None,
        images: MAX_IMAGES,
        millis: MAX_SECONDS * 1_000,
        characters: MAX_CHARACTERS,
    };
    let dollars = 10_000_000_000 + 1_000 + 1_000_000_000 + 1_000_000_000 + 5_000_000_000;
    assert_eq!(price.nanos(&used), dollars * 1_000_000_000);
}

#[test]
fn what_is_left_out_is_like_what_it_is_a_part_of() {
    let rates = given(&[(Part::Input, 5), (Part::Output, 7)]).rates();
    assert_eq!(Part::ALL.map(|part| rates.get(part)), [5, 5, 5, 5, 7, 7, 0, 0, 0, 0]);
    let rates = given(&[(Part::Input, 5), (Part::CacheWrite5m, 6), (Part::Output, 7)]).rates();
    assert_eq!((rates.get(Part::CacheWrite5m), rates.get(Part::CacheWrite1h)), (6, 6));
}

#[test]
fn a_longer_prompt_sets_the_price_of_the_whole_request() {
    let base = given(&[(Part::Input, 1_000_000), (Part::CachedInput, 100_000), (Part::Output, 3_000_000)]);
    let above = given(&[(Part::Input, 2_000_000), (Part::Output, 6_000_000)]);
    let further = given(&[(Part::Input, 4_000_000)]);
    let price = Price::new(&GivenSchedule { base, tiers: vec![(100, above), (200, further)] }, &[]);
    assert_eq!(price.nanos(&tokens(100, 0, 10).into()), 130);
    assert_eq!(price.nanos(&tokens(101, 0, 10).into()), 262);
    assert_eq!(
        price.nanos(&tokens(1, 100, 10).into()),
        2 + 10 + 60,
        "what came from a cache lengthens the prompt"
    );
    assert_eq!(
        price.nanos(&tokens(201, 0, 10).into()),
        804 + 60,
        "what a tier leaves out is as in the one below"
    );
}

#[test]
fn a_service_tier_has_its_own_prices_and_the_others_of_every_request() {
    let standard = GivenSchedule {
        base: given(&[(Part::Input, 4_000_000), (Part::CachedInput, 1_000_000), (Part::Output, 8_000_000)]),
        tiers: vec![(100, given(&[(Part::Input, 6_000_000)]))],
    };
    let batch = GivenSchedule {
        base: given(&[(Part::Input, 2_000_000), (Part::Output, 5_000_000)]),
        tiers: vec![(1_000, given(&[(Part::Input, 3_000_000)]))],
    };
    let price = Price::new(&standard, &[(ServiceTier::Batch, batch)]);
    let cost = |input, cached, output, service_tier| {
        price.nanos(&Quantities { service_tier, ..tokens(input, cached, output).into() })
    };
    assert_eq!(cost(10, 1, 1, None), 40 + 1 + 8);
    assert_eq!(cost(10, 1, 1, Some(ServiceTier::Batch)), 20 + 1 + 5);
    assert_eq!(cost(10, 1, 1, Some(ServiceTier::Flex)), cost(10, 1, 1, None), "flex has no price of its own");
    assert_eq!(
        cost(101, 0, 0, Some(ServiceTier::Batch)),
        606,
        "the standard's price for the length of the prompt"
    );
    assert_eq!(cost(1001, 0, 0, Some(ServiceTier::Batch)), 3003);
}

#[test]
fn a_new_price_of_answers_is_also_that_of_reasoning() {
    let standard = GivenSchedule {
        base: given(&[(Part::Input, 1), (Part::Output, 2_000_000), (Part::Reasoning, 9_000_000)]),
        tiers: Vec::new(),
    };
    let flex = GivenSchedule { base: given(&[(Part::Output, 1_000_000)]), tiers: Vec::new() };
    let price = Price::new(&standard, &[(ServiceTier::Flex, flex)]);
    let thought = Tokens { reasoning: 10, ..Tokens::default() };
    assert_eq!(price.nanos(&thought.into()), 90);
    assert_eq!(price.nanos(&Quantities { service_tier: Some(ServiceTier::Flex), ..thought.into() }), 10);
}

#[test]
fn a_price_holds_from_its_moment_until_the_next() {
    let timeline = Timeline::new(vec![(200, flat(2)), (100, flat(1))]);
    assert_eq!(timeline.at(99), None);
    assert_eq!(timeline.at(100), Some(&flat(1)));
    assert_eq!(timeline.at(199), Some(&flat(1)));
    assert_eq!(timeline.since(Millis::MAX), Some((200, &flat(2))));
    assert_eq!(Timeline::default().at(0), None);
}

#[test]
fn of_several_timelines_the_best_that_has_begun_counts() {
    let best = Timeline::new(vec![(200, flat(1))]);
    let next = Timeline::new(vec![(100, flat(2)), (300, flat(3))]);
    let merged = Timeline::merged(&[&best, &next]);
    let prices = [99, 100, 199, 200, 300].map(|time| merged.at(time).cloned());
    assert_eq!(prices, [None, Some(flat(2)), Some(flat(2)), Some(flat(1)), Some(flat(1))]);
}

fn any_told() -> impl Strategy<Value = ReportedTokens> {
    let count = || prop::option::of(prop_oneof![0..=5_000_u64, 0..=MAX_TOKENS]);
    let part = || prop::option::of(prop_oneof![0..=500_u64, 0..=MAX_TOKENS]);
    let all = (count(), count(), count(), part(), part(), part(), part());
    all.prop_map(|(used, prompt, completion, cached, cache_write_5m, cache_write_1h, reasoning)| {
        ReportedTokens { used, prompt, completion, cached, cache_write_5m, cache_write_1h, reasoning }
    })
}

proptest! {
    #[test]
    fn no_token_is_lost_and_none_made(told in any_told()) {
        if let Ok(tokens) = Tokens::of(told) {
            let parts = told.prompt.unwrap_or(0) + told.completion.unwrap_or(0);
            prop_assert_eq!(tokens.prompt() + tokens.completion(), told.used.unwrap_or(0).max(parts));
        }
    }

    #[test]
    fn a_merged_timeline_is_the_first_that_answers(
        starts in prop::collection::vec(prop::collection::vec(0..50_i64, 0..4), 0..4), time in -1..51_i64,
    ) {
        let price = |n: usize, from: &Millis| (*from, flat(1_000 * n as u64 + *from as u64));
        let unique = |starts: &Vec<Millis>| starts.iter().copied().collect::<std::collections::BTreeSet<_>>();
        let all: Vec<Timeline> = starts.iter().enumerate()
            .map(|(n, starts)| Timeline::new(unique(starts).iter().map(|from| price(n, from)).collect()))
            .collect();
        let all: Vec<&Timeline> = all.iter().collect();
        let merged = Timeline::merged(&all);
        prop_assert_eq!(merged.at(time), all.iter().find_map(|t| t.at(time)));
    }
}

/// A price list as it is written, as a text for each part: nine decimal places of a million, fifteen of one.
#[derive(Debug, Clone)]
struct Written {
    base: Vec<(Part, u64)>,
    tiers: Vec<(u64, Vec<(Part, u64)>)>,
}

impl Written {
    fn given(&self) -> GivenSchedule {
        GivenSchedule {
            base: given(&self.base),
            tiers: self.tiers.iter().map(|(above, parts)| (*above, given(parts))).collect(),
        }
    }
}

fn any_parts() -> impl Strategy<Value = Vec<(Part, u64)>> {
    let part = (0..PARTS).prop_flat_map(|n| {
        let part = Part::ALL[n];
        (Just(part), prop_oneof![0..=2_000_u64, 0..=20_000_000_000_u64, 0..=part.most()])
    });
    prop::collection::vec(part, 0..6)
}

fn any_written() -> impl Strategy<Value = Written> {
    let tiers = prop::collection::btree_map(1..6_000_u64, any_parts(), 0..3);
    (any_parts(), tiers).prop_map(|(base, tiers)| Written { base, tiers: tiers.into_iter().collect() })
}

fn any_used() -> impl Strategy<Value = (ReportedTokens, Quantities)> {
    let small = |most: u64| prop_oneof![4 => 0..=5_000.min(most), 1 => 0..=most];
    let tokens = (small(MAX_TOKENS), small(MAX_TOKENS), 0..=100_u64, 0..=100_u64, 0..=100_u64, 0..=100_u64);
    let others = (0..4_usize, small(MAX_IMAGES), small(MAX_SECONDS * 1_000), small(MAX_CHARACTERS));
    (tokens, others).prop_map(
        |((prompt, completion, cached, five, hour, reasoning), (tier, images, millis, characters))| {
            // Shares of the prompt, in hundredths of what is left.
            let cached = prompt * cached / 100;
            let five = (prompt - cached) * five / 100;
            let hour = (prompt - cached - five) * hour / 100;
            let reasoning = completion * reasoning / 100;
            let told = ReportedTokens {
                used: None,
                prompt: Some(prompt),
                completion: Some(completion),
                cached: Some(cached),
                cache_write_5m: Some(five),
                cache_write_1h: Some(hour),
                reasoning: Some(reasoning),
            };
            let service_tier = ServiceTier::ALL.get(tier).copied();
            (told, Quantities { tokens: Tokens::default(), service_tier, images, millis, characters })
        },
    )
}

/// The cost by another way: whole nano-dollars and a fraction apart, where the price of each part is looked up in what
/// is written, from the most particular place to the most general.
fn oracle(
    standard: &Written,
    services: &[(ServiceTier, Written)],
    told: &ReportedTokens,
    used: &Quantities,
) -> i128 {
    let prompt = told.prompt.unwrap();
    let service =
        used.service_tier.and_then(|tier| services.iter().find(|(of, _)| *of == tier)).map(|(_, w)| w);
    // The places where a price may be written, the most particular first.
    let mut places: Vec<&Vec<(Part, u64)>> = Vec::new();
    for written in [service, Some(standard)].into_iter().flatten() {
        places
            .extend(written.tiers.iter().rev().filter(|(above, _)| *above < prompt).map(|(_, parts)| parts));
    }
    places.extend([service, Some(standard)].into_iter().flatten().map(|written| &written.base));
    // Of a part that is written twice in one place, the last counts.
    let last = |place: &Vec<(Part, u64)>, part: Part| {
        place.iter().rev().find(|(of, _)| *of == part).map(|(_, f)| *f)
    };
    let find = |part: Part| places.iter().find_map(|place| last(place, part));
    let reasoning =
        places.iter().find_map(|place| last(place, Part::Reasoning).or(last(place, Part::Output)));
    let input = find(Part::Input).unwrap_or(0);
    let five = find(Part::CacheWrite5m).unwrap_or(input);
    let [cached, five_used, hour_used, thought] =
        [told.cached, told.cache_write_5m, told.cache_write_1h, told.reasoning].map(Option::unwrap);
    let answered = told.completion.unwrap() - thought;
    let whole = [
        (prompt - cached - five_used - hour_used, input),
        (cached, find(Part::CachedInput).unwrap_or(input)),
        (five_used, five),
        (hour_used, find(Part::CacheWrite1h).unwrap_or(five)),
        (answered, find(Part::Output).unwrap_or(0)),
        (thought, reasoning.unwrap_or(0)),
        (1, find(Part::Request).unwrap_or(0)),
        (used.images, find(Part::Image).unwrap_or(0)),
        (used.characters, find(Part::Character).unwrap_or(0)),
    ];
    // Nano-dollars as a whole and a fraction of a million, then the seconds as a fraction of 10^9.
    let (mut nanos, mut rest) = (0_i128, 0_i128);
    for (count, femto) in whole {
        let (dollars, below) = (i128::from(femto) / 1_000_000, i128::from(femto) % 1_000_000);
        nanos += dollars * i128::from(count);
        rest += below * i128::from(count);
    }
    let seconds = i128::from(used.millis) * i128::from(find(Part::Second).unwrap_or(0));
    let billionths = rest * 1_000 + seconds;
    nanos += billionths.div_euclid(1_000_000_000);
    nanos + i128::from(billionths.rem_euclid(1_000_000_000) * 2 >= 1_000_000_000)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn ten_thousand_random_priced_requests_cost_what_an_independent_sum_says(
        standard in any_written(), batch in any_written(), priority in any_written(), (told, used) in any_used(),
    ) {
        let services = [(ServiceTier::Batch, batch), (ServiceTier::Priority, priority)];
        let given = services.each_ref().map(|(tier, written)| (*tier, written.given()));
        let price = Price::new(&standard.given(), &given);
        let expected = oracle(&standard, &services, &told, &used);
        let used = Quantities { tokens: Tokens::of(told).unwrap(), ..used };
        prop_assert_eq!(i128::from(price.nanos(&used)), expected);
        prop_assert!(price.nanos(&used) < u64::MAX);
    }
}

#[test]
fn an_estimate_is_at_the_dearest_price_that_its_tokens_can_have() {
    let tier = given(&[(Part::Input, 2_000_000), (Part::Output, 8_000_000)]);
    let base = given(&[(Part::Input, 1_000_000), (Part::Output, 4_000_000)]);
    let tiered = Price::new(&GivenSchedule { base, tiers: vec![(1_000, tier)] }, &[]);
    let nothing = Quantities::default();
    assert_eq!(
        tiered.most_nanos(&nothing, Some(1_000)),
        1_000 * 4,
        "a prompt as long as that reaches no tier"
    );
    assert_eq!(tiered.most_nanos(&nothing, Some(20_000)), 20_000 * 8, "a prompt of 1,001 does");
    assert_eq!(
        tiered.most_nanos(&tokens(900, 0, 100).into(), None),
        900 + 100 * 4,
        "it says which are which"
    );
    let parts = [(Part::Input, 1_000_000), (Part::Output, 2_000_000), (Part::Reasoning, 10_000_000)];
    let thinking = price(&parts);
    assert_eq!(
        thinking.most_nanos(&tokens(100, 0, 100).into(), None),
        100 + 100 * 10,
        "all of it may be reasoning"
    );
    assert_eq!(thinking.most_nanos(&nothing, Some(100)), 100 * 10);
    assert_eq!(flat(3_000_000).most_nanos(&nothing, Some(7)), 21);
}
