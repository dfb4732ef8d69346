//! What operators watch: `/metrics`, its page, the alert rules and the dashboard, held against a service that runs and
//! a real Prometheus that scrapes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::{
    app::{DEADLINE, Served, client, keyward, run},
    support::eventually,
};

use keyward::clock;

const NEEDED: &str =
    "promtool and prometheus are needed: install the package prometheus, or run scripts/test";
const RULES: &str = "deploy/prometheus/keyward.rules.yml";
const RULES_TEST: &str = "deploy/prometheus/keyward.rules_test.yml";
const SCRAPING: &str = "deploy/prometheus/prometheus.yml";
const DASHBOARD: &str = "deploy/grafana/keyward.json";
/// Records that a service is sent before it is looked at.
const RECORDS: usize = 5;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// Runs `promtool`, which must be content and, where it is `silent` then, have nothing to say.
fn promtool(arguments: &[&str], input: &str, silent: bool) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect(NEEDED);
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && (!silent || said.trim().is_empty()), "promtool {arguments:?}: {said}");
}

/// What the page says of a metric.
#[derive(Debug, PartialEq, Eq, Default)]
struct ReportedTokens {
    kind: String,
    labels: BTreeSet<String>,
}

/// Every metric of docs/metrics.md, from the rows of its tables.
fn documented() -> BTreeMap<String, ReportedTokens> {
    let page = read("docs/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let told = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let label = |part: &str| part.trim().split('`').nth(1).map(str::to_owned);
        let labels = cells[3].split(';').filter_map(label).collect();
        (cells[1].trim_matches('`').to_owned(), ReportedTokens { kind: cells[2].to_owned(), labels })
    };
    rows.map(told).collect()
}

/// Every metric of a scrape.
fn scraped(text: &str) -> BTreeMap<String, ReportedTokens> {
    let mut found: BTreeMap<String, ReportedTokens> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        found.insert(name.to_owned(), ReportedTokens { kind: kind.to_owned(), ..ReportedTokens::default() });
    }
    for line in text.lines().filter(|line| !line.starts_with('#') && line.contains('{')) {
        let (name, rest) = line.split_once('{').unwrap();
        let keys = rest.split("=\"").map(|part| part.rsplit(['"', ',', '{']).next().unwrap());
        let keys = keys.filter(|key| !key.is_empty() && *key != "le" && !key.starts_with('}'));
        found.get_mut(base(name, &found).as_str()).unwrap().labels.extend(keys.map(str::to_owned));
    }
    found
}

/// The metric that a series belongs to: those of a histogram have endings.
fn base(name: &str, known: &BTreeMap<String, ReportedTokens>) -> String {
    let endings = ["_bucket", "_sum", "_count"];
    let cut = endings.iter().find_map(|ending| name.strip_suffix(ending));
    cut.filter(|cut| known.contains_key(*cut)).unwrap_or(name).to_owned()
}

/// The metrics of ours that an expression names.
fn named(expression: &str) -> BTreeSet<String> {
    let known = documented();
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("keyward_") || word.starts_with("process_"));
    ours.map(|word| base(word, &known)).collect()
}

/// The expressions of the dashboard, with values for its variables.
fn panels() -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::from_str(&read(DASHBOARD)).unwrap(), &mut found);
    assert!(!found.is_empty(), "the dashboard asks nothing");
    let filled = found.iter().map(|expression| {
        let filled = expression.replace("$__rate_interval", "1m").replace("$__range", "1m");
        filled.replace("$instance", ".*")
    });
    filled.inspect(|expression| assert!(!expression.contains('$'), "{expression}")).collect()
}

/// A service with sinks and a geo database of its own, and a token that may read the metrics.
struct Watched {
    served: Served,
    token: String,
    _directory: tempfile::TempDir,
}

