//! Writes a price list.

use std::{collections::BTreeMap, fmt::Write};

use super::{ONE_IN, entry::Taken};
use crate::domain::price::{GivenRates, GivenSchedule, Part, ServiceTier};

/// The text of a price list.
pub(super) fn list(
    models: &BTreeMap<String, Taken>,
    aliases: &BTreeMap<String, String>,
    fallback: [u64; 2],
    source: &str,
) -> String {
    let [input, output] = fallback;
    let mut text = format!(
        "# Made by `keyward prices import` of {source}: the facts are those of LiteLLM's\n\
         # model_prices_and_context_window.json (MIT licence). docs/costs.md says what each name means.\n\n\
         # For a model that has no price here: what at most one in {ONE_IN} of the models below exceeds, so that a\n\
         # budget holds before anybody has looked up what a new model costs.\n\
         [fallback]\ninput = {}\noutput = {}\n",
        Part::Input.written(input),
        Part::Output.written(output),
    );
    for (name, taken) in models {
        let _ = write!(text, "\n[[prices]]\nmodel = {}\n", quoted(name));
        fields(&taken.standard.base).for_each(|field| text.extend([&field, "\n"]));
        if let Some(tiers) = tiers(&taken.standard) {
            text.extend([&tiers, "\n"]);
        }
        for tier in ServiceTier::ALL {
            if let Some(schedule) = inline(&taken.services[tier as usize]) {
                let _ = writeln!(text, "{} = {{ {schedule} }}", tier.name());
            }
        }
    }
    if !aliases.is_empty() {
        text.push_str("\n# Other names of models above.\n[aliases]\n");
    }
    for (name, of) in aliases {
        let _ = writeln!(text, "{} = {}", quoted(name), quoted(of));
    }
    text
}

fn fields(rates: &GivenRates) -> impl Iterator<Item = String> {
    let written =
        |part: Part| rates.get(part).map(|femto| format!("{} = {}", part.name(), part.written(femto)));
    Part::ALL.map(written).into_iter().flatten()
}

fn tiers(schedule: &GivenSchedule) -> Option<String> {
    let tier = |(above, rates): &(u64, GivenRates)| {
        let fields = fields(rates).map(|field| format!(", {field}")).collect::<String>();
        format!("{{ above_prompt_tokens = {above}{fields} }}")
    };
    let tiers: Vec<String> = schedule.tiers.iter().map(tier).collect();
    (!tiers.is_empty()).then(|| format!("tiers = [{}]", tiers.join(", ")))
}

fn inline(schedule: &GivenSchedule) -> Option<String> {
    let all: Vec<String> = fields(&schedule.base).chain(tiers(schedule)).collect();
    (!all.is_empty()).then(|| all.join(", "))
}

/// A text as TOML writes it.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
