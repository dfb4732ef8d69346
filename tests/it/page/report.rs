//! The files that `--report` writes, in a real browser: they hold all that they show, and fit wherever they are read.

use std::path::Path;

use serde_json::{Value, json};

use super::views::OVERFLOW;
use crate::{
    app::{keyward, run},
    browser::Browser,
    support::{BUCHAREST, SINGAPORE},
};

/// A name of a file that is markup, where it is not escaped.
const HOSTILE: &str = "<img src=x onerror=alert(1)>.jsonl";

/// Everything that was fetched, scripts that are there, and whether the name of the input is text.
const FOUND: &str = "return { fetched: performance.getEntriesByType('resource').map((entry) => entry.name),
    scripts: document.scripts.length, images: document.images.length, title: document.title,
    text: document.querySelector('.lead').textContent, tables: document.querySelectorAll('table').length };";

fn file_url(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A key at home in Singapore that turns up in Bucharest, on three days.
fn traveller() -> String {
    let record = |(n, source_ip): (usize, &str)| {
        let record = json!({
            "key_id": "a", "endpoint": "/v1/chat", "source_ip": source_ip, "tokens_used": 10,
            "timestamp": format!("2026-03-0{}T09:0{}:00Z", 2 + n / 3, n % 3), "request_id": format!("r-{n}"),
        });
        format!("{record}\n")
    };
    let places = [SINGAPORE, BUCHAREST, BUCHAREST].repeat(3);
    places.into_iter().enumerate().map(record).collect()
}

/// Runs a command in the directory, which makes `report.html`.
fn make(directory: &Path, arguments: &[&str]) {
    let (code, _, words) = run(keyward(arguments).current_dir(directory));
    assert_eq!(code, 0, "{words}");
}

#[tokio::test]
async fn a_report_holds_all_that_it_shows_and_fits_in_light_and_dark_wide_and_narrow() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    file(HOSTILE, &traveller());
    file("strict.toml", "[policy]\npreset = 'strict'\n");
    file("balanced.toml", "[policy]\npreset = 'balanced'\n");
    let replay =
        ["replay", "--input", HOSTILE, "--policy", "strict.toml", "--compare", "balanced.toml", "--report"];
    make(directory.path(), &[&replay[..], &["replay.html"]].concat());
    let simulate = ["simulate", "--score", "--days", "3", "--keys", "1", "--attacks", "1", "--rate", "0.1"];
    make(directory.path(), &[&simulate[..], &["--report", "score.html"]].concat());
    let browser = Browser::start(&[]).await;
    for (size, scheme) in [((1280, 900), "light"), ((360, 740), "dark")] {
        browser.look(size, scheme).await;
        for (name, title) in
            [("replay.html", "Replay - Keyward"), ("score.html", "Score of the detectors - Keyward")]
        {
            browser.open(&file_url(&directory.path().join(name))).await;
            let found = browser.run(FOUND, Value::Null).await;
            let where_ = format!("{name} at {size:?}, {scheme}: {found}");
            assert_eq!(found["title"], title, "{where_}");
            assert_eq!(
                (&found["fetched"], &found["scripts"], &found["images"]),
                (&json!([]), &json!(0), &json!(0)),
                "{where_}"
            );
            assert!(found["tables"].as_u64().unwrap() >= 4, "{where_}");
            assert!(name != "replay.html" || found["text"].as_str().unwrap().contains(HOSTILE), "{where_}");
            let wider = browser.run(OVERFLOW, Value::Null).await;
            assert!(wider.as_i64().unwrap() <= 0, "{where_} is {wider} px too wide");
        }
    }
    assert_eq!(browser.console().await, Vec::<String>::new());
}
