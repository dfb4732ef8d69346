//! Price lists: what is read, and what comes of it. `mistakes` has what is refused, `names` which price a name has.

mod mistakes;
mod names;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    domain::{
        Millis,
        event::parse_millis,
        money::Usd,
        price::{Cost, MAX_TOKENS, Part, Quantities, ServiceTier, Tokens},
    },
    intake::{Intake, Peppers, parse},
    watch::Reload,
};

const FALLBACK: &str = "[fallback]\ninput = 15\noutput = 30\n";
const MILLION: u64 = 1_000_000;

fn read(text: &str) -> Result<PriceList, String> {
    file::read(text, "prices.toml").map_err(|error| error.to_string())
}

fn list(text: &str) -> PriceList {
    read(&format!("{FALLBACK}{text}")).unwrap()
}

fn entry(model: &str, input: &str) -> String {
    format!("[[prices]]\nmodel = {model:?}\ninput = {input}\noutput = {input}\n")
}

fn day(text: &str) -> Millis {
    parse_millis(&format!("{text}T00:00:00Z")).unwrap()
}

/// What a million tokens cost, in dollars: prompt, prompt from a cache, answer.
fn per_million(list: &PriceList, model: &str, time: Millis) -> [String; 3] {
    [(MILLION, 0, 0), (0, MILLION, 0), (0, 0, MILLION)].map(|(input, cached_input, output)| {
        let tokens = Tokens { input, cached_input, output, ..Tokens::default() };
        let cost = list.cost(model, time, &tokens.into());
        format!("{}{}", Usd(cost.nanos), if cost.fallback { " by fallback" } else { "" })
    })
}

fn input_price(list: &PriceList, model: &str) -> String {
    per_million(list, model, 0)[0].clone()
}

#[test]
fn the_built_in_list_has_the_text_models_of_the_large_providers_by_each_of_their_names() {
    let list = read(BUILT_IN).unwrap();
    assert!(list.models() >= 300, "{}", list.models());
    for (model, prices) in [
        ("gpt-4.1", ["2", "0.5", "8"]),
        ("openai/gpt-4.1-2025-04-14", ["2", "0.5", "8"]),
        ("gpt-4o-mini", ["0.15", "0.075", "0.6"]),
        ("claude-sonnet-4.5", ["3", "0.3", "15"]),
        ("anthropic/claude-sonnet-4-5-20250929", ["3", "0.3", "15"]),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", ["3.3", "0.33", "16.5"]),
        ("deepseek-v3.2", ["0.28", "0.028", "0.4"]),
    ] {
        let base = list.choose(model, 0).price.standard().base;
        let written = [Part::Input, Part::CachedInput, Part::Output].map(|part| part.written(base.get(part)));
        assert_eq!(written, prices, "{model}");
    }
    for family in
        ["gemini-2.5-pro", "mistral-large-latest", "grok-4.5", "command-r-plus", "gpt-5", "claude-opus-4-7"]
    {
        assert!(list.choose(family, 0).priced_as.is_some(), "{family}");
    }
    assert!(input_price(&list, "no-such-model").ends_with(" by fallback"));
}

#[test]
fn the_example_of_a_flat_list_is_read_and_has_its_five_models() {
    let list = read(FLAT_EXAMPLE).unwrap();
    for (models, price) in [
        (&["gpt-4.1", "gpt-4.1-2025-04-14"][..], "8"),
        (&["claude-opus-4.7", "claude-opus-4-7", "claude-opus-4-7-20260301"], "15"),
        (&["claude-sonnet-4.5", "claude-sonnet-4-5-20250929"], "15"),
        (&["gemini-2.5-flash"], "2.5"),
        (&["deepseek-v3.2"], "0.42"),
    ] {
        for model in models {
            assert_eq!(per_million(&list, model, 0), [price; 3], "{model}");
        }
    }
    for other in ["gpt-4.1-mini", "gpt-4.1-nano", "gemini-2.5-flash-lite", "GPT-4.1", "x"] {
        assert_eq!(input_price(&list, other), "15 by fallback", "{other}");
    }
    assert_eq!(list.models(), 5);
}

