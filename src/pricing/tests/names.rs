//! Which price and which identity a name has.

use super::*;

#[test]
fn one_model_has_one_price_and_one_identity_by_all_of_its_names() {
    let list = list(
        &(entry("gpt-4.1", "2")
            + &entry("gpt-4.1-mini", "1")
            + &entry("xai/grok-4", "3")
            + &entry("claude-3-5-sonnet-20240620", "4")
            + &entry("claude-3-5-sonnet-20241022", "5")
            + &entry("us.anthropic.claude-opus-4-20250514-v1:0", "6")
            + &entry("claude-opus-4", "7")
            + &entry("acme-*", "8")
            + "[aliases]\nfast = 'gpt-4.1'\n'swift-*' = 'gpt-4.1'\n"),
    );
    for (model, price, priced_as, identity, because) in [
        ("gpt-4.1", "2", "gpt-4.1", "gpt-4.1", "name"),
        ("gpt-4.1-2025-04-14", "2", "gpt-4.1", "gpt-4.1", "snapshot of gpt-4.1"),
        ("gpt-4.1-latest", "2", "gpt-4.1", "gpt-4.1", "snapshot of gpt-4.1"),
        ("openai/gpt-4.1", "2", "gpt-4.1", "gpt-4.1", "provider prefix"),
        ("azure/eu/gpt-4.1-2025-04-14", "2", "gpt-4.1", "gpt-4.1", "provider prefix, snapshot of gpt-4.1"),
        ("fast", "2", "gpt-4.1", "gpt-4.1", "alias"),
        ("swift-7", "2", "gpt-4.1", "gpt-4.1", "pattern swift-*"),
        ("openai/gpt-4.1-mini", "1", "gpt-4.1-mini", "gpt-4.1-mini", "provider prefix"),
        ("grok-4", "3", "xai/grok-4", "grok-4", "provider prefix"),
        ("xai/grok-4-0709", "3", "xai/grok-4", "grok-4", "snapshot of xai/grok-4"),
        ("claude-3-5-sonnet-20240620", "4", "claude-3-5-sonnet-20240620", "claude-3-5-sonnet", "name"),
        (
            "anthropic/claude-3-5-sonnet-latest",
            "5",
            "claude-3-5-sonnet-20241022",
            "claude-3-5-sonnet",
            "provider prefix, snapshot of claude-3-5-sonnet-20241022",
        ),
        (
            "bedrock/us.anthropic.claude-opus-4-20250514-v1:0",
            "6",
            "us.anthropic.claude-opus-4-20250514-v1:0",
            "claude-opus-4",
            "provider prefix",
        ),
        (
            "vertex_ai/claude-opus-4@20250514",
            "7",
            "claude-opus-4",
            "claude-opus-4",
            "provider prefix, snapshot of claude-opus-4",
        ),
        ("acme-1", "8", "acme-*", "acme-1", "pattern acme-*"),
        ("azure/acme-1-2025-04-14", "8", "acme-*", "acme-1", "pattern acme-*"),
    ] {
        assert_eq!(input_price(&list, model), price, "{model}");
        let chosen = list.choose(model, 0);
        assert_eq!(chosen.priced_as.as_deref(), Some(priced_as), "{model}");
        assert_eq!(
            chosen.identity.map(|identity| identity.name.to_string()).as_deref(),
            Some(identity),
            "{model}"
        );
        assert_eq!(chosen.because.to_string(), because, "{model}");
    }
    for model in [
        "gpt-4",
        "gpt-4.1-nano",
        "openai/gpt-4.12",
        "GPT-4.1",
        "acme/gpt-4.1",
        "grok-4-fast",
        "claude-opus-4-1",
    ] {
        assert_eq!(input_price(&list, model), "15 by fallback", "{model}");
        let chosen = list.choose(model, 0);
        assert_eq!(
            (chosen.priced_as, chosen.identity, chosen.because),
            (None, None, Because::Fallback),
            "{model}"
        );
    }
    let aliases = list.choose("gpt-4.1-2025-04-14", 0).identity.unwrap().aliases.clone();
    assert_eq!(aliases.len(), 1);
    assert_eq!(&*aliases[0], "fast");
}

#[test]
fn a_pattern_about_the_prefix_or_the_date_comes_before_the_bare_name_and_any_other_behind() {
    let list = list(
        &(entry("gpt-4.1", "1")
            + &entry("openai/*", "2")
            + &entry("*-2025-*", "3")
            + &entry("gpt-*", "4")
            + &entry("*", "5")),
    );
    for (model, price) in [
        ("gpt-4.1", "1"),
        ("azure/gpt-4.1", "1"),
        ("openai/gpt-4.1", "2"),
        ("openai/other", "2"),
        ("gpt-4.1-2025-04-14", "3"),
        ("gpt-4.1-2024-04-14", "1"),
        ("gpt-5", "4"),
        ("other", "5"),
    ] {
        assert_eq!(input_price(&list, model), price, "{model}");
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
