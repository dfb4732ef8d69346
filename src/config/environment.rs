//! Settings in the environment: `KEYWARD__SECTION__KEY` for any of them, and a short name for the usual ones.

use toml::{Table, Value};

use super::{
    Origin, Sources,
    layer::{Layer, look_up, nested},
};

/// Short names and the settings they stand for. They are stronger than the long ones.
const SHORT: [(&str, &str); 7] = [
    ("KEYWARD_LISTEN", "server.listen"),
    ("KEYWARD_STORE", "store.url"),
    ("KEYWARD_GEOIP", "geoip.files"),
    ("KEYWARD_PRICES", "prices.file"),
    ("KEYWARD_PRESET", "policy.preset"),
    ("KEYWARD_ENFORCEMENT", "policy.enforcement"),
    ("KEYWARD_PEPPER_FILE", "secrets.pepper_file"),
];

/// One layer per variable, so that an error can name it. Other names that start with `KEYWARD_` are not ours to
/// judge: platforms set some by themselves (`KEYWARD_SERVICE_HOST`, `KEYWARD_PORT`).
pub(super) fn layers(sources: &Sources, base: &Table) -> Vec<Layer> {
    let mut long: Vec<Layer> =
        sources.environment.iter().filter_map(|(n, v)| long_name(n, v, base)).collect();
    long.sort_by_key(|a| a.origin.to_string());
    let short = SHORT.iter().filter_map(|(name, setting)| {
        let text = sources.variable(name)?;
        let value = if *setting == "geoip.files" { list(text) } else { Value::String(text.to_owned()) };
        Some(layer(name, setting.split('.'), value))
    });
    long.into_iter().chain(short).collect()
}

fn layer<'p>(name: &str, path: impl DoubleEndedIterator<Item = &'p str>, value: Value) -> Layer {
    Layer::new(Origin::Variable(name.to_owned()), nested(path, value))
}

fn long_name(name: &str, text: &str, base: &Table) -> Option<Layer> {
    let setting = name.strip_prefix("KEYWARD__")?.to_lowercase().replace("__", ".");
    let wants_text = look_up(base, &setting).is_some_and(Value::is_str);
    Some(layer(name, setting.split('.'), read(text, wants_text)))
}

/// A value in TOML's syntax; what is none is text. A setting that is text takes anything as it stands, so that a
/// namespace may be `7`.
fn read(text: &str, wants_text: bool) -> Value {
    let value = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    match value.and_then(|mut table| table.remove("value")) {
        Some(value) if value.is_str() || !wants_text => value,
        _ => Value::String(text.to_owned()),
    }
}

fn list(text: &str) -> Value {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}
