//! The walls of the house: which room may know what, and what every file must have.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/shape.rs"]
mod shape;

fn files(under: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    walk(&root.join(under), ending, &mut found);
    assert!(!found.is_empty(), "no {ending} under {under}");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    found.into_iter().map(read).collect()
}

/// The lines of code of a file: without comments, and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Lines outside of `rooms` that hold one of `words`.
fn trespassers(words: &[&str], rooms: &[&str]) -> Vec<String> {
    let outside = |name: &str| !rooms.iter().any(|room| name.starts_with(room));
    let mut found = Vec::new();
    for (name, text) in files("src", ".rs").into_iter().filter(|(name, _)| outside(name)) {
        for (number, line) in code(&text).filter(|(_, line)| words.iter().any(|word| line.contains(word))) {
            found.push(format!("{name}:{number}: {}", line.trim()));
        }
    }
    found
}

/// Lines inside of `rooms` that hold one of `words`.
fn strangers(words: &[&str], rooms: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for room in rooms {
        for (name, text) in files(room, ".rs").into_iter().filter(|(name, _)| !name.contains("/tests")) {
            for (number, line) in code(&text).filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            {
                found.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    found
}

fn nobody(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn domain_detect_and_formats_wait_for_nothing_and_know_no_machinery() {
    let words =
        ["tokio", "redis::", "rusqlite", "axum", ".await", "async fn", "Instant", "SystemTime", "clock::"];
    let rooms = ["src/domain", "src/detect", "src/forward/format"];
    nobody(strangers(&words, &rooms), "src/domain, src/detect and src/forward/format are pure");
}

#[test]
fn rooms_look_down_and_never_up() {
    let up =
        |words: &[&str], rooms: &[&str]| nobody(strangers(words, rooms), "a lower room uses a higher one");
    up(
        &[
            "crate::detect",
            "crate::store",
            "crate::pricing",
            "crate::engine",
            "crate::http",
            "crate::app",
            "crate::cli",
        ],
        &["src/domain"],
    );
    let above_intake = ["crate::engine", "crate::http", "crate::app", "crate::cli"];
    up(&["crate::intake", "crate::engine", "crate::http", "crate::app", "crate::cli"], &["src/pricing"]);
    up(&above_intake, &["src/intake"]);
    up(&["crate::store", "crate::engine", "crate::http", "crate::app", "crate::cli"], &["src/detect"]);
    up(&["crate::detect", "crate::engine", "crate::http", "crate::app", "crate::cli"], &["src/store"]);
    up(&["crate::engine", "crate::http", "crate::app", "crate::cli", "crate::config"], &["src/forward"]);
    up(
        &["crate::store", "crate::forward", "crate::engine", "crate::config", "crate::http"],
        &["src/outbound"],
    );
    up(&["crate::store", "crate::forward", "crate::config", "crate::app", "crate::cli"], &["src/gateway"]);
    up(&["crate::"], &["src/settings"]);
    up(&["crate::detect", "crate::store", "crate::config"], &["src/forward/format"]);
    up(&["crate::forward"], &["src/domain", "src/detect", "src/store"]);
    up(
        &["crate::config", "crate::forward", "crate::explain", "crate::http", "crate::app", "crate::cli"],
        &["src/engine"],
    );
    up(&["crate::replay", "crate::http", "crate::app", "crate::cli"], &["src/explain"]);
    up(&["crate::http", "crate::web", "crate::report", "crate::app", "crate::cli"], &["src/week"]);
    up(&["crate::http", "crate::web", "crate::app", "crate::cli"], &["src/preview"]);
    up(&["crate::web", "crate::app", "crate::cli"], &["src/http"]);
    up(&["crate::app", "crate::cli"], &["src/web"]);
    up(&["crate::cli"], &["src/app"]);
}

#[test]
fn redis_stays_in_its_store_and_status_codes_in_http() {
    nobody(
        trespassers(&["use redis", "::redis::cmd", "redis::aio"], &["src/store/redis"]),
        "redis stays in src/store/redis",
    );
    nobody(
        trespassers(&["StatusCode"], &["src/http", "src/cli"]),
        "StatusCode stays in src/http (and in the client of src/cli)",
    );
    nobody(trespassers(&["rusqlite"], &["src/store/embedded"]), "SQLite stays in src/store/embedded");
}

#[test]
fn the_way_of_a_request_alone_knows_the_engine_and_dialects_wait_for_nothing() {
    let outside = ["src/gateway/dialect", "src/gateway/meter"];
    let words = ["tokio", "axum", "reqwest", ".await", "async fn", "clock::", "crate::engine", "crate::http"];
    nobody(strangers(&words, &outside), "src/gateway/dialect and src/gateway/meter are pure");
    let files = ["src/gateway/settings", "src/gateway/dialect", "src/gateway/meter"];
    nobody(
        strangers(&["crate::engine", "crate::intake", "crate::http"], &files),
        "only flow knows the engine",
    );
}

#[test]
fn forwarding_reads_the_log_and_keeps_the_state_of_sinks_and_can_write_nothing_else() {
    let wide = ["dyn Store", "StandingStore", "EventWriter", "DocumentStore", "CounterStore", "impl Store"];
    nobody(strangers(&wide, &["src/forward"]), "src/forward holds the store as a ForwardStore");
}

#[test]
fn members_of_evidence_are_known_by_name_in_the_room_of_events_alone() {
    let by_name = ["evidence[\"", "/evidence/", "as_json()[", "as_json().get", "as_json().pointer"];
    let found = trespassers(&by_name, &["src/domain/event/"]);
    let of_code = found.into_iter().filter(|line| !line.split(':').next().unwrap().contains("/tests"));
    let rule = "an event is read as the struct of its type (`Event::read`), or by what types share (`EventEvidence`)";
    nobody(of_code.collect(), rule);
}

#[test]
fn nobody_takes_an_error_of_the_store_apart_by_its_text() {
    let texts = [".to_string().contains(", ".to_string().starts_with(", ".to_string().to_lowercase("];
    let rooms = ["src/store", "src/engine", "src/http"];
    nobody(strangers(&texts, &rooms), "an error is told by its kind and its cause, not by its text");
}

#[test]
fn only_the_clock_reads_the_wall_clock() {
    nobody(
        trespassers(&["SystemTime::now", "Utc::now", "Local::now"], &["src/clock.rs"]),
        "only src/clock.rs reads the clock",
    );
}

#[test]
fn dates_and_zones_are_worked_out_in_one_place() {
    nobody(
        trespassers(&["chrono::", "chrono_tz"], &["src/domain/calendar"]),
        "chrono stays in domain/calendar.rs",
    );
}

#[test]
fn addresses_are_read_in_one_place() {
    let types = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "IpNet", "Ipv4Net", "Ipv6Net"];
    let of_std = ["to_canonical()", "to_ipv4_mapped()", "to_ipv4()"];
    // Where Keyward itself connects to, the spelling chooses the route, and nobody is judged by it; nor by the host
    // that a request calls, which must be spelled as it is listed.
    let rooms = [
        "src/domain/address.rs",
        "src/config/hosts.rs",
        "src/outbound/client.rs",
        "src/outbound/endpoint.rs",
        "src/forward/notify/email.rs",
    ];
    let reads = |line: &str| {
        let is_typed = types.iter().any(|name| line.contains(name));
        let parses = [".parse", "from_str"].iter().any(|word| line.contains(word));
        is_typed && parses || of_std.iter().any(|word| line.contains(word))
    };
    let mut found = Vec::new();
    for (name, text) in files("src", ".rs") {
        let is_room = rooms.contains(&name.as_str()) || name.contains("/tests");
        for (number, line) in code(&text).filter(|(_, line)| !is_room && reads(line)) {
            found.push(format!("{name}:{number}: {}", line.trim()));
        }
    }
    nobody(found, "src/domain/address.rs alone reads addresses and networks, so that each has one form");
}

#[test]
fn addresses_in_what_is_read_are_text() {
    let fields = ["IpAddr", "Ipv4Addr", "Ipv6Addr", "IpNet", "Ipv4Net", "Ipv6Net"]
        .map(|name| [format!(": {name},"), format!("<{name}>,")])
        .concat();
    // Networks that sinks may connect to: see `addresses_are_read_in_one_place`.
    let exempt = "src/forward/common.rs";
    for (name, text) in files("src", ".rs").into_iter().filter(|(name, _)| name != exempt) {
        let mut is_read = false;
        for (number, line) in code(&text) {
            is_read =
                if line.contains("derive(") { line.contains("Deserialize") } else { is_read && line != "}" };
            let holds = fields.iter().any(|field| line.contains(field.as_str()));
            assert!(
                !(is_read && holds),
                "{name}:{number}: read text, and let domain/address.rs parse it: {line}"
            );
        }
    }
}

#[test]
fn money_is_never_a_binary_fraction() {
    let rooms = [
        "src/domain/money.rs",
        "src/domain/price.rs",
        "src/domain/registry",
        "src/domain/usage",
        "src/domain/alert",
        "src/domain/day_comparison.rs",
        "src/domain/spend.rs",
        "src/engine/background/alerts.rs",
        "src/engine/background/spend",
        "src/intake/cost.rs",
        "src/pricing",
        "src/store/embedded/usage.rs",
        "src/store/redis/usage.rs",
    ];
    let in_rooms = |name: &str| rooms.iter().any(|room| name.starts_with(room));
    for (name, text) in files("src", ".rs").into_iter().filter(|(name, _)| in_rooms(name)) {
        for (number, line) in code(&text) {
            assert!(!["f32", "f64"].iter().any(|word| line.contains(word)), "{name}:{number}: {line}");
        }
    }
}

#[test]
fn scripts_take_their_time_and_keys_from_their_caller() {
    for (name, text) in files("migrations/redis", ".lua") {
        let is_part = name.contains("/parts/");
        assert!(
            text.starts_with("#!lua") != is_part,
            "{name}: #!lua comes first in a script (and not in a part), so that Redis refuses it whole when memory is \
             out"
        );
        for word in ["'TIME'", "\"TIME\"", "math.random", "\"SCAN\"", "\"KEYS\""] {
            assert!(!text.contains(word), "{name} uses {word}");
        }
        assert!(is_part || text.contains("#KEYS") && text.contains("#ARGV"), "{name} checks its arity");
    }
}

#[test]
fn every_file_says_what_it_is_for_and_none_grows_too_large() {
    for (name, text) in files("src", ".rs") {
        assert!(text.starts_with("//!"), "{name} starts with //!");
        let lines = code(&text).count();
        assert!(lines <= 400, "{name} has {lines} lines of code");
    }
    assert!(files("src", "main.rs")[0].1.lines().count() <= 40, "the door is small");
}

#[test]
fn every_detector_has_its_section_and_its_page() {
    let read =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (settings, page) = (read("config/default.toml"), read("docs/detection.md"));
    for kind in keyward::domain::finding::AnomalyKind::ALL {
        let section = format!("[policy.detectors.{}]", kind.detector());
        assert!(settings.contains(&section), "config/default.toml lacks {section}");
        let heading = format!("`{}`", kind.detector());
        assert!(page.contains(&heading), "docs/detection.md lacks {heading}");
        assert!(
            keyward::detect::all().iter().any(|d| d.kind == *kind),
            "src/detect/mod.rs lacks {}",
            kind.name()
        );
    }
}

/// Words that must not come back in a room as part of a name, with their plain form: the field's own term.
const PLAIN_WORDS: &[(&str, &[(&str, &str)])] = &[
    (
        "src",
        &[
            ("mend", "hint"),
            ("outlet", "sink"),
            ("rhythm", "seasonal_baseline"),
            ("surroundings", "context"),
            ("told", "sent, logged or reported"),
            ("untold", "unreported"),
        ],
    ),
    ("src/detect", &[("heard", "reported"), ("said", "reported"), ("verdict", "result")]),
    ("src/domain/profile", &[("heard", "reported")]),
    (
        "src/engine",
        &[
            ("acts", "operator_actions"),
            ("insurance", "fallback"),
            ("insure", "fall_back"),
            ("meter", "metrics"),
            ("newcomer", "new_subject"),
            ("trip", "observe"),
            ("verdicts", "reports"),
            ("witness", "trace"),
        ],
    ),
    (
        "src/forward",
        &[
            ("atlas", "cluster_metadata"),
            ("desk", "leader"),
            ("dial", "connect"),
            ("dialer", "connector"),
            ("garbled", "malformed"),
            ("heed", "handle"),
            ("lane", "queue"),
            ("link", "connection"),
            ("nature", "traits"),
            ("news", "log_changes"),
            ("owed", "to_retransmit"),
            ("parcel", "produce_request"),
            ("reach", "outbound"),
            ("receipt", "result"),
            ("shape", "encoder"),
            ("tail", "unconfirmed"),
        ],
    ),
    ("src/forward/sink", &[("verdict", "outcome")]),
    ("src/explain", &[("verdicts", "reports")]),
    ("src/outbound", &[("reach", "connect")]),
];

/// Rooms in which a word that was given up elsewhere still stands.
const NOT_YET: &[(&str, &[&str])] =
    &[("told", &["src/domain", "src/engine/decide/repeated.rs", "src/intake/wire.rs", "src/pricing"])];

/// `text` without comments and texts, line by line.
fn without_words(text: &str) -> Vec<String> {
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let skipped = word_length(rest, kept.chars().next_back());
        if skipped == 0 {
            kept.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            kept.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
            kept.push(' ');
            rest = &rest[skipped..];
        }
    }
    kept.lines().map(str::to_owned).collect()
}

/// How many bytes the comment, text or character at the beginning of `rest` has; 0 if there is none.
fn word_length(rest: &str, before: Option<char>) -> usize {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    let in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    let hashes = rest
        .trim_start_matches('b')
        .strip_prefix('r')
        .map(|raw| raw.len() - raw.trim_start_matches('#').len());
    if let Some(hashes) = hashes.filter(|_| !in_name) {
        let start =
            rest.find('"').filter(|start| rest[..*start].trim_start_matches(['b', 'r', '#']).is_empty());
        if let Some(start) = start {
            return until(start + 1, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if let Some(text) = rest.strip_prefix('"') {
        let mut escaped = false;
        let ends = |c: char| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        };
        return text.find(ends).map_or(rest.len(), |end| end + 2);
    }
    match rest.strip_prefix('\'') {
        Some(character) if character.starts_with('\\') => until(3, "'"),
        Some(character) => {
            let one = character.chars().next().map_or(0, char::len_utf8);
            if character[one..].starts_with('\'') { one + 2 } else { 0 }
        }
        None => 0,
    }
}

/// A name in snake case, between underscores, so that each of its words is.
fn snake(name: &str) -> String {
    let mut snake = "_".to_owned();
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && !before.is_uppercase() && before != '_' {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
        before = c;
    }
    snake + "_"
}

/// Whether `word`, or its plural, is one of the words of a name in snake case.
fn holds(snake: &str, word: &str) -> bool {
    snake.match_indices(word).any(|(at, _)| {
        let rest = &snake[at + word.len()..];
        snake[..at].ends_with('_') && (rest.starts_with('_') || rest.starts_with("s_"))
    })
}

#[test]
fn words_that_were_given_up_do_not_come_back() {
    assert!(holds(&snake("LastOutlets"), "outlet") && !holds(&snake("outlets_2b"), "let"));
    let stands = |word: &str, file: &str| {
        NOT_YET.iter().any(|(w, rooms)| *w == word && rooms.iter().any(|room| file.starts_with(room)))
    };
    let mut found = Vec::new();
    for (file, text) in files("src", ".rs") {
        let rooms = PLAIN_WORDS.iter().filter(|(room, _)| file.starts_with(&format!("{room}/")));
        let words: Vec<_> =
            rooms.flat_map(|(_, words)| *words).filter(|(word, _)| !stands(word, &file)).collect();
        let path = file.trim_end_matches(".rs").split('/').map(|part| (0, part.to_owned()));
        let lines = without_words(&text);
        let code = lines.iter().enumerate().flat_map(|(n, line)| {
            let names =
                line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty());
            names.map(move |name| (n + 1, name.to_owned()))
        });
        for (line, name) in path.chain(code) {
            let snake = snake(&name);
            let given_up = words.iter().filter(|(word, _)| holds(&snake, word));
            found.extend(given_up.map(|(_, plain)| format!("{file}:{line}: {name}; say {plain}")));
        }
    }
    nobody(found, "names have the field's own terms");
}