impl Watched {
    /// Starts it and has it decide about some records.
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let token = |scope: &str| -> (String, Value) {
            let (code, out, said) = run(&mut keyward(&["token", "new", "--scope", scope, "--json"]));
            assert_eq!(code, 0, "{said}");
            let mut made: Value = serde_json::from_str(&out).unwrap();
            (made["token"].as_str().unwrap().to_owned(), made["entry"].take())
        };
        let ((all, all_entry), (metrics, metrics_entry)) = (token("admin"), token("metrics"));
        let settings = json!({
            "auth": { "tokens": [all_entry, metrics_entry] },
            "geoip": { "files": [path("geoip/demo.mmdb")] },
            "sinks": [
                { "name": "lines", "type": "file", "path": directory.path().join("events.jsonl") },
                // Nothing happens that people would be told of.
                { "name": "people", "type": "alertmanager", "url": "http://127.0.0.1:9",
                  "allow_networks": ["127.0.0.0/8"] },
            ],
        });
        let file = directory.path().join("keyward.toml");
        let without_nulls: toml::Value = serde_json::from_value(strip_nulls(settings)).unwrap();
        std::fs::write(&file, toml::to_string(&without_nulls).unwrap()).unwrap();
        let store = format!("embedded:{}", directory.path().join("data").display());
        let arguments =
            ["serve", "--listen", "127.0.0.1:0", "--store", &store, "--config", file.to_str().unwrap()];
        let served = Served::start_with(&mut keyward(&arguments));
        for n in 0..RECORDS {
            let record = json!({
                "api_key": "sk-a", "endpoint": "/v1/x", "source_ip": "203.0.113.7", "tokens_used": 10 + n,
            });
            let sent = client().post(format!("{}/v1/record", served.url)).bearer_auth(&all).json(&record);
            sent.send().await.unwrap().error_for_status().unwrap();
        }
        Self { served, token: metrics, _directory: directory }
    }

    async fn metrics(&self) -> String {
        let asked = client().get(format!("{}/metrics", self.served.url)).bearer_auth(&self.token);
        asked.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    }
}

fn strip_nulls(mut value: Value) -> Value {
    for token in value["auth"]["tokens"].as_array_mut().unwrap() {
        token.as_object_mut().unwrap().retain(|_, field| !field.is_null());
    }
    value
}

