//! Names, kinds and ranges. Everything is checked where it was said, before it is merged, so that an error can name
//! the layer; ranges and what depends on several settings are checked on the result.

use toml::{Table, Value};

use super::{
    Config, ConfigError, HostPattern, Origin,
    layers::{LIMITS, Layer, Layers, look_up},
};
use crate::forward::SinkSettings;

/// Names this similar are worth a question.
const NEAR: usize = 3;

/// The tables whose names people choose. What is in them is read as the API reads it.
const NAMED: [&str; 2] = ["plans", "projects"];

/// Whole numbers outside the policy: name, least, most.
pub(super) const RANGES: &[(&str, i64, i64)] = &[
    ("server.header_timeout_ms", 100, 300_000),
    ("server.request_timeout_ms", 100, 600_000),
    ("server.max_connections", 1, 1_000_000),
    ("server.shutdown_grace_seconds", 0, 3_600),
    ("server.max_clock_skew_seconds", 1, 86_400),
    ("store.deadline_ms", 1, 60_000),
    ("store.partitions", 1, 1_024),
    ("store.event_retention_days", 1, 3_650),
    ("store.max_events_per_partition", 100, 1_000_000_000),
    ("store.profile_retention_days", 1, 3_650),
    ("store.snapshot_seconds", 1, 3_600),
    ("geoip.reload_seconds", 1, 86_400),
    ("prices.reload_seconds", 1, 86_400),
    ("idempotency.capacity", 1, 100_000_000),
    ("cardinality.max_tracked_keys", 1, 100_000_000),
    ("cardinality.new_subjects_per_minute", 1, 4_294_967_295),
    ("cardinality.new_subjects_per_minute_per_address", 1, 4_294_967_295),
    ("usage.max_series", 1, 1_000_000),
    ("usage.minute_days", 1, 7),
    ("usage.hour_days", 32, 366),
    ("usage.day_days", 32, 3_650),
    ("reservations.lease_seconds", 1, 3_600),
    ("spend.min_days", 2, 7),
    ("spend.min_tokens", 1, i64::MAX),
    ("spend.cut_off_after", 0, 24),
    ("events.fold_seconds", 1, 86_400),
    ("events.buffer", 1, 10_000_000),
];

/// Whether every name in a layer is one of the base layer's, with a value of the same kind.
pub(super) fn names_and_kinds(layer: &Layer, base: &Table) -> Result<(), ConfigError> {
    table(&layer.table, base, "", &layer.origin, base)
}

fn table(said: &Table, known: &Table, path: &str, origin: &Origin, base: &Table) -> Result<(), ConfigError> {
    for (key, value) in said {
        let name = join(path, key);
        if LIMITS.contains(&path) {
            limit(value, &name, origin)?;
            continue;
        }
        if NAMED.contains(&path) {
            if !value.is_table() {
                let mend = format!("must be a table, not {}", kind(value));
                return Err(ConfigError::setting(name, origin.clone(), mend));
            }
            continue;
        }
        match (known.get(key), value) {
            (None, _) => {
                let suggestion = nearest(&name, base);
                return Err(ConfigError::Unknown { name, origin: origin.clone(), suggestion });
            }
            (Some(Value::Table(known)), Value::Table(said)) => table(said, known, &name, origin, base)?,
            (Some(Value::Float(_)), Value::Integer(_)) => {}
            (Some(known), value) if known.same_type(value) => {}
            (Some(known), value) => {
                let mend = format!("must be {}, not {}", kind(known), kind(value));
                return Err(ConfigError::setting(name, origin.clone(), mend));
            }
        }
    }
    Ok(())
}

