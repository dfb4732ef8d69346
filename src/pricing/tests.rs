//! Price lists: what is read, what is refused, which price a name has, and what comes of it.

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
        price::{Cost, MAX_TOKENS, Tokens},
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
        let cost = list.cost(model, time, &Tokens { input, cached_input, output });
        format!("{}{}", Usd(cost.nanos), if cost.fallback { " by fallback" } else { "" })
    })
}

fn input_price(list: &PriceList, model: &str) -> String {
    per_million(list, model, 0)[0].clone()
}

#[test]
fn the_built_in_list_has_the_models_it_is_to_have() {
    let list = read(BUILT_IN).unwrap();
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
    for (text, price) in
        [("0.42", "0.42"), ("0.000001", "0.000001"), ("4_999.999_999", "4999.999999"), ("0", "0")]
    {
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
fn what_is_wrong_is_named_in_full_with_its_line_and_the_hint() {
    let price = |line: &str| format!("{FALLBACK}[[prices]]\nmodel = 'm'\noutput = 1\n{line}\n");
    for (text, line, expected) in [
        ("x =".to_owned(), 1, ""),
        (String::new(), 1, "`fallback` is required"),
        ("[fallback]\ninput = 1".to_owned(), 1, "`fallback.output` is required"),
        ("[fallback]\ninput = 1\noutput = 1\nmodel = 'x'".to_owned(), 4, "`fallback.model`"),
        (format!("{FALLBACK}[[price]]"), 4, "`price` is no setting in a price list; did you mean `prices`?"),
        (format!("{FALLBACK}[prices]"), 4, "`prices` must be a list"),
        (format!("prices = [7]\n{FALLBACK}"), 1, "`prices[0]` must be a table"),
        (price("inptu = 1"), 7, "`prices[0].inptu` is no setting in a price list; did you mean `input`?"),
        (price(""), 4, "`prices[0].input` is required"),
        (price("input = -0.01"), 7, "`prices[0].input` must not be below 0"),
        (price("input = 5000.000001"), 7, "`prices[0].input` must be at most 5000 USD per million tokens"),
        (price("input = 1e300"), 7, "must be at most 5000"),
        (price("input = 0.0000001"), 7, "must have at most 6 decimal places"),
        (
            price("input = nan"),
            7,
            "`prices[0].input` must be a price in USD per million tokens, such as 8.00",
        ),
        (price("input = inf"), 7, "such as 8.00"),
        (price("input = 0x10"), 7, "such as 8.00"),
        (price("input = '8,00'"), 7, "such as 8.00"),
        (price("input = '$8'"), 7, "such as 8.00"),
        (price("input = true"), 7, "such as 8.00"),
        (price("input = 1\ncached_input = -1"), 8, "`prices[0].cached_input` must not be below 0"),
        (price("input = 1\nfrom = '2027-02-30'"), 8, "`prices[0].from` must be a day, such as 2027-01-01"),
        (price("input = 1\nfrom = 2027-01-01T00:00:00Z"), 8, "must be a day"),
        (price("input = 1\nfrom = '2027-1-1'"), 8, "must be a day"),
        (price("input = 1\nfrom = 20270101"), 8, "must be a day"),
        (entry("", "1") + FALLBACK, 2, "`prices[0].model` must be 1 to 128 bytes long"),
        (entry("gpt-[", "1") + FALLBACK, 2, "`prices[0].model` is no pattern"),
        (
            "[[prices]]\nmodel = 7\ninput = 1\noutput = 1\n".to_owned() + FALLBACK,
            2,
            "`prices[0].model` must be text",
        ),
        (
            entry("m", "1") + &entry("m", "2") + FALLBACK,
            5,
            "`prices[1]` is for the same model and day as `prices[0]`: m",
        ),
        (
            format!("{FALLBACK}{}[aliases]\nx = 'gpt-4.l'", entry("gpt-4.1", "8")),
            9,
            "`aliases.\"x\"` leads to a model without an entry in [[prices]]; did you mean `gpt-4.1`?",
        ),
        (format!("{FALLBACK}[aliases]\nx = 7"), 5, "`aliases.\"x\"` must be the name of a model"),
        (format!("{FALLBACK}[aliases]\n'[' = 'm'"), 5, "`aliases.\"[\"` is no pattern"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.starts_with(&format!("prices.toml, line {line}: ")), "{text}\n{error}");
        assert!(error.contains(expected), "{text}\n{error}");
    }
}

#[test]
fn a_name_fits_itself_then_an_alias_then_the_longest_pattern() {
    let prices = ["a*", "ab*", "abc*", "abx?", "other", "*z", "abc-1", "[ab]c"];
    let prices: String =
        prices.iter().zip(1..).map(|(model, price): (_, u32)| entry(model, &price.to_string())).collect();
    let list = list(&format!(
        "{prices}[aliases]\n'abc-1' = 'other'\n'abc-2' = 'other'\n'abc-3*' = 'other'\n'a*' = 'other'\n"
    ));
    for (model, price) in [
        ("a", "1"),
        ("ab", "2"),
        ("abc", "3"),
        ("abx/", "4"),
        ("abcz", "3"),
        ("a/z", "6"),
        ("/z", "6"),
        ("abc-1", "7"),
        ("abc-2", "5"),
        ("abc-3.5", "5"),
        ("abc-4", "3"),
        ("bc", "8"),
        ("ac", "8"),
        ("b", "15 by fallback"),
        ("", "15 by fallback"),
    ] {
        assert_eq!(input_price(&list, model), price, "{model}");
    }
}

#[test]
fn of_two_equally_long_patterns_the_first_in_the_alphabet_counts() {
    for pair in [["*b", "a*"], ["a*", "*b"]] {
        let list = list(&(entry(pair[0], "1") + &entry(pair[1], "2")));
        let expected = if pair[0] == "*b" { "1" } else { "2" };
        assert_eq!(input_price(&list, "ab"), expected);
    }
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
    prices.cost(model, 0, &Tokens { input: 1, ..Tokens::default() })
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
        (0..5_000_u32, "[0-9]{1,6}").prop_map(|(whole, fraction)| format!("{whole}.{fraction}")),
        Just("0.000001".to_owned()),
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
        let asked = Tokens { input: tokens[0], cached_input: tokens[1], output: tokens[2] };
        let cost = read(&text).unwrap().cost("m", 0, &asked);
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
    put(&path, &(BUILT_IN.replace("[aliases]", &format!("{odd}\n[aliases]"))), 1);
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