/// A Prometheus with the configuration of deploy/, looking at one service, every second. It ends when this is dropped,
/// or when the process ends.
struct Prometheus {
    watchdog: Child,
    url: String,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn over(watched: &Watched) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::write(place("token"), &watched.token).unwrap();
        std::fs::copy(path(RULES), place("keyward.rules.yml")).unwrap();
        let target = watched.served.url.strip_prefix("http://").unwrap();
        let mut settings = read(SCRAPING);
        for (ours, theirs) in [
            (r#""keyward-1:8080", "keyward-2:8080""#, format!("{target:?}")),
            ("/etc/prometheus/keyward.token", place("token").display().to_string()),
            ("15s", "1s".to_owned()),
        ] {
            assert!(settings.contains(ours), "{SCRAPING} has no {ours}");
            settings = settings.replace(ours, &theirs);
        }
        std::fs::write(place("prometheus.yml"), settings).unwrap();
        // The pipe closes when this process ends, however it ends, and the shell then kills the server.
        let mut command = Command::new("sh");
        command.args(["-c", r#""$@" </dev/null & read -r _; kill -9 $!; wait $!"#, "sh", "prometheus"]);
        command.args(["--web.listen-address=127.0.0.1:0", "--config.file=prometheus.yml"]);
        command.args(["--storage.tsdb.path=data"]).current_dir(directory.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut watchdog = command.spawn().unwrap();
        let stderr = BufReader::new(watchdog.stderr.take().unwrap());
        let mut started = Self { watchdog, url: String::new(), _directory: directory };
        started.url = format!("http://{}", address(stderr));
        started
    }

    async fn get(&self, what: &str, query: &[(&str, &str)]) -> Value {
        let asked = client().get(format!("{}/api/v1/{what}", self.url)).query(query).send().await;
        match asked {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// The values that an expression has now.
    async fn ask(&self, expression: &str) -> Vec<f64> {
        let answer = self.get("query", &[("query", expression)]).await;
        assert_ne!(answer["status"], "error", "{expression}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().map(|s| s["value"][1].as_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Where a Prometheus says that it listens. Its log is read to the end, so that it never waits for a full pipe.
fn address(stderr: impl BufRead + Send + 'static) -> String {
    let (lines, said) = mpsc::channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))));
    let until = clock::instant() + DEADLINE;
    let mut seen = Vec::new();
    while let Ok(line) = said.recv_timeout(until.saturating_duration_since(clock::instant())) {
        let listens = line.contains("Listening on").then(|| line.split("address=").nth(1)).flatten();
        if let Some(address) = listens {
            return address.split_whitespace().next().unwrap().to_owned();
        }
        seen.push(line);
    }
    panic!("{NEEDED}; it said:\n{}", seen.join("\n"));
}

#[tokio::test]
async fn every_metric_is_on_its_page_and_promtool_has_no_complaint() {
    let watched = Watched::start().await;
    // Gauges of the background come with its first second.
    let count = documented().len();
    eventually("all metrics are there", async || scraped(&watched.metrics().await).len() >= count).await;
    let text = watched.metrics().await;
    promtool(&["check", "metrics"], &text, true);
    assert_eq!(scraped(&text), documented(), "left: /metrics, right: docs/metrics.md");
    assert!(text.contains(&format!("keyward_records_total{{timing=\"on_time\"}} {RECORDS}\n")), "{text}");
    assert!(
        text.contains("keyward_geo_database_build_timestamp_seconds{database=\"Keyward-Demo\"}"),
        "{text}"
    );
    for secret in ["sk-a", "203.0.113.7", "k1:"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_real_prometheus_scrapes_a_service_and_every_panel_has_values() {
    let watched = Watched::start().await;
    let prometheus = Prometheus::over(&watched);
    eventually("the service is scraped", async || prometheus.ask("up{job=\"keyward\"}").await == [1.0]).await;
    let records = RECORDS as f64;
    for (expression, value) in [
        ("sum(keyward_records_total)", records),
        ("sum(keyward_decisions_total)", records),
        ("keyward_store_op_duration_seconds_count{op=\"observe\"}", records),
        ("sum by (sink) (keyward_sink_leading{sink=\"lines\"})", 1.0),
        ("sum(keyward_findings_total{severity=\"critical\"})", 0.0),
        ("keyward_degraded", 0.0),
    ] {
        eventually(expression, async || prometheus.ask(expression).await == [value]).await;
    }
    for expression in panels() {
        eventually(&expression, async || !prometheus.ask(&expression).await.is_empty()).await;
    }
    let healthy = async || {
        let answer = prometheus.get("rules", &[]).await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules: Vec<&Value> = groups.iter().filter_map(|g| g["rules"].as_array()).flatten().collect();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] == "ok")
    };
    eventually("every alert rule is evaluated without an error", healthy).await;
}

#[test]
fn every_alert_fires_when_it_should_and_not_before() {
    promtool(&["check", "config", "--syntax-only", SCRAPING], "", false);
    promtool(&["check", "rules", RULES], "", false);
    promtool(&["test", "rules", RULES_TEST], "", false);
    let (rules, tests, page) = (read(RULES), read(RULES_TEST), read("deploy/README.md"));
    let known = documented();
    for name in named(&rules) {
        assert!(known.contains_key(&name), "{RULES} names {name}, which is not in docs/metrics.md");
    }
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(!alerts.is_empty());
    for alert in alerts {
        let name = alert.lines().next().unwrap();
        for part in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(part), "{name} has no {part}");
        }
        assert!(
            tests.contains(&format!("alertname: {name}\n        exp_alerts: []\n")),
            "{name} is never quiet"
        );
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:\n")), "{name} never fires");
        assert!(page.contains(&format!("| `{name}` |")), "deploy/README.md lacks {name}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_and_asks_only_what_parses() {
    let panels = panels();
    let rule = |(n, expression): (usize, &String)| {
        // A JSON string is one of YAML, too.
        format!("      - record: panel:{n}\n        expr: {}\n", json!(expression))
    };
    let rules: String = panels.iter().enumerate().map(rule).collect();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("panels.yml");
    std::fs::write(&file, format!("groups:\n  - name: panels\n    rules:\n{rules}")).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "", false);
    let shown: BTreeSet<String> = panels.iter().flat_map(|expression| named(expression)).collect();
    let known: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(shown, known, "left: {DASHBOARD}, right: docs/metrics.md");
}
