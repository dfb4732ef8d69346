//! Reads the prices of an entry: those of every request, those of longer prompts, and those of service tiers.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::reader::{Reader, Value};
use crate::domain::price::{GivenRates, GivenSchedule, MAX_TOKENS, Part, Price, ServiceTier};

/// The names of all parts of a price.
const PARTS: [&str; 10] = {
    let mut names = [""; 10];
    let mut n = 0;
    while n < names.len() {
        names[n] = Part::ALL[n].name();
        n += 1;
    }
    names
};
const ABOVE: &str = "above_prompt_tokens";

impl Reader<'_> {
    /// The price of models without one.
    pub(super) fn fallback(&mut self, value: &Value<'_>) -> Option<Price> {
        let table = self.table(value, "fallback")?;
        self.price(table, "fallback", value.span(), &[])
    }

    /// The price of a table, which may have only fields of a price and `others`.
    pub(super) fn price(
        &mut self,
        table: &DeTable<'_>,
        path: &str,
        span: Range<usize>,
        others: &[&'static str],
    ) -> Option<Price> {
        let services = ServiceTier::ALL.map(ServiceTier::name);
        let meant = self.known(table, path, &[&PARTS[..], &["tiers"], &services, others].concat());
        let standard = self.schedule(table, path);
        let written = |key: &str| table.contains_key(key);
        let costs_elsewhere = Part::ALL.iter().any(|part| is_enough(*part) && written(part.name()));
        let mut is_whole = true;
        for key in ["input", "output"].into_iter().filter(|key| !written(key) && !costs_elsewhere) {
            is_whole = false;
            if !meant.contains(&key) {
                self.wrong::<()>(span.clone(), &format!("{path}.{key}"), "is required");
            }
        }
        let mut given = Vec::new();
        for tier in ServiceTier::ALL {
            let Some(value) = table.get(tier.name()) else { continue };
            let path = format!("{path}.{}", tier.name());
            match self.service(value, &path) {
                Some(schedule) => given.push((tier, schedule)),
                None => is_whole = false,
            }
        }
        standard.filter(|_| is_whole).map(|standard| Price::new(&standard, &given))
    }

    fn service(&mut self, value: &Value<'_>, path: &str) -> Option<GivenSchedule> {
        let table = self.table(value, path)?;
        self.known(table, path, &[&PARTS[..], &["tiers"]].concat());
        self.schedule(table, path)
    }

    /// Prices, and those of longer prompts.
    fn schedule(&mut self, table: &DeTable<'_>, path: &str) -> Option<GivenSchedule> {
        let base = self.rates(table, path);
        let tiers = match table.get("tiers") {
            Some(tiers) => self.tiers(tiers, &format!("{path}.tiers")),
            None => Some(Vec::new()),
        };
        Some(GivenSchedule { base: base?, tiers: tiers? })
    }

    fn tiers(&mut self, value: &Value<'_>, path: &str) -> Option<Vec<(u64, GivenRates)>> {
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong(value.span(), path, "must be a list of tables with above_prompt_tokens");
        };
        let mut tiers: Vec<(u64, GivenRates)> = Vec::new();
        let mut is_whole = true;
        for (index, value) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match self.tier(value, &path) {
                Some((above, _)) if tiers.iter().any(|(other, _)| *other == above) => {
                    let hint = format!("is given for {above} tokens twice");
                    is_whole = self.wrong(value.span(), &format!("{path}.{ABOVE}"), hint).unwrap_or(false);
                }
                Some(tier) => tiers.push(tier),
                None => is_whole = false,
            }
        }
        tiers.sort_by_key(|(above, _)| *above);
        is_whole.then_some(tiers)
    }

    fn tier(&mut self, value: &Value<'_>, path: &str) -> Option<(u64, GivenRates)> {
        let table = self.table(value, path)?;
        self.known(table, path, &[&PARTS[..], &[ABOVE]].concat());
        let rates = self.rates(table, path);
        let above = self.required(table, path, ABOVE, value.span())?;
        let above = self.count(above, &format!("{path}.{ABOVE}"), MAX_TOKENS)?;
        Some((above, rates?))
    }

    /// The parts of a price that are written.
    fn rates(&mut self, table: &DeTable<'_>, path: &str) -> Option<GivenRates> {
        let mut rates = GivenRates::default();
        let mut is_whole = true;
        for part in Part::ALL {
            let Some(value) = table.get(part.name()) else { continue };
            match self.amount(value, &format!("{path}.{}", part.name()), part) {
                Some(femto) => rates.set(part, femto),
                None => is_whole = false,
            }
        }
        is_whole.then_some(rates)
    }
}

/// Whether a model may be priced by this part alone.
fn is_enough(part: Part) -> bool {
    matches!(part, Part::Request | Part::Image | Part::Second | Part::Character)
}
