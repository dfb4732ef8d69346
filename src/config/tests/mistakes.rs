//! Several mistakes in one configuration: all are shown, in order, each with its place.

use super::*;

/// A line with a mistake says on its end what is to be said about it, after `#!`.
const MISTAKES: &str = r#"
limits = [
    { unit = "tokns", window = "1min", limit = 5 },  #! `limits[0].unit` must be one of => did you mean `tokens`?
    { unit = "tokens", window = "1min", limit = [] },  #! `limits[1].limit`
]

[server]
listne = "127.0.0.1:1"  #! `server.listne` is no setting => did you mean `server.listen`?
hosts = ["a", "http://b"]  #! `server.hosts[1]` must be a host name
max_connections = 0  #! `server.max_connections` must be from 1 to 1000000

[store]
url = "sqlite:x"  #! `store.url` must be embedded:
partitions = "many"  #! `store.partitions` must be a whole number, not text

[[auth.tokens]]
id = "ops"
hash = "12"  #! `auth.tokens[0].hash` must be 64 hex digits
scopes = ["raed"]  #! `auth.tokens[0].scopes[0]` must be one of record, => did you mean `read`?

[[auth.tokens]]
id = "ops"  #! `auth.tokens[1].id` must not be that of another token
hash = "0000000000000000000000000000000000000000000000000000000000000000"
scopes = []

[registry]
default_plan = "fere"  #! `registry.default_plan` must name a plan => did you mean `free`?
default_project = "shopp"  #! `registry.default_project` must name a project => did you mean `shop`?

[gateway]
max_attempts = 9  #! `gateway.max_attempts` must be from 1 to 5
default_model = "gpt-5"  #! `gateway.default_model` must be a model that a route
trusted_proxies = ["10.0.0.0/8", "here"]  #! `gateway.trusted_proxies[1]` must be
aliases = [
    { name = "batch", model = "gpt-4.1-mini" },
    { name = "batch", model = "gpt-4.1" },  #! `gateway.aliases[1].name` must not be that of
    { name = "b", model = "batch" },  #! `gateway.aliases[2].model` must be a model: an alias of an alias
]

[[gateway.upstreams]]
name = "openai"
dialect = "opnai"  #! `gateway.upstreams[0].dialect` must be one of => did you mean `openai`?
base_url = "https://api.openai.com/v1"

[[gateway.upstreams]]
name = "claude"
dialect = "anthropic"
base_url = "https://api.anthropic.com/v1"  #! `gateway.upstreams[1].base_url` must be as the provider's SDK
api_key = "sk-ant-secret"  #! `gateway.upstreams[1].api_key` must be file:<path> or env:<NAME>

[[gateway.upstreams]]
name = "local"
dialect = "openai"
base_url = "http://10.1.2.3:8000/v1"  #! `gateway.upstreams[2].base_url` leads to an address that is not allowed
bils_after_cancel = true  #! `gateway.upstreams[2].bils_after_cancel` is no setting here => `bills_after_cancel`?

[[gateway.routes]]
model = "gpt-4.1*"
upstreams = ["local", { name = "opneai", weight = 20 }]  #! `gateway.routes[0].upstreams[1].name` must name => `openai`?

[[gateway.routes]]
model = "["  #! `gateway.routes[1].model` is no pattern
upstreams = []  #! `gateway.routes[1].upstreams` must name at least one upstream

[[gateway.models]]
model = "gpt-4.1"
context_window = 0  #! `gateway.models[0].context_window` must be from 1 to 1000000000 tokens

[plans.free]

[plans.gold]
limts = []  #! `plans.gold.limts` is no setting here => did you mean `limits`?

[plans.silver]
limits = [{ unit = "tokens", window = "year", limit = 2 }]  #! `plans.silver.limits[0].window` must be hour

[projects.shop]
plan = "gold"

[projects.toys]
priority = "hihg"  #! `projects.toys.priority` must be one of => did you mean `high`?

[policy]
preset = "stritc"  #! `policy.preset` must be one of balanced, strict => did you mean `strict`?

[policy.limits.tokens]
"1mni" = 5  #! `policy.limits.tokens.1mni` windows are => did you mean `1min`?

[policy.detectors.traffic_burst]
mode = "shadwo"  #! `policy.detectors.traffic_burst.mode` must be one of => did you mean `shadow`?

