//! What is wrong with a price list, and what is said of it.

use super::*;

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
        (price("input = 5000.000000001"), 7, "`prices[0].input` must be at most 5000 USD per million tokens"),
        (price("input = 1e300"), 7, "must be at most 5000"),
        (price("input = 0.0000000001"), 7, "must have at most 9 decimal places"),
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
fn every_mistake_is_told_at_once_in_the_order_of_the_file() {
    let text = format!(
        "{}{}[[prices]]\nmodel = 'a'\ninptu = 1\noutput = -1\n\
         batch = {{ input = 'x', tiers = 7 }}\n[aliases]\nx = 'nobody'\n",
        "[fallback]\ninput = 1\n",
        entry("[", "1")
    );
    let error = read(&text).unwrap_err();
    let expected = [
        "line 1: `fallback.output` is required",
        "line 4: `prices[0].model` is no pattern",
        "line 9: `prices[1].inptu` is no setting in a price list; did you mean `input`?",
        "line 10: `prices[1].output` must not be below 0",
        "line 11: `prices[1].batch.input` must be a price in USD per million tokens, such as 8.00",
        "line 11: `prices[1].batch.tiers` must be a list of tables with above_prompt_tokens",
        "line 13: `aliases.\"x\"` leads to a model without an entry in [[prices]]",
    ];
    for (line, expected) in error.lines().zip(expected) {
        assert!(line.starts_with(&format!("prices.toml, {expected}")), "{error}");
    }
    assert_eq!(error.lines().count(), expected.len(), "{error}");
    let syntax = read("a = \n[fallback]\ninput = 1\noutput = 1\nb = ]\n").unwrap_err();
    assert!(syntax.contains("line 1: ") && syntax.contains("line 5: "), "{syntax}");
}

#[test]
fn what_is_wrong_with_tiers_and_service_tiers_is_named() {
    let with = |line: &str| format!("{FALLBACK}[[prices]]\nmodel = 'm'\ninput = 1\noutput = 1\n{line}\n");
    for (line, expected) in [
        ("tiers = [{ input = 2 }]", "`prices[0].tiers[0].above_prompt_tokens` is required"),
        ("tiers = [{ above_prompt_tokens = 1.5 }]", "must be a whole number from 0 to 1000000000000"),
        ("tiers = [{ above_prompt_tokens = 1 }, { above_prompt_tokens = 1 }]", "is given for 1 tokens twice"),
        ("tiers = [7]", "`prices[0].tiers[0]` must be a table"),
        ("batch = 7", "`prices[0].batch` must be a table"),
        ("flex = { model = 'x' }", "`prices[0].flex.model` is no setting in a price list"),
        ("priority = { output = -1 }", "`prices[0].priority.output` must not be below 0"),
        ("per_image = 1000.000000000000001", "`prices[0].per_image` must be at most 1000 USD"),
        ("per_second = 0.0000000000000001", "`prices[0].per_second` must have at most 15 decimal places"),
        ("per_request = true", "`prices[0].per_request` must be a price in USD, such as 0.04"),
        ("per_million_characters = 5001", "must be at most 5000 USD per million characters"),
    ] {
        let error = read(&with(line)).unwrap_err();
        assert!(error.contains(expected) && error.lines().count() == 1, "{line}\n{error}");
    }
}
