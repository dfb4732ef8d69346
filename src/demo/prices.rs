//! What the models of the simulator cost: they are made up, so no published list has them all.

use std::fmt::Write;

use crate::simulate::persona::{DEAREST, all_models};

/// A price list in the form of `config/prices.toml`: a price per token of each model, and for any other that of the
/// dearest ordinary one.
pub fn price_list() -> String {
    let mut list = format!("[fallback]\ninput = {DEAREST}\noutput = {DEAREST}\n");
    for (model, dollars) in all_models() {
        // Writing to a String cannot fail.
        let _ = write!(list, "\n[[prices]]\nmodel = \"{model}\"\ninput = {dollars}\noutput = {dollars}\n");
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::price::{Quantities, Tokens},
        pricing::Prices,
    };

    #[test]
    fn every_model_of_the_demo_has_a_price_of_its_own() {
        let prices = Prices::of(&price_list()).unwrap();
        let used =
            Quantities { tokens: Tokens { input: 1_000_000, ..Tokens::default() }, ..Quantities::default() };
        for (model, dollars) in all_models() {
            let (cost, priced) = prices.cost(model, 0, &used);
            assert!(priced.identity().is_some(), "{model} is in the list");
            assert_eq!(cost.nanos, (dollars * 1e9).round() as u64, "{model}");
        }
    }
}
