//! Behaviour as data: each file below is a story about one key, told in its own words, run through the production
//! engine on event time, and held against what the file expects. `format` says what a file may hold, `stage` makes
//! requests of it, `run` plays it, `verdict` compares.
//!
//! To add a story, add a file; nothing is to be registered. A file that expects nothing is a failure.

mod format;
mod run;
mod stage;
mod verdict;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
};

use format::Scenario;
use keyward::simulate::{archetypes, attacks};

/// The stories of a chapter, by file name.
fn chapter(name: &str) -> Vec<(String, Scenario)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/scenarios").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: &PathBuf| {
        let file = format!("{name}/{}", path.file_name().unwrap().to_string_lossy());
        let text = std::fs::read_to_string(path).unwrap();
        let scenario = toml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        (file, scenario)
    };
    files.iter().map(read).collect()
}

/// Plays every story of a chapter and reports all that did not go as told.
fn play(name: &str) {
    let stories = Mutex::new(chapter(name));
    let failures = Mutex::new(Vec::new());
    assert!(!stories.lock().unwrap().is_empty());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some((file, scenario)) = stories.lock().unwrap().pop() else { return };
                    for failure in run::failures(&file, &scenario) {
                        failures.lock().unwrap().push(format!("{file}: {failure}"));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn every_attack_is_found_and_answered_as_told() {
    play("attacks");
}

#[test]
fn the_ladder_grows_and_people_have_the_last_word() {
    play("ladder");
}

#[test]
fn rightful_keys_are_left_in_peace() {
    play("benign");
}

#[test]
fn every_story_says_what_it_is_about_and_expects_something() {
    for name in ["attacks", "ladder", "benign"] {
        for (file, scenario) in chapter(name) {
            assert!(
                scenario.about.split_whitespace().count() >= 4,
                "{file}: say in a sentence what it is about"
            );
            assert!(scenario.expects_something(), "{file} expects nothing");
        }
    }
}

#[test]
fn every_attack_and_every_archetype_has_a_story() {
    let told: BTreeSet<String> = chapter("attacks").into_iter().filter_map(|(_, s)| s.attack).collect();
    let missing: Vec<_> = attacks::ALL.iter().map(|a| a.name).filter(|name| !told.contains(*name)).collect();
    assert!(missing.is_empty(), "no story in attacks/ for {missing:?}");
    let lived: BTreeSet<String> =
        chapter("benign").into_iter().filter_map(|(_, s)| s.generate).map(|g| g.archetype).collect();
    let missing: Vec<_> =
        archetypes::ALL.iter().map(|a| a.name).filter(|name| !lived.contains(*name)).collect();
    assert!(missing.is_empty(), "no story in benign/ for {missing:?}");
}