#[test]
fn a_price_is_what_its_digits_say_in_every_form() {
    for text in
        ["8.00", "8", "\"8.00\"", "'8'", "+8.0", "0.8e1", "8.000000", "8.0000000000000000000000000000"]
    {
        assert_eq!(input_price(&list(&entry("m", text)), "m"), "8", "{text}");
    }
    // The double next to 0.1 + 0.2 is not 0.3; these digits are.
    for (text, price) in [
        ("0.42", "0.42"),
        ("0.0000001", "0.0000001"),
        ("0.000000001", "0.000000001"),
        ("4_999.999_999_999", "4999.999999999"),
        ("0", "0"),
    ] {
        assert_eq!(input_price(&list(&entry("m", text)), "m"), price, "{text}");
    }
}

#[test]
fn cached_input_costs_as_input_unless_it_is_said() {
    let split = list("[[prices]]\nmodel = 'm'\ninput = 2.50\ncached_input = 0.25\noutput = 10\n");
    assert_eq!(per_million(&split, "m", 0), ["2.5", "0.25", "10"]);
    assert_eq!(per_million(&split, "unknown", 0), ["15 by fallback", "15 by fallback", "30 by fallback"]);
    let half = list("[[prices]]\nmodel = 'm'\ninput = 2.50\noutput = 10\n");
    assert_eq!(per_million(&half, "m", 0), ["2.5", "2.5", "10"]);
}

#[test]
fn every_part_of_a_price_is_read_in_its_own_unit() {
    let list = list(
        "[[prices]]\nmodel = 'm'\ninput = 2\ncached_input = 0.5\ncache_write_5m = 2.5\ncache_write_1h = 4\n\
         output = 8\nreasoning = 9\nper_request = 0.01\nper_image = 0.04\nper_second = 0.0001\n\
         per_million_characters = 15\ntiers = [{ above_prompt_tokens = 10, input = 4 }]\n\
         batch = { input = 1, tiers = [{ above_prompt_tokens = 10, input = 3 }] }\n\
         [[prices]]\nmodel = 'picture'\nper_image = 0.04\n",
    );
    let base = list.choose("m", 0).price.standard().base;
    let expected = [2, 0, 0, 4, 8, 9, 0, 0, 0, 15];
    for (part, whole) in Part::ALL.into_iter().zip(expected).filter(|(_, whole)| *whole > 0) {
        assert_eq!(base.get(part), whole * 1_000_000_000, "{}", part.name());
    }
    let nanos = |used: Quantities| list.cost("m", 0, &used).nanos;
    let nothing = Quantities::default();
    let request = 10_000_000;
    assert_eq!(nanos(nothing), request);
    assert_eq!(nanos(Quantities { images: 3, ..nothing }), request + 120_000_000);
    assert_eq!(nanos(Quantities { millis: 2_500, ..nothing }), request + 250_000);
    assert_eq!(nanos(Quantities { characters: 1_000, ..nothing }), request + 15_000_000);
    let tokens = Tokens { input: 11, cached_input: 2, cache_write_5m: 2, ..Tokens::default() };
    assert_eq!(nanos(tokens.into()), request + 44_000 + 1_000 + 5_000);
    let batch = Quantities { service_tier: Some(ServiceTier::Batch), ..tokens.into() };
    assert_eq!(nanos(batch), request + 33_000 + 1_000 + 5_000);
    let pictures = list.cost("picture", 0, &Quantities { images: 1, ..tokens.into() });
    assert_eq!(pictures, Cost { nanos: 40_000_000, fallback: false }, "what is not priced costs nothing");
}

#[test]
fn a_price_changes_on_its_day_and_what_begins_later_is_no_price_yet() {
    let list = list(
        "[[prices]]\nmodel = 'm'\nfrom = 2027-01-01\ninput = 3\noutput = 3\n\
         [[prices]]\nmodel = 'm'\nfrom = '2026-07-01'\ninput = 2\noutput = 2\n\
         [[prices]]\nmodel = 'm*'\ninput = 1\noutput = 1\n\
         [[prices]]\nmodel = 'new'\nfrom = 2027-01-01\ninput = 9\noutput = 9\n\
         [aliases]\nalso = 'm'\n",
    );
    let at = |model: &str, time: Millis| per_million(&list, model, time)[2].clone();
    for (time, price) in [
        (0, "1"),
        (day("2026-07-01") - 1, "1"),
        (day("2026-07-01"), "2"),
        (day("2027-01-01") - 1, "2"),
        (day("2027-01-01"), "3"),
        (Millis::MAX, "3"),
    ] {
        assert_eq!(at("m", time), price, "{time}");
    }
    assert_eq!(at("also", day("2026-06-30")), "30 by fallback");
    assert_eq!(at("also", day("2026-12-31")), "2");
    assert_eq!(at("new", day("2026-12-31")), "30 by fallback");
    assert_eq!(at("new", day("2027-01-01")), "9");
}

