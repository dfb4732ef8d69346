//! The walls of the house: which room may know what, and what every file must have.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

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
    let words = ["tokio", "redis::", "rusqlite", "axum", ".await", "async fn", "Instant::", "SystemTime"];
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
    up(&["crate::engine", "crate::http", "crate::app", "crate::cli"], &["src/forward"]);
    up(&["crate::detect", "crate::store", "crate::config"], &["src/forward/format"]);
    up(&["crate::forward"], &["src/domain", "src/detect", "src/store"]);
    up(&["crate::explain", "crate::http", "crate::app", "crate::cli"], &["src/engine"]);
    up(&["crate::replay", "crate::http", "crate::app", "crate::cli"], &["src/explain"]);
    up(&["crate::app", "crate::cli"], &["src/http"]);
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
fn forwarding_reads_the_log_and_keeps_the_state_of_sinks_and_can_write_nothing_else() {
    let wide = ["dyn Store", "StandingStore", "EventWriter", "DocumentStore", "CounterStore", "impl Store"];
    nobody(strangers(&wide, &["src/forward"]), "src/forward holds the store as a ForwardStore");
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
        trespassers(&["SystemTime::now", "Timestamp::now"], &["src/clock.rs"]),
        "only src/clock.rs reads the clock",
    );
}

#[test]
fn money_is_never_a_binary_fraction() {
    let rooms = [
        "src/domain/money.rs",
        "src/domain/price.rs",
        "src/domain/registry",
        "src/domain/usage.rs",
        "src/domain/alert.rs",
        "src/domain/spend.rs",
        "src/engine/alerts.rs",
        "src/engine/spend.rs",
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
            "{name}: #!lua comes first in a script (and not in a part), so that Redis refuses it whole when memory is out"
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
