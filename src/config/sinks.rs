//! `[[sinks]]`: reads every sink, and finds those that stand in each other's way.

use toml::{Table, Value};

use super::{Mistake, layers::Layers};
use crate::{
    forward::SinkSettings,
    settings::{SettingError, SettingErrors},
};

/// Takes the sinks out of the merged layers and reads them; an empty list stays. What is wrong is added to `mistakes`.
pub(super) fn read(merged: &mut Table, layers: &Layers, mistakes: &mut Vec<Mistake>) -> Vec<SinkSettings> {
    let mut sinks: Vec<SinkSettings> = Vec::new();
    let written = merged.insert("sinks".to_owned(), Value::Array(Vec::new()));
    for (n, sink) in written.into_iter().flat_map(items).enumerate() {
        match read_one(sink).and_then(|sink| apart(sink, &sinks).map_err(SettingErrors::from)) {
            Ok(sink) => sinks.push(sink),
            Err(errors) => mistakes.extend(errors.into_iter().map(|error| place(error, n, layers))),
        }
    }
    sinks
}

/// The place of a sink's error: a sink is named by its name, and found by its position in the list.
fn place(mut error: SettingError, index: usize, layers: &Layers) -> Mistake {
    // `sinks.<name>.<key>`
    let key = error.setting.splitn(3, '.').nth(2).map(|key| format!(".{key}")).unwrap_or_default();
    let name = std::mem::replace(&mut error.setting, format!("sinks[{index}]{key}"));
    let mut mistake = layers.place(error);
    mistake.error.setting = name;
    mistake
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

/// Checks that a sink has neither the name, and so the cursor, nor the file of one before it.
fn apart(sink: SinkSettings, before: &[SinkSettings]) -> Result<SinkSettings, SettingError> {
    let name = &sink.common().name;
    if before.iter().any(|other| other.common().name == *name) {
        return Err(SettingError::new(format!("sinks.{name}.name"), "must not be that of another sink"));
    }
    let file = sink.file();
    match before.iter().find(|other| file.is_some() && other.file() == file) {
        Some(other) => {
            let hint = format!("must not be that of the sink {}, too", other.common().name);
            Err(SettingError::new(format!("sinks.{name}.path"), hint))
        }
        None => Ok(sink),
    }
}