fn limit(value: &Value, name: &str, origin: &Origin) -> Result<(), ConfigError> {
    if value.as_integer().is_some_and(|n| n > 0) || value.as_str() == Some("none") {
        return Ok(());
    }
    Err(ConfigError::setting(
        name,
        origin.clone(),
        "must be a whole number above 0, or \"none\" for no limit",
    ))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The setting whose name is most like this one, if any is.
fn nearest(name: &str, base: &Table) -> Option<String> {
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |known: &str| {
        // The right name in the wrong section is as good a guess as a slip of the pen.
        let whole = strsim::damerau_levenshtein(name, known);
        whole.min(strsim::damerau_levenshtein(&leaf(name), &leaf(known)) + 1)
    };
    let names = names(base, "");
    let best = names.into_iter().map(|known| (distance(&known), known)).min()?;
    (best.0 <= NEAR).then_some(best.1)
}

/// Every dotted name in a table, sections included.
pub(super) fn names(table: &Table, path: &str) -> Vec<String> {
    let mut all = Vec::new();
    for (key, value) in table {
        let name = join(path, key);
        if let Value::Table(inner) = value {
            all.extend(names(inner, &name));
        }
        all.push(name);
    }
    all
}

/// Ranges, before the numbers are put into types that could not hold them.
pub(super) fn ranges(merged: &Table, layers: &Layers) -> Result<(), ConfigError> {
    let refuse = |name: &str, mend: String| Err(ConfigError::setting(name, layers.origin(name), mend));
    for (name, least, most) in RANGES {
        let value = look_up(merged, name).and_then(Value::as_integer);
        if value.is_some_and(|value| !(*least..=*most).contains(&value)) {
            return refuse(name, format!("must be from {least} to {most}"));
        }
    }
    for name in names(merged, "") {
        if look_up(merged, &name).and_then(Value::as_integer).is_some_and(|value| value < 0) {
            return refuse(&name, "must be 0 or more".to_owned());
        }
    }
    Ok(())
}

/// What the types allow and the service cannot use.
pub(super) fn meaning(config: &Config, layers: &Layers) -> Result<(), ConfigError> {
    let refuse = |name: &str, mend: &str| Err(ConfigError::setting(name, layers.origin(name), mend));
    if !store_url(&config.store.url) {
        return refuse(
            "store.url",
            "must be embedded:<directory>, or a URL with redis://, rediss://, redis+cluster:// or redis+sentinel://",
        );
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if !(1..=64).contains(&config.store.namespace.len()) || !config.store.namespace.chars().all(plain) {
        return refuse("store.namespace", "must be 1 to 64 letters, digits, or any of _ - . :");
    }
    if !config.log.level.split(',').all(directive) {
        return refuse(
            "log.level",
            "must be error, warn, info, debug, trace or off, or target=level, by commas",
        );
    }
    if let Err(error) = config.policy.validate() {
        return refuse(&format!("policy.{}", error.setting), &error.mend);
    }
    if let Err((setting, mend)) = super::registry::meaning(config) {
        return refuse(&setting, mend);
    }
    if let Err((setting, mend)) = super::spend::meaning(&config.spend) {
        return refuse(setting, mend);
    }
    if let Err((setting, mend)) = apart(&config.sinks) {
        return Err(ConfigError::setting(setting, layers.origin("sinks"), mend));
    }
    if let Err((setting, mend)) = access(config) {
        return refuse(setting, mend);
    }
    Ok(())
}

/// Whether somebody is asked for a token wherever strangers, or the pages they make, could reach the service.
fn access(config: &Config) -> Result<(), (&'static str, &'static str)> {
    if !config.auth.tokens.is_empty() {
        return Ok(());
    }
    if !config.server.listen.ip().is_loopback() {
        return Err((
            "server.listen",
            "is not a loopback address and no token is configured: everybody who reaches it could lift bans. \
             Make a token with `keyward token new` and put it under [auth], or listen on 127.0.0.1",
        ));
    }
    if config.server.hosts.contains(&HostPattern::Any) {
        return Err((
            "server.hosts",
            "has \"*\" and no token is configured: any web page could act, by a name of its own that leads here (DNS \
             rebinding). Name the hosts, or make a token with `keyward token new` and put it under [auth]",
        ));
    }
    Ok(())
}

/// Whether no two sinks have one name, and so one cursor, or one file.
fn apart(sinks: &[SinkSettings]) -> Result<(), (String, String)> {
    for (n, sink) in sinks.iter().enumerate() {
        let (name, before) = (&sink.common().name, &sinks[..n]);
        if before.iter().any(|other| other.common().name == *name) {
            return Err((format!("sinks.{name}.name"), "must not be that of another sink".to_owned()));
        }
        let file = sink.file();
        if let Some(other) = before.iter().find(|other| file.is_some() && other.file() == file) {
            let mend = format!("must not be that of the sink {}, too", other.common().name);
            return Err((format!("sinks.{name}.path"), mend));
        }
    }
    Ok(())
}

fn store_url(url: &str) -> bool {
    const SCHEMES: [&str; 6] = [
        "redis://",
        "rediss://",
        "redis+cluster://",
        "rediss+cluster://",
        "redis+sentinel://",
        "rediss+sentinel://",
    ];
    let longer_than = |scheme: &str| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty());
    longer_than("embedded:") || SCHEMES.into_iter().any(longer_than)
}

fn directive(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let (target, level) = text.trim().rsplit_once('=').unwrap_or(("any", text.trim()));
    !target.is_empty() && LEVELS.contains(&level.to_lowercase().as_str())
}
