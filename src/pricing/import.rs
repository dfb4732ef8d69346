//! Makes a price list of the list that the field shares: `model_prices_and_context_window.json` of LiteLLM (MIT
//! licence). Prices are taken digit by digit. What cannot be said in a price list is reported, entry by entry, with the
//! reason.
//!
//! `fields` knows the names of prices there, `entry` makes a price of an entry, `write` writes the list.

mod entry;
mod fields;
mod json;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, HashSet};

use self::{
    entry::{Taken, read_entry},
    json::{Object, text_of},
};
use super::{PriceError, file};
use crate::domain::{
    model::{LONGEST_MODEL, ModelName},
    price::Part,
};

/// The entry that shows what entries may have.
const SAMPLE: &str = "sample_spec";
/// The fallback is a price that at most one in so many models exceed.
const ONE_IN: usize = 50;

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file does not have the form of the shared list.
    #[error(
        "is no JSON object of models and their prices: {0}; give a copy of model_prices_and_context_window.json"
    )]
    Form(#[from] serde_json::Error),
    /// No entry has a price that a list can say.
    #[error("has no entry that a price list can say; `--provider` and `--mode` must name some that it has")]
    Nothing,
    /// What was written cannot be read back.
    #[error("makes a price list that cannot be read: {0}")]
    Unreadable(#[from] PriceError),
}

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Of these providers (`litellm_provider`); empty: of all.
    pub providers: Vec<String>,
    /// Of these modes (`chat`, `embedding`, …); empty: of all.
    pub modes: Vec<String>,
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is in the list.
    Whole,
    /// It is in the list, but for these prices: each with its reason.
    InPart(Vec<String>),
    /// It is not in the list, for this reason.
    Not(String),
}

/// A price list made of the shared one.
#[derive(Debug)]
pub struct Imported {
    /// The list, as it is written.
    pub text: String,
    /// What became of each entry that was wanted, in the order of the file.
    pub entries: Vec<(String, Outcome)>,
    /// How many entries were not wanted.
    pub unwanted: usize,
}

/// Makes a price list of the text of the shared one; `source` is named at its top.
///
/// # Errors
/// The text is not of that form, or has nothing that can be taken.
pub fn import(text: &str, selection: &Selection, source: &str) -> Result<Imported, ImportError> {
    let list: Object = serde_json::from_str(text)?;
    let mut import = Import::default();
    for (name, value) in list.0 {
        import.add(name, value.get(), selection);
    }
    import.resolve_aliases();
    if import.models.is_empty() {
        return Err(ImportError::Nothing);
    }
    let fallback = [Part::Input, Part::Output].map(|part| import.rarely_exceeded(part));
    let text = write::list(&import.models, &import.aliases, fallback, source);
    file::read(&text, "the imported list")?;
    Ok(Imported { text, entries: import.entries, unwanted: import.unwanted })
}

/// An import on its way.
#[derive(Debug, Default)]
struct Import {
    models: BTreeMap<String, Taken>,
    aliases: BTreeMap<String, String>,
    /// Aliases that are still to be held against the models: the place of the entry, and the model.
    pending: Vec<(usize, String)>,
    entries: Vec<(String, Outcome)>,
    names: HashSet<String>,
    unwanted: usize,
}

impl Import {
    fn add(&mut self, name: String, value: &str, selection: &Selection) {
        let object = serde_json::from_str::<Object>(value);
        let is_wanted = |field: &str, wanted: &[String]| {
            let object = object.as_ref().ok();
            let found = object.and_then(|object| object.get(field)).and_then(text_of);
            wanted.is_empty() || found.is_some_and(|found| wanted.contains(&found))
        };
        if !is_wanted("litellm_provider", &selection.providers) || !is_wanted("mode", &selection.modes) {
            self.unwanted += 1;
            return;
        }
        let outcome = match object {
            Ok(object) => self.outcome(&name, &object),
            Err(_) => Outcome::Not("is no JSON object".to_owned()),
        };
        self.names.insert(name.clone());
        self.entries.push((name, outcome));
    }

    fn outcome(&mut self, name: &str, object: &Object) -> Outcome {
        if let Some(reason) = self.unfit(name) {
            return Outcome::Not(reason);
        }
        if let Some(of) = object.get("alias_of").and_then(text_of) {
            self.pending.push((self.entries.len(), of));
            return Outcome::Whole;
        }
        let taken = match read_entry(object) {
            Ok(taken) => taken,
            Err(reason) => return Outcome::Not(reason),
        };
        let left_out = taken.left_out.clone();
        self.models.insert(name.to_owned(), taken);
        if left_out.is_empty() { Outcome::Whole } else { Outcome::InPart(left_out) }
    }

    /// Why no entry may have this name.
    fn unfit(&self, name: &str) -> Option<String> {
        if name == SAMPLE {
            Some("shows the form of an entry and is no model".to_owned())
        } else if self.names.contains(name) {
            Some("is there twice; the first counts".to_owned())
        } else if !(1..=LONGEST_MODEL).contains(&name.len()) {
            Some(format!("has a name that is not 1 to {LONGEST_MODEL} bytes long"))
        } else {
            ModelName::parse(name).err().map(|error| format!("has a name that is no pattern: {error}"))
        }
    }

    /// An alias needs its model in the list.
    fn resolve_aliases(&mut self) {
        for (place, of) in std::mem::take(&mut self.pending) {
            let Some((name, outcome)) = self.entries.get_mut(place) else { continue };
            if self.models.contains_key(&of) {
                self.aliases.insert(name.clone(), of);
            } else {
                *outcome = Outcome::Not(format!("is an alias of {of}, which is not in the list"));
            }
        }
    }

    /// The price of a part that at most one model in [`ONE_IN`] exceeds, of those that are priced by the token.
    fn rarely_exceeded(&self, part: Part) -> u64 {
        let prices = self.models.values().filter_map(|taken| taken.standard.base.get(part));
        let mut prices: Vec<u64> = prices.filter(|price| *price > 0).collect();
        prices.sort_unstable_by(|a, b| b.cmp(a));
        prices.get(prices.len() / ONE_IN).copied().unwrap_or(0)
    }
}