[policy.detectors.request_size]
z_medium = -1.0  #! `policy.detectors.request_size.z_medium` must be a number above 0
z_high = -2.0  #! `policy.detectors.request_size.z_high` must be a number above 0

[policy.ladder]
ban_seconds = 60
ban_max_seconds = 30  #! `policy.ladder.ban_max_seconds` must be at least ban_seconds

[[sinks]]
name = "log"
type = "stdot"  #! `sinks.log.type` must be one of => did you mean `stdout`?

[[sinks]]
name = "out"
type = "stdout"
batch = 0  #! `sinks.out.batch` must be from 1 to 1000
"#;

#[test]
fn every_mistake_is_shown_at_once_in_the_order_of_the_file() {
    let error = load_file(MISTAKES).unwrap_err();
    let expected: Vec<(usize, &str)> = MISTAKES
        .lines()
        .enumerate()
        .filter_map(|(n, line)| Some((n + 1, line.split_once("#! ")?.1)))
        .collect();
    assert_eq!(error.lines().count(), expected.len(), "{error}");
    for (line, (number, words)) in error.lines().zip(&expected) {
        let (words, meant) = words.split_once(" => ").unwrap_or((words, ""));
        let words = format!("keyward.toml, line {number}: {words}");
        assert!(line.contains(&words) && line.ends_with(meant), "{words}: {line}\n{error}");
    }
    assert!(expected.len() > 12);
}

#[test]
fn mistakes_of_all_layers_are_shown_together_each_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyward.toml");
    std::fs::write(&path, "[log]\nformat = 'jsn'").unwrap();
    let mut sources =
        sources(&[("KEYWARD__STORE__PARTITIONS", "0"), ("KEYWARD__SERVER__HOSTS", "['http://b']")]);
    sources.file = Some(path);
    sources.flags = vec![("--listen", "server.listen", "nowhere".into())];
    let error = Config::load(&sources).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    for (line, words) in lines.iter().zip([
        "keyward.toml, line 2: `log.format` must be one of text, json, not \"jsn\"; did you mean `json`?",
        "KEYWARD__SERVER__HOSTS in the environment: `server.hosts[0]` must be a host name",
        "KEYWARD__STORE__PARTITIONS in the environment: `store.partitions` must be from 1 to 1024",
        "--listen: `server.listen` must be an IP address and port",
    ]) {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(lines.len(), 4, "{error}");
}

#[test]
fn what_only_follows_from_another_mistake_is_not_shown() {
    let error = load_file("[server]\nlisten = '0.0.0.0:1'\n[auth]\ntokens = 'kw_a.b'").unwrap_err();
    assert!(
        error.contains("`auth.tokens` must be a list, not text") && error.lines().count() == 1,
        "{error}"
    );
    let error = load_file("[policy.ladder]\nban_seconds = 'x'\nban_max_seconds = 5").unwrap_err();
    assert!(error.contains("`policy.ladder.ban_seconds`") && error.lines().count() == 1, "{error}");
}

#[test]
fn keys_that_are_not_there_are_named_with_all_other_mistakes_to_who_checks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyward.toml");
    let upstream = |name: &str, key: &str| {
        format!(
            "[[gateway.upstreams]]\nname = '{name}'\ndialect = 'openai'\nbase_url = 'https://a.example/v1'\n\
             api_key = '{key}'\n"
        )
    };
    let text = format!(
        "[gateway]\nmax_attempts = 9\n{}{}",
        upstream("a", "env:KEYWARD_NO_SUCH_KEY"),
        upstream("b", "file:/no/such/key")
    );
    std::fs::write(&path, text).unwrap();
    let lines = |reads_keys: bool| {
        let sources = Sources { file: Some(path.clone()), reads_keys, ..Sources::default() };
        let error = Config::load(&sources).unwrap_err().to_string();
        error.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(false).len(), 1);
    let all = lines(true);
    for (line, words) in all.iter().zip([
        "`gateway.max_attempts`",
        "`gateway.upstreams[0].api_key` names the environment variable KEYWARD_NO_SUCH_KEY, which is not set",
        "`gateway.upstreams[1].api_key` names the file /no/such/key, which cannot be read",
    ]) {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(all.len(), 3, "{all:?}");
}
