//! `[[sinks]]`: reads every sink, so that all mistakes are shown at once, each with its line.

use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{ConfigError, layers::Layers};
use crate::{
    forward::SinkSettings,
    settings::{SettingError, SettingErrors},
};

/// Takes the sinks out of the merged layers and reads them; an empty list stays.
///
/// # Errors
/// Everything that is wrong with any sink.
pub(super) fn read(merged: &mut Table, layers: &Layers) -> Result<Vec<SinkSettings>, ConfigError> {
    let text = layers.text("sinks");
    let (mut sinks, mut errors) = (Vec::new(), SettingErrors::default());
    let written = merged.insert("sinks".to_owned(), Value::Array(Vec::new()));
    for (n, sink) in written.into_iter().flat_map(items).enumerate() {
        let read = read_one(sink).map_err(|mut errors| {
            errors
                .iter_mut()
                .for_each(|error| error.line = text.and_then(|text| line(text, n, &error.setting)));
            errors
        });
        sinks.extend(errors.take(read));
    }
    let errors = errors.finish(Ok::<_, SettingErrors>(sinks));
    errors.map_err(|errors| ConfigError::Sinks { origin: layers.origin("sinks"), errors })
}

/// What is no list was refused before: it is of another type than the base layer's.
fn items(value: Value) -> Vec<Value> {
    if let Value::Array(items) = value { items } else { Vec::new() }
}

fn read_one(sink: Value) -> Result<SinkSettings, SettingErrors> {
    match sink {
        Value::Table(table) => SinkSettings::read(table),
        _ => Err(SettingError::new("sinks", "must be tables: write [[sinks]] above each").into()),
    }
}

/// The line, from 1, of a setting of the sink with this index; of the sink if it does not have the setting.
fn line(text: &str, index: usize, setting: &str) -> Option<usize> {
    let root = DeTable::parse(text).ok()?.into_inner();
    let (_, sinks) = root.iter().find(|(key, _)| key.get_ref() == "sinks")?;
    let DeValue::Array(sinks) = sinks.get_ref() else { return None };
    let sink = sinks.get(index)?;
    let DeValue::Table(members) = sink.get_ref() else { return None };
    // `sinks.<name>.<key>[<index>]`
    let key = setting.split('.').nth(2).and_then(|key| key.split('[').next());
    let member = members.iter().find(|(known, _)| Some(known.get_ref().as_ref()) == key);
    let start = member.map_or_else(|| sink.span().start, |(key, _)| key.span().start);
    Some(text.get(..start)?.matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "[server]\n\n[[sinks]]\nname = 'a'\ntype = 'stdout'\n\n[[sinks]]\nname = 'b'\nbatch = 0\n";

    #[test]
    fn the_line_of_a_setting_is_found_and_else_that_of_its_sink() {
        assert_eq!(line(TEXT, 1, "sinks.b.batch"), Some(9));
        assert_eq!(line(TEXT, 1, "sinks.b.batch[3]"), Some(9));
        assert_eq!(line(TEXT, 1, "sinks.b"), Some(7));
        assert_eq!(line(TEXT, 0, "sinks.a.url"), Some(3));
        assert_eq!(line(TEXT, 2, "sinks.c"), None);
        assert_eq!(
            line("sinks = [\n { name = 'a' },\n { name = 'b', batch = 0 },\n]", 1, "sinks.b.batch"),
            Some(3)
        );
    }
}
