//! Names, kinds and ranges. Names and kinds are checked in each layer, before the layers are merged; ranges, and what
//! depends on several settings, are checked on the result. What is wrong is replaced by the base layer's value, so that
//! the rest can be checked, too.

use std::collections::HashMap;

use toml::{Table, Value};

use super::{
    Config, DoorListen, HostPattern, Mistake,
    layer::{Layer, look_up},
    layers::{LIMITS, NO_LIMIT},
};
use crate::{
    domain::alert::AlertRule,
    settings::{SettingError, SettingErrors},
};

/// Names this similar are worth a question.
const NEAR: usize = 3;

/// The tables whose names people choose. What is in them is read as the API reads it.
const NAMED: [&str; 2] = ["plans", "projects"];

/// Whole numbers outside the policy: name, least, most.
pub(super) const RANGES: &[(&str, i64, i64)] = &[
    ("server.header_timeout_ms", 100, 300_000),
    ("server.request_timeout_ms", 100, 600_000),
    ("server.write_timeout_ms", 100, 600_000),
    ("server.max_connections", 1, 1_000_000),
    ("server.max_connections_per_address", 1, 1_000_000),
    ("server.shutdown_grace_seconds", 0, 3_600),
    ("server.reload_seconds", 0, 86_400),
    ("server.max_clock_skew_seconds", 1, 86_400),
    ("gateway.connect_timeout_ms", 1, 60_000),
    ("gateway.first_byte_timeout_ms", 1, 3_600_000),
    ("gateway.stream_first_byte_timeout_ms", 1, 3_600_000),
    ("gateway.idle_timeout_ms", 1, 3_600_000),
    ("gateway.deadline_ms", 1, 7_200_000),
    ("gateway.max_attempts", 1, 5),
    ("gateway.body_memory_mib", 32, 1_048_576),
    ("gateway.output_tokens", 1, 1_000_000_000),
    ("gateway.cache_mib", 0, 65_536),
    ("gateway.cache_ttl_seconds", 1, 86_400),
    ("authorize.estimated_tokens", 0, 1_000_000_000_000),
    ("store.deadline_ms", 1, 60_000),
    ("store.partitions", 1, 1_024),
    ("store.event_retention_days", 1, 3_650),
    ("store.max_events_per_partition", 100, 1_000_000_000),
    ("store.profile_retention_days", 1, 3_650),
    ("store.snapshot_seconds", 1, 3_600),
    ("geoip.reload_seconds", 1, 86_400),
    ("prices.reload_seconds", 1, 86_400),
    ("idempotency.capacity", 1, 100_000_000),
    ("idempotency.seconds", 1, 86_400),
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

/// Takes out of a layer each name that is none of the base layer's, and each value of another kind than it has there.
pub(super) fn names_and_kinds(layer: &mut Layer, base: &Table) -> Vec<Mistake> {
    let (mut errors, mut table) = (SettingErrors::default(), std::mem::take(&mut layer.table));
    Names { base, errors: &mut errors }.table(&mut table, base, "");
    let mistakes = errors.into_iter().map(|error| layer.place(error)).collect();
    layer.table = table;
    mistakes
}

struct Names<'n> {
    base: &'n Table,
    errors: &'n mut SettingErrors,
}

impl Names<'_> {
    fn table(&mut self, said: &mut Table, known: &Table, path: &str) {
        said.retain(|key, value| {
            let name = join(path, key);
            let checked = match (known.get(key), value) {
                (_, value) if LIMITS.contains(&path) => limit(value, &name),
                (_, value) if NAMED.contains(&path) => is_table(value, &name),
                (None, _) => Err(self.unknown(&name)),
                (Some(Value::Table(known)), Value::Table(said)) => {
                    self.table(said, known, &name);
                    Ok(())
                }
                (Some(known), value) => same_kind(known, value, &name),
            };
            let is_right = checked.is_ok();
            self.errors.check(checked);
            is_right
        });
    }

    fn unknown(&self, name: &str) -> SettingError {
        let suggestion = nearest_name(name, self.base);
        let hint = match suggestion {
            Some(_) => "is no setting",
            None => "is no setting; `keyward check-config` without --config prints every one",
        };
        SettingError::new(name, hint).suggesting(suggestion)
    }
}

fn same_kind(known: &Value, value: &Value, name: &str) -> Result<(), SettingError> {
    let is_same = known.same_type(value) || known.is_float() && value.is_integer();
    SettingError::ensure(is_same, name, format!("must be {}, not {}", kind(known), kind(value)))
}

fn is_table(value: &Value, name: &str) -> Result<(), SettingError> {
    SettingError::ensure(value.is_table(), name, format!("must be a table, not {}", kind(value)))
}