/// Sets the time of the last change, since two writes of a test may fall into one tick of the file system.
fn put(path: &Path, text: &str, seconds: u64) {
    std::fs::write(path, text).unwrap();
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

fn cost(prices: &Prices, model: &str) -> Cost {
    prices.cost(model, 0, &Tokens { input: 1, ..Tokens::default() }.into()).0
}

#[test]
fn a_changed_file_is_taken_up_and_names_it_answered_for_forgotten() {
    let shelf = tempfile::tempdir().unwrap();
    let path = shelf.path().join("prices.toml");
    put(&path, &format!("{FALLBACK}{}", entry("m*", "1")), 1);
    let prices = Prices::open(Some(&path)).unwrap();
    assert_eq!(prices.status(), PriceStatus { source: PriceSource::File, models: 1 });
    for _ in 0..2 {
        assert_eq!(cost(&prices, "mini"), Cost { nanos: 1_000, fallback: false });
        assert_eq!(cost(&prices, "other"), Cost { nanos: 15_000, fallback: true });
    }
    assert_eq!(prices.reload_if_changed(), Reload::Unchanged);

    put(&path, &format!("{FALLBACK}{}{}", entry("m*", "2"), entry("other", "3")), 2);
    assert_eq!(prices.reload_if_changed(), Reload::Reloaded);
    assert_eq!(cost(&prices, "mini"), Cost { nanos: 2_000, fallback: false });
    assert_eq!(cost(&prices, "other"), Cost { nanos: 3_000, fallback: false });
    assert_eq!(prices.status().models, 2);
}

#[test]
fn a_bad_new_file_leaves_the_old_one_in_force_until_it_is_mended() {
    let shelf = tempfile::tempdir().unwrap();
    let path = shelf.path().join("prices.toml");
    let good = format!("{FALLBACK}{}", entry("m", "1"));
    put(&path, &good, 1);
    let prices = Prices::open(Some(&path)).unwrap();
    put(&path, "[fallback]\ninput = -1", 2);
    assert_eq!(prices.reload_if_changed(), Reload::Failed);
    assert_eq!(prices.reload_if_changed(), Reload::Unchanged, "the same bad file is not tried again");
    assert_eq!(cost(&prices, "m").nanos, 1_000);
    let PriceSource::Stale { error } = prices.status().source else { panic!("not stale") };
    assert!(error.contains("prices.toml, line 2: `fallback.input`"), "{error}");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(prices.reload_if_changed(), Reload::Failed);
    put(&path, &good, 1);
    assert_eq!(prices.reload_if_changed(), Reload::Unchanged);
    assert_eq!(prices.status().source, PriceSource::File);
}

#[test]
fn a_file_that_is_not_there_is_named_with_the_setting() {
    let error = Prices::open(Some(Path::new("no/such.toml"))).unwrap_err().to_string();
    assert!(error.contains("no/such.toml") && error.contains("prices.file"), "{error}");
}

/// A request's cost as a fraction of whole numbers, from the text of its prices: the prices brought to the same number
/// of decimals, times the tokens, over what that makes of a million tokens' dollar; rounded by doubling.
fn by_fractions(prices: [&str; 3], tokens: [u64; 3]) -> u64 {
    let places = |text: &str| text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let most = prices.iter().map(|price| places(price)).max().unwrap();
    let dollars: u128 = prices
        .iter()
        .zip(tokens)
        .map(|(price, tokens)| {
            let digits = price.replace('.', "") + &"0".repeat(most - places(price));
            digits.parse::<u128>().unwrap() * u128::from(tokens)
        })
        .sum();
    let (numerator, denominator) =
        (dollars * 1_000_000_000, 10_u128.pow(u32::try_from(most).unwrap()) * 1_000_000);
    u64::try_from((2 * numerator + denominator) / (2 * denominator)).unwrap()
}

fn any_price() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..5_000_u32).prop_map(|whole| whole.to_string()),
        (0..5_000_u32, "[0-9]{1,9}").prop_map(|(whole, fraction)| format!("{whole}.{fraction}")),
        Just("0.000000001".to_owned()),
    ]
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![0..3_000_u64, 0..=MAX_TOKENS]
}

