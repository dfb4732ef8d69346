//! Layers and their errors.

use super::*;

mod mistakes;

fn sources(environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

fn load(environment: &[(&str, &str)]) -> Result<Config, String> {
    Config::load(&sources(environment)).map_err(|error| error.to_string())
}

fn load_file(text: &str) -> Result<Config, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyward.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&Sources { file: Some(path), ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_valid_and_every_one_of_them_is_explained() {
    Config::load(&Sources::default()).unwrap();
    let mut explained = false;
    for (number, line) in DEFAULT_TOML.lines().enumerate() {
        let line = line.trim();
        let is_setting = !line.starts_with(['#', '[']) && line.contains('=');
        // Settings of one kind (windows, modes) are explained by the line above the first of them.
        explained = line.contains('#') || (is_setting && explained) || line.starts_with("[policy.detectors");
        assert!(!is_setting || explained, "config/default.toml, line {}: {line} says nothing", number + 1);
    }
}

#[test]
fn every_number_outside_the_policy_has_a_range_and_no_range_is_of_nothing() {
    let base: toml::Table = DEFAULT_TOML.parse().unwrap();
    let numbers: Vec<String> = check::names(&base, "")
        .into_iter()
        .filter(|name| !name.starts_with("policy."))
        .filter(|name| layer::look_up(&base, name).unwrap().is_integer())
        .collect();
    for name in &numbers {
        assert!(
            check::RANGES.iter().any(|(known, ..)| known == name),
            "{name} needs a range in config/check.rs"
        );
    }
    assert_eq!(numbers.len(), check::RANGES.len());
}

#[test]
fn flags_beat_the_environment_which_beats_the_file_which_beats_the_preset() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyward.toml");
    std::fs::write(
        &path,
        "[server]\nmax_connections = 1\nheader_timeout_ms = 1000\nshutdown_grace_seconds = 1\n\
         [policy]\npreset = 'strict'\n[policy.ladder]\nban_seconds = 60\n",
    )
    .unwrap();
    let mut sources = sources(&[
        ("KEYWARD__SERVER__HEADER_TIMEOUT_MS", "2000"),
        ("KEYWARD__SERVER__SHUTDOWN_GRACE_SECONDS", "2"),
        ("KEYWARD_CONFIG", path.to_str().unwrap()),
    ]);
    sources.flags = vec![("--grace", "server.shutdown_grace_seconds", 3.into())];
    let config = Config::load(&sources).unwrap();
    let server = &config.server;
    assert_eq!(
        (server.max_connections, server.header_timeout_ms, server.shutdown_grace_seconds),
        (1, 2000, 3)
    );
    assert_eq!(config.policy.ladder.ban_seconds, 60);
    assert!(config.policy.ladder.permanent_without_person, "the overlay of the preset is in force");
}

#[test]
fn the_last_word_on_the_preset_counts() {
    let strict = load(&[("KEYWARD_PRESET", "strict")]).unwrap().policy;
    assert!(strict.preset == crate::domain::policy::Preset::Strict && strict.ladder.permanent_without_person);
    let mut both = sources(&[("KEYWARD_PRESET", "strict")]);
    both.flags = vec![("--preset", "policy.preset", "balanced".into())];
    assert_eq!(Config::load(&both).unwrap().policy, default_policy());
    let error = load(&[("KEYWARD_PRESET", "paranoid")]).unwrap_err();
    assert!(error.contains("policy.preset") && error.contains("KEYWARD_PRESET"), "{error}");
    let error = load(&[("KEYWARD_PRESET", "stritc")]).unwrap_err();
    assert!(error.ends_with("; did you mean `strict`?"), "{error}");
}

#[test]
fn an_unknown_setting_is_named_in_full_with_the_one_that_was_meant() {
    let error = load_file("[policy.detectors.traffic_burst]\nfacter = 4.0").unwrap_err();
    assert!(error.contains("`policy.detectors.traffic_burst.facter`"), "{error}");
    assert!(error.contains("did you mean `policy.detectors.traffic_burst.factor`?"), "{error}");
    assert!(error.contains("keyward.toml"), "{error}");
    let error = load(&[("KEYWARD__SERVER__LISTNE", "127.0.0.1:1")]).unwrap_err();
    assert!(error.contains("KEYWARD__SERVER__LISTNE") && error.contains("`server.listen`"), "{error}");
    let error = load_file("listen = '127.0.0.1:1'").unwrap_err();
    assert!(error.contains("did you mean `server.listen`?"), "{error}");
    let error = load_file("[colours]\nsky = 'blue'").unwrap_err();
    assert!(error.contains("`colours`") && !error.contains("did you mean"), "{error}");
}

#[test]
fn platform_variables_with_our_prefix_are_left_alone() {
    load(&[
        ("KEYWARD_SERVICE_HOST", "10.0.0.1"),
        ("KEYWARD_PORT", "tcp://10.0.0.1:8080"),
        ("KEYWARD_STORE", ""),
    ])
    .unwrap();
}

#[test]
fn wrong_kinds_and_ranges_name_the_setting_and_the_hint() {
    for (variable, value, expected) in [
        (
            "KEYWARD__SERVER__MAX_CONNECTIONS",
            "many",
            "`server.max_connections` must be a whole number, not text",
        ),
        ("KEYWARD__SERVER__MAX_CONNECTIONS", "0", "`server.max_connections` must be from 1 to"),
        ("KEYWARD__STORE__PARTITIONS", "-1", "`store.partitions` must be from 1 to 1024"),
        ("KEYWARD__SERVER", "7", "`server` must be a table"),
        ("KEYWARD__POLICY__LADDER__BAN_SECONDS", "-5", "`policy.ladder.ban_seconds` must be 0 or more"),
        ("KEYWARD__POLICY__LADDER__BAN_FACTOR", "0.5", "`policy.ladder.ban_factor` must be from 1 to 1000"),
        (
            "KEYWARD__POLICY__LIMITS__TOKENS__1MIN",
            "0",
            "`policy.limits.tokens.1min` must be a whole number above 0",
        ),
        ("KEYWARD__POLICY__LIMITS__TOKENS__2MIN", "5", "`policy.limits.tokens.2min` windows are 1min"),
        ("KEYWARD__POLICY__DETECTORS__FAILURE_RATE__MODE", "on", "`policy.detectors.failure_rate.mode`"),
        ("KEYWARD_LISTEN", "localhost", "`server.listen` must be an IP address and port"),
        ("KEYWARD_STORE", "sqlite:x", "`store.url` must be empty, embedded:"),
        ("KEYWARD__LOG__LEVEL", "loud", "`log.level` must be error"),
        ("KEYWARD__GEOIP__FILES", "[1]", "`geoip.files[0]`"),
    ] {
        let error = load(&[(variable, value)]).unwrap_err();
        assert!(error.contains(expected), "{variable}: {error}");
        assert!(error.contains(variable), "{variable} is where it was said: {error}");
    }
}

#[test]
fn values_of_the_environment_are_toml_or_else_text() {
    let config = load(&[
        ("KEYWARD__STORE__NAMESPACE", "7"),
        ("KEYWARD__POLICY__DETECTORS__TRAFFIC_BURST__FACTOR", "4"),
        ("KEYWARD__GEOIP__DEMO", "false"),
        ("KEYWARD_GEOIP", "a.mmdb, b.mmdb"),
        ("KEYWARD__LOG__LEVEL", "\"info\"\nformat = \"json\""),
    ]);
    assert!(config.unwrap_err().contains("log.level"), "a line break brings in no second setting");
    let config = load(&[
        ("KEYWARD__STORE__NAMESPACE", "7"),
        ("KEYWARD__POLICY__DETECTORS__TRAFFIC_BURST__FACTOR", "4"),
        ("KEYWARD__GEOIP__DEMO", "false"),
        ("KEYWARD_GEOIP", "a.mmdb, b.mmdb"),
        ("KEYWARD_PRICES", "prices.toml"),
        ("KEYWARD__LOG__LEVEL", "\"debug\""),
    ])
    .unwrap();
    assert_eq!((config.store.namespace.as_str(), config.log.level.as_str()), ("7", "debug"));
    assert!((config.policy.detectors.traffic_burst.factor - 4.0).abs() < f64::EPSILON && !config.geoip.demo);
    assert_eq!(config.geoip.files, [PathBuf::from("a.mmdb"), PathBuf::from("b.mmdb")]);
    assert_eq!(config.prices.file(), Some(Path::new("prices.toml")));
    assert_eq!(load(&[]).unwrap().prices.file(), None);
}

#[test]
fn limits_are_replaced_one_by_one_and_can_be_taken_away() {
    let config = load_file(
        "[policy.limits.tokens]\n'1min' = 7\n'24hour' = 'none'\n[policy.limits.requests]\n'1hour' = 9",
    );
    let limits = config.unwrap().policy.limits;
    assert_eq!(limits.tokens["1min"], 7);
    assert_eq!(limits.tokens["5min"], 4_000_000);
    assert!(!limits.tokens.contains_key("24hour"));
    assert_eq!(limits.requests["1hour"], 9);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let error = load(&[("KEYWARD_LISTEN", "0.0.0.0:8080")]).unwrap_err();
    assert!(error.contains("keyward token new") && error.contains("KEYWARD_LISTEN"), "{error}");
    let tokens = format!("[{{ id = 'a', hash = '{}', scopes = ['admin'] }}]", "0".repeat(64));
    load(&[("KEYWARD_LISTEN", "0.0.0.0:8080"), ("KEYWARD__AUTH__TOKENS", &tokens)]).unwrap();
    load(&[("KEYWARD_LISTEN", "[::1]:8080")]).unwrap();
}

#[test]
fn every_host_is_answered_to_only_where_a_token_is_asked_for() {
    let error = load(&[("KEYWARD__SERVER__HOSTS", "[\"*\"]")]).unwrap_err();
    assert!(error.contains("`server.hosts`") && error.contains("keyward token new"), "{error}");
    let tokens = format!("[{{ id = 'a', hash = '{}', scopes = ['admin'] }}]", "0".repeat(64));
    load(&[("KEYWARD__SERVER__HOSTS", "['*']"), ("KEYWARD__AUTH__TOKENS", &tokens)]).unwrap();
    load(&[("KEYWARD__SERVER__HOSTS", "['keyward.internal', '*.example', '::1']")]).unwrap();
}

#[test]
fn a_host_that_is_none_is_named_with_its_place_and_what_it_must_be() {
    for (list, place) in [
        ("['a', 'http://b']", "`server.hosts[1]` must be a host name"),
        ("['a:8080']", "`server.hosts[0]` must be a host name"),
        ("['0.0.0.0']", "(0.0.0.0 and [::] are none)"),
        ("[7]", "`server.hosts[0]` must be a host name"),
        ("keyward.internal", "`server.hosts` must be a list, not text"),
    ] {
        let error = load(&[("KEYWARD__SERVER__HOSTS", list)]).unwrap_err();
        assert!(error.contains(place), "{list}: {error}");
        assert!(error.contains("KEYWARD__SERVER__HOSTS"), "{error}");
    }
}

#[test]
fn no_error_and_no_print_shows_a_secret() {
    for text in [
        "store = 'redis://:hunter2@db'",
        "[store]\nurl = 'http://:hunter2@db'",
        "[auth]\ntokens = ['kw_1.hunter2']",
        "[auth]\ntokens = [{ id = 'a', token = 'hunter2' }]",
        "[store]\nurl = 'redis://:hunter2@db",
        "[secrets]\npepper = 'hunter2'",
    ] {
        let error = load_file(text).unwrap_err();
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
    let environment = [
        ("KEYWARD_STORE", "rediss://ops:hunter2@db/0?password=hunter2"),
        ("KEYWARD_PEPPER", "hunter2hunter2hunter2"),
    ];
    let config = load(&environment).unwrap();
    assert_eq!(config.pepper.as_ref().unwrap().expose(), "hunter2hunter2hunter2");
    assert_eq!(config.masked().store.url, "rediss://ops:***@db/0");
    for password in ["s3cr#et", "s3cr?et", "s3c:r@et"] {
        let config = load(&[("KEYWARD_STORE", &format!("redis+cluster://ops:{password}@a,b?x=1"))]).unwrap();
        assert_eq!(config.masked().store.url, "redis+cluster://ops:***@a,b");
    }
    assert!(!toml::to_string(&config.masked()).unwrap().contains("hunter2"));
    assert!(!format!("{:?}", config.pepper).contains("hunter2"));
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let error = load_file("[server]\nlisten = \n").unwrap_err();
    assert!(error.contains("keyward.toml, line 2"), "{error}");
    let missing = Sources { file: Some("no/such.toml".into()), ..Sources::default() };
    assert!(matches!(Config::load(&missing), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_pepper_of_our_own_is_kept_beside_the_embedded_store() {
    let at = |environment: &[(&str, &str)]| load(environment).unwrap().own_pepper_file();
    assert_eq!(at(&[]), Path::new("./keyward-data/pepper"));
    assert_eq!(at(&[("KEYWARD_STORE", "embedded:/srv/kw")]), Path::new("/srv/kw/pepper"));
    assert_eq!(at(&[("KEYWARD_STORE", "redis://db")]), Path::new("./keyward-data/pepper"));
    assert_eq!(at(&[("KEYWARD__SECRETS__DATA_DIRECTORY", "/etc/kw")]), Path::new("/etc/kw/pepper"));
}

#[test]
fn plans_projects_and_limits_are_read_as_the_api_reads_them() {
    let config = load_file(
        "[[limits]]\nunit = 'requests'\nwindow = '1s'\nlimit = 500\n\
         [registry]\nunknown_keys = 'refuse'\ndefault_plan = 'free'\n\
         [priorities]\nlow = 0.5\n\
         [plans.free]\nlimits = [{ unit = 'cost_usd', window = 'month', limit = '2.50' }]\n\
         [projects.analytics]\nplan = 'free'\nbudget_usd = 100\npriority = 'high'\ntimezone = 'Asia/Tokyo'\n",
    )
    .unwrap();
    let registry = config.registry();
    assert_eq!((registry.limits.len(), registry.plans.len(), registry.projects.len()), (1, 1, 1));
    assert_eq!((registry.shares.low, registry.shares.medium), (500, 900));
    assert_eq!(serde_json::to_value(&registry.plans["free"]).unwrap()["limits"][0]["limit"], "2.5");
    // What check-config prints is a configuration again.
    let printed = toml::to_string(&config.masked()).unwrap();
    assert_eq!(load_file(&printed).unwrap().projects, config.projects, "{printed}");
    assert!(load(&[]).unwrap().registry().default_plan.is_empty());
}

#[test]
fn what_is_wrong_with_a_plan_is_named_in_full() {
    for (text, words) in [
        (
            "[[limits]]\nunit = 'requests'\nwindow = '1s'\nlimit = -1",
            "`limits[0].limit` must be a whole number",
        ),
        (
            "[plans.a]\nlimits = [{ unit = 'cost_usd', window = 'day', limit = 2.5 }]",
            "`plans.a.limits[0].limit` must be a whole number, or a decimal in quotes",
        ),
        (
            "[plans.a]\nlimits = [{ unit = 'tokens', window = 'year', limit = 2 }]",
            "`plans.a.limits[0].window` must be hour",
        ),
        ("[plans.a]\nlimit = 1", "line 2: `plans.a.limit` is no setting here; did you mean `limits`?"),
        ("[plans]\na = 1", "`plans.a` must be a table"),
        ("[plans.'a b']", "`plans` has a name"),
        ("[projects.p]\nplan = 'none'", "`projects.p.plan` must name a plan"),
        ("[projects.p]\ntimezone = 'Mars'", "`projects.p.timezone` must be a time zone"),
        ("[registry]\ndefault_plan = 'none'", "`registry.default_plan` must name a plan"),
        ("[registry]\ndefault_project = 'none'", "`registry.default_project` must name a project"),
        ("[registry]\nunknown_keys = 'ask'", "`registry.unknown_keys`"),
        ("[priorities]\nlow = 0.95", "`priorities.low` must be above 0 and at most"),
        ("[priorities]\nmedium = 1.5", "`priorities.medium` must be above 0"),
    ] {
        let error = load_file(text).unwrap_err();
        assert!(error.contains(words) && error.contains("keyward.toml"), "{text}: {error}");
    }
}

#[test]
fn two_sinks_have_neither_one_name_nor_one_file() {
    let sinks = |second: &str| {
        load_file(&format!(
            "[[sinks]]\nname = 'log'\ntype = 'file'\npath = 'events.log'\n[[sinks]]\n{second}"
        ))
    };
    let name = sinks("name = 'log'\ntype = 'stdout'").unwrap_err();
    assert!(name.contains("`sinks.log.name` must not be that of another sink"), "{name}");
    for path in ["events.log", "./events.log"] {
        let error = sinks(&format!("name = 'copy'\ntype = 'file'\npath = '{path}'")).unwrap_err();
        assert!(error.contains("`sinks.copy.path` must not be that of the sink log"), "{error}");
    }
    assert_eq!(sinks("name = 'copy'\ntype = 'file'\npath = 'copy.log'").unwrap().sinks.len(), 2);
    assert_eq!(sinks("name = 'copy'\ntype = 'stdout'").unwrap().sinks.len(), 2);
}

#[test]
fn what_is_wrong_with_an_alert_rule_or_with_spend_is_named_with_its_hint() {
    let rule = |bars: &str| {
        format!(
            "alerts = [{{ metric = 'request_count', operator = 'gt', {bars} scope = 'key', severity = 'low' }}]"
        )
    };
    for (text, words) in [
        (rule(""), "`alerts[0]` must have either `threshold` or `times_baseline`"),
        (rule("threshold = 1, times_baseline = 2,"), "`alerts[0]` must have either"),
        (rule("times_baseline = 1.5,"), "a decimal in quotes"),
        (
            rule("threshold = '25',").replace("request_count", "failure_rate"),
            "`alerts[0]` must have a share as the `threshold` of failure_rate or refused_share: 0 to 1",
        ),
        (rule("threshold = 1, times = 2,"), "`alerts[0].times` is no setting here"),
        (
            rule("threshold = 1,").replace(
                "}]",
                "}, { metric = 'request_count', operator = 'gt', threshold = 1, scope = 'key', severity = 'low' }]",
            ),
            "`alerts[1]` is called the same as `alerts[0]`",
        ),
        ("[spend]\nz = 0".to_owned(), "`spend.z` must be from 0.1 to 100"),
        ("[spend]\ntimes_mean = 0.5".to_owned(), "`spend.times_mean` must be from 1 to 1000000"),
        ("[spend]\nsame_weekday = -1".to_owned(), "`spend.same_weekday` must be 0 or more"),
        ("[spend]\nmin_days = 8".to_owned(), "`spend.min_days` must be from 2 to 7"),
        ("[spend]\nmin_cost = '0'".to_owned(), "`spend.min_cost` must be above 0"),
        ("[spend]\nmin_cost = 50".to_owned(), "`spend.min_cost` must be text, not a whole number"),
        ("[spend]\nmin_cost = '5o'".to_owned(), "`spend.min_cost` must be a whole number, or"),
        ("[spend]\ninterval = '7m'".to_owned(), "`spend.interval` must be 1m, 2m"),
        ("[spend]\ninterval = 5".to_owned(), "`spend.interval` must be text, not a whole number"),
        ("[spend]\nmode = 'on'".to_owned(), "`spend.mode`"),
        ("[spend]\ncut_off_after = 25".to_owned(), "`spend.cut_off_after` must be from 0 to 24"),
    ] {
        let error = load_file(&text).unwrap_err();
        assert!(error.contains(words) && error.contains("keyward.toml"), "{text}: {error}");
    }
    let config = load_file(&rule("times_baseline = '1.5',")).unwrap();
    assert_eq!(load_file(&toml::to_string(&config.masked()).unwrap()).unwrap().alerts, config.alerts);
    let rules = load_file("[spend]\nmin_cost = '12.50'\nz = 3").unwrap().spend.rules().unwrap();
    assert_eq!((rules.min_cost, rules.z, rules.times_mean), (12_500_000_000, 3_000, 3_000));
    assert!(load_file("[spend]\nmode = 'off'").unwrap().spend.rules().is_none());
}

#[test]
fn every_mistake_of_every_sink_is_shown_at_once_with_its_line_and_what_was_meant() {
    let error = load_file(
        "[[sinks]]\nname = 'log'\ntype = 'stdout'\nbatch = 0\ntimeout_seconds = 0\n\n\
         [[sinks]]\nname = 'siem'\ntype = 'syslog'\naddress = 'logs.example'\ntransport = 'tsl'\n\n\
         [[sinks]]\nname = 'hook'\ntype = 'webhok'\n\n\
         [[sinks]]\nname = 'post'\ntype = 'webhook'\nurl = 'https://siem.example'\nsecert = 'env:X'\n",
    )
    .unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    for (line, words) in lines.iter().zip([
        "keyward.toml, line 4: `sinks.log.batch` must be from 1 to 1000",
        "keyward.toml, line 5: `sinks.log.timeout_seconds` must be from 1 to 300",
        "keyward.toml, line 11: `sinks.siem.transport` must be one of udp, tcp, tls, not \"tsl\"; did you mean `tls`?",
        "keyward.toml, line 15: `sinks.hook.type` must be one of webhook,",
        "keyward.toml, line 21: `sinks.post.secert` is no setting here; did you mean `secret`?",
    ]) {
        assert!(line.contains(words), "{line}");
    }
    assert!(lines[3].ends_with("did you mean `webhook`?") && lines.len() == 5, "{error}");
}