fn limit(value: &Value, name: &str) -> Result<(), SettingError> {
    let is_limit = value.as_integer().is_some_and(|n| n > 0) || value.as_str() == Some(NO_LIMIT);
    SettingError::ensure(is_limit, name, "must be a whole number above 0, or \"none\" for no limit")
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
fn nearest_name(name: &str, base: &Table) -> Option<String> {
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |known: &str| {
        // The right name in the wrong section is as good a guess as a slip of the pen.
        let whole = strsim::damerau_levenshtein(name, known);
        // Of several that are as near, the one whose whole name is nearer.
        (whole.min(strsim::damerau_levenshtein(&leaf(name), &leaf(known)) + 1), whole)
    };
    let names = names(base, "");
    let best = names.into_iter().map(|known| (distance(&known), known)).min()?;
    (best.0.0 <= NEAR).then_some(best.1)
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

/// Puts the base layer's number in place of each that is out of its range, before the numbers are put into types that
/// could not hold them.
pub(super) fn ranges(merged: &mut Table, base: &Table) -> SettingErrors {
    let mut errors = SettingErrors::default();
    for (name, least, most) in RANGES {
        let is_outside = |number: i64| !(*least..=*most).contains(&number);
        if whole(merged, name).is_some_and(is_outside) {
            errors.check(Err(SettingError::new(*name, format!("must be from {least} to {most}"))));
            restore(merged, base, name);
        }
    }
    for name in names(merged, "") {
        if whole(merged, &name).is_some_and(|number| number < 0) {
            errors.check(Err(SettingError::new(&name, "must be 0 or more")));
            restore(merged, base, &name);
        }
    }
    errors
}

fn whole(table: &Table, name: &str) -> Option<i64> {
    look_up(table, name).and_then(Value::as_integer)
}

/// Puts the base layer's value of a setting in place.
fn restore(table: &mut Table, base: &Table, name: &str) {
    let (path, key) = name.rsplit_once('.').map_or((None, name), |(path, key)| (Some(path), key));
    let mut parts = path.into_iter().flat_map(|path| path.split('.'));
    let section = parts.try_fold(table, |table, part| table.get_mut(part)?.as_table_mut());
    let Some(section) = section else { return };
    match look_up(base, name) {
        Some(value) => drop(section.insert(key.to_owned(), value.clone())),
        None => drop(section.remove(key)),
    }
}

/// What the types allow and the service cannot use.
pub(super) fn meaning(config: &Config) -> SettingErrors {
    let mut errors = SettingErrors::default();
    errors.check(store(&config.store.url));
    errors.check(admin_listen(&config.server.admin_listen));
    errors.check(namespace(&config.store.namespace));
    errors.check(SettingError::ensure(
        config.log.level.split(',').all(directive),
        "log.level",
        "must be error, warn, info, debug, trace or off, or target=level, by commas",
    ));
    errors.take(config.policy.validate().map_err(|wrong| wrong.within("policy")));
    alerts(&config.alerts, &mut errors);
    super::registry::meaning(config, &mut errors);
    super::spend::meaning(&config.spend, &mut errors);
    super::authorize::meaning(&config.authorize, &mut errors);
    errors.check(access(config));
    errors
}

/// Whether no two rules are called the same: events and answers name them.
fn alerts(rules: &[AlertRule], errors: &mut SettingErrors) {
    let mut known = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        if let Some(earlier) = known.insert(rule.title(), index) {
            let hint =
                format!("is called the same as `alerts[{earlier}]`: give one of them a `name` of its own");
            errors.check(Err(SettingError::new(format!("alerts[{index}]"), hint)));
        }
    }
}

fn store(url: &str) -> Result<(), SettingError> {
    let hint = "must be empty, embedded:<directory>, or a URL with redis://, rediss://, redis+cluster:// or \
                redis+sentinel://";
    SettingError::ensure(url.is_empty() || store_url(url), "store.url", hint)
}

fn namespace(namespace: &str) -> Result<(), SettingError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let is_plain = (1..=64).contains(&namespace.len()) && namespace.chars().all(plain);
    SettingError::ensure(is_plain, "store.namespace", "must be 1 to 64 letters, digits, or any of _ - . :")
}

fn admin_listen(address: &str) -> Result<(), SettingError> {
    let is_address = address.is_empty() || address.parse::<std::net::SocketAddr>().is_ok();
    let hint = "must be empty, or an IP address and port, such as 127.0.0.1:8081 or [::1]:8081";
    SettingError::ensure(is_address, "server.admin_listen", hint)
}

/// Whether somebody is asked for a token wherever strangers, or the pages they make, could reach the service.
fn access(config: &Config) -> Result<(), SettingError> {
    if !config.auth.tokens.is_empty() {
        return Ok(());
    }
    let refuse = |setting, hint| Err(SettingError::new(setting, hint).contradicting("auth.tokens"));
    if !config.server.listen.ip().is_loopback() {
        return refuse(
            "server.listen",
            "is not a loopback address and no token is configured: everybody who reaches it could lift bans. \
             Make a token with `keyward token new` and put it under [auth], or listen on 127.0.0.1",
        );
    }
    if config.server.admin_address().is_some_and(|address| !address.ip().is_loopback()) {
        return refuse(
            "server.admin_listen",
            "is not a loopback address and no token is configured: everybody who reaches it could lift bans. \
             Make a token with `keyward token new` and put it under [auth], or listen on 127.0.0.1",
        );
    }
    if matches!(config.server.grpc_listen, DoorListen::Address(address) if !address.ip().is_loopback()) {
        return refuse(
            "server.grpc_listen",
            "is not a loopback address and no token is configured: everybody who reaches it could report requests. \
             Make a token with `keyward token new` and put it under [auth], or listen on 127.0.0.1 or a unix socket",
        );
    }
    if config.server.hosts.contains(&HostPattern::Any) {
        return refuse(
            "server.hosts",
            "has \"*\" and no token is configured: any web page could act, by a name of its own that leads here (DNS \
             rebinding). Name the hosts, or make a token with `keyward token new` and put it under [auth]",
        );
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