proptest! {
    #[test]
    fn a_cost_agrees_with_the_fraction_that_the_texts_of_its_prices_make(
        (input, cached, output) in (any_price(), any_price(), any_price()),
        tokens in [any_count(), any_count(), any_count()],
    ) {
        let text = format!(
            "{FALLBACK}[[prices]]\nmodel = 'm'\ninput = {input}\ncached_input = '{cached}'\noutput = {output}\n"
        );
        let asked = Tokens { input: tokens[0], cached_input: tokens[1], output: tokens[2], ..Tokens::default() };
        let cost = read(&text).unwrap().cost("m", 0, &asked.into());
        prop_assert_eq!(cost.nanos, by_fractions([&input, &cached, &output], tokens));
        prop_assert!(!cost.fallback);
    }
}

/// Prompt and answer tokens of a real service. They are not part of the repository: where they are absent there is
/// nothing to price, and the test says so.
fn trace() -> Option<Vec<(u64, u64)>> {
    let path = PathBuf::from(format!(
        "{}/../shared/data/traces/azure-llm-2023-code.csv",
        env!("CARGO_MANIFEST_DIR")
    ));
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("no {}: nothing to price", path.display());
        return None;
    };
    let row = |line: &str| {
        let mut fields = line.trim().split(',').skip(1).map(|field| field.parse().unwrap());
        (fields.next().unwrap(), fields.next().unwrap())
    };
    Some(text.lines().skip(1).filter(|line| !line.trim().is_empty()).map(row).collect())
}

#[test]
fn a_real_service_costs_the_same_counted_twice_to_the_nano_dollar() {
    let Some(rows) = trace() else { return };
    assert!(rows.len() > 8_000, "{}", rows.len());
    let shelf = tempfile::tempdir().unwrap();
    let path = shelf.path().join("prices.toml");
    let odd = "[[prices]]\nmodel = 'odd'\ninput = 0.423333\ncached_input = 0.042333\noutput = 1.700001\n";
    put(&path, &(FLAT_EXAMPLE.replace("[aliases]", &format!("{odd}\n[aliases]"))), 1);
    let prices = Arc::new(Prices::open(Some(&path)).unwrap());
    let intake = Intake::replay(Peppers::parse("0123456789abcdef0123").unwrap(), prices);
    for (model, texts) in [
        ("gpt-4.1", ["8.00"; 3]),
        ("claude-opus-4.7", ["15.00"; 3]),
        ("gemini-2.5-flash", ["2.50"; 3]),
        ("deepseek-v3.2", ["0.42"; 3]),
        ("odd", ["0.423333", "0.042333", "1.700001"]),
    ] {
        let (mut at_the_door, mut by_hand, mut tokens) = (0_u128, 0_u128, [0_u64; 3]);
        for (prompt, answer) in &rows {
            let cached = prompt / 3;
            let body = json!({
                "key_id": "azure", "endpoint": "/v1/chat/completions", "source_ip": "203.0.113.7", "model": model,
                "prompt_tokens": prompt, "completion_tokens": answer, "cached_tokens": cached,
            });
            let record = intake.record(parse(&serde_json::to_vec(&body).unwrap()).unwrap(), 0).unwrap();
            at_the_door += u128::from(record.cost_nanos.unwrap());
            let parts = [prompt - cached, cached, *answer];
            by_hand += u128::from(by_fractions(texts, parts));
            tokens.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        assert_eq!(at_the_door, by_hand, "{model}");
        // Rounding once per record, the sum is off the unrounded one by half a nano-dollar for each at most.
        let together = u128::from(by_fractions(texts, tokens));
        assert!(
            at_the_door.abs_diff(together) <= rows.len() as u128 / 2 + 1,
            "{model}: {at_the_door} {together}"
        );
    }
}
