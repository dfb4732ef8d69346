//! One layer of settings: what one place says, and its values by their dotted names.

use toml::{Table, Value};

use super::{Mistake, Origin};
use crate::settings::{SettingError, line_of};

/// What one place says.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub origin: Origin,
    pub table: Table,
    /// The text that the table was read from; empty for a layer that was never text.
    pub text: String,
}

impl Layer {
    /// A layer that was never text.
    pub(super) fn new(origin: Origin, table: Table) -> Self {
        Self { origin, table, text: String::new() }
    }

    /// The error as a mistake of this layer, with its line.
    pub(super) fn place(&self, mut error: SettingError) -> Mistake {
        // The policy may be the whole text, as the API answers it.
        let alone = error.setting.strip_prefix("policy.");
        let line = line_of(&self.text, &error.setting);
        error.line = error.line.or(line).or_else(|| line_of(&self.text, alone?));
        Mistake { origin: self.origin.clone(), error }
    }
}

/// The value under a dotted name.
pub(super) fn look_up<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
    match name.split_once('.') {
        Some((first, rest)) => look_up(table.get(first)?.as_table()?, rest),
        None => table.get(name),
    }
}

/// A table with one value deep in it.
pub(super) fn nested<'p>(path: impl DoubleEndedIterator<Item = &'p str>, value: Value) -> Table {
    let whole =
        path.rev().fold(value, |inner, part| Value::Table(Table::from_iter([(part.to_owned(), inner)])));
    match whole {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}
