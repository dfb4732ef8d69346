//! What each view looks like to a browser, and to whoever cannot see it.

use serde_json::{Value, json};

use super::{Browser, Served, VIEWS, with_a_thief};

/// What `scripts/clients` has put there.
fn axe() -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("clients/node/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("{} is needed: run scripts/clients", path.display()))
}

/// Addresses that the page asked for beyond its own origin.
const ELSEWHERE: &str = "return performance.getEntriesByType('resource').map((entry) => entry.name)
    .filter((name) => !name.startsWith(location.origin + '/'));";

/// How much wider than the window the page is, in pixels.
pub(super) const OVERFLOW: &str = "return document.documentElement.scrollWidth - window.innerWidth;";

/// What axe-core holds to be serious or worse: its rule, and the first element that breaks it.
const SERIOUS: &str = "const found = await axe.run();
    return found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
        .map((one) => `${one.id}: ${one.nodes[0].html}`);";

fn paths() -> impl Iterator<Item = &'static str> {
    VIEWS.into_iter().chain(["/ui/subjects/key:nightly-report", "/ui/subjects/ip:192.0.2.0%2F24"])
}

#[tokio::test]
async fn every_view_fits_a_wide_window_in_light_and_nothing_serious_is_wrong_with_it() {
    fits((1280, 900), "light").await;
}

#[tokio::test]
async fn every_view_fits_a_wide_window_in_dark_and_nothing_serious_is_wrong_with_it() {
    fits((1280, 900), "dark").await;
}

#[tokio::test]
async fn every_view_fits_a_narrow_window_in_dark_and_nothing_serious_is_wrong_with_it() {
    fits((360, 740), "dark").await;
}

async fn fits(size: (u32, u32), scheme: &str) {
    let directory = tempfile::tempdir().unwrap();
    let served = with_a_thief(directory.path()).await;
    let (browser, axe) = (Browser::start(&[]).await, axe());
    browser.look(size, scheme).await;
    for path in paths() {
        browser.open(&format!("{}{path}", served.url)).await;
        let view = format!("{path} at {size:?}, {scheme}");
        assert_eq!(browser.run(ELSEWHERE, Value::Null).await, json!([]), "{view}");
        let wider = browser.run(OVERFLOW, Value::Null).await;
        assert!(wider.as_i64().unwrap() <= 0, "{view} is {wider} px too wide");
        let serious = browser.run(&format!("{axe}\n{SERIOUS}"), Value::Null).await;
        assert_eq!(serious, json!([]), "{view}");
    }
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_dark_page_is_dark() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let browser = Browser::start(&[]).await;
    let ground =
        "const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);
        return (r + g + b) / 3;";
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        browser.look((800, 600), scheme).await;
        browser.open(&format!("{}/ui", served.url)).await;
        let mean = browser.run(ground, Value::Null).await.as_f64().unwrap();
        assert_eq!(mean < 128.0, is_dark, "{scheme}: {mean}");
    }
}

#[tokio::test]
async fn times_are_shown_in_the_zone_of_whoever_looks_with_utc_at_hand() {
    let directory = tempfile::tempdir().unwrap();
    let served = with_a_thief(directory.path()).await;
    let browser = Browser::start(&[]).await;
    browser.devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": "Asia/Tokyo" })).await;
    browser.open(&format!("{}/ui/events", served.url)).await;
    let both = "const time = document.querySelector('td.when time');
        return { hour: new Date(time.dateTime).getUTCHours(), title: time.title, text: time.textContent };";
    let shown = browser.run(both, Value::Null).await;
    assert!(shown["title"].as_str().unwrap().ends_with(" UTC"), "{shown}");
    let tokyo = (shown["hour"].as_u64().unwrap() + 9) % 24;
    assert!(shown["text"].as_str().unwrap().contains(&format!("{tokyo:02}:")), "{shown}");
}
