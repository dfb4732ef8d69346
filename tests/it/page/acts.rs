//! What people do on the page: sign in, lift a ban, look at what comes, and go about it with the keyboard.

use serde_json::Value;

use super::{Browser, json, put, state, with_a_thief};
use crate::{
    app::{Served, keyward, run},
    browser,
};

/// A service with a token, and the token.
fn guarded(directory: &std::path::Path) -> (Served, String) {
    let made = ["token", "new", "--scope", "read", "--scope", "bans:write", "--id", "on-call", "--json"];
    let (code, printed, stderr) = run(&mut keyward(&made));
    assert_eq!(code, 0, "{stderr}");
    let made: Value = serde_json::from_str(&printed).unwrap();
    let (token, entry) = (made["token"].as_str().unwrap().to_owned(), &made["entry"]);
    let (hash, scopes) = (&entry["hash"], &entry["scopes"]);
    let entry = format!("[[auth.tokens]]\nid = \"on-call\"\nhash = {hash}\nscopes = {scopes}\n");
    let config = directory.join("keyward.toml");
    std::fs::write(&config, entry).unwrap();
    let store = format!("embedded:{}", directory.join("data").display());
    let mut command = keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store, "--config"]);
    (Served::start_with(command.arg(&config)), token)
}

async fn text(browser: &Browser, selector: &str) -> String {
    let read = format!("return document.querySelector('{selector}')?.textContent ?? '';");
    browser.run(&read, Value::Null).await.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn from_a_link_to_a_lifted_ban_takes_fewer_than_five_clicks() {
    let directory = tempfile::tempdir().unwrap();
    let served = with_a_thief(directory.path()).await;
    let browser = Browser::start(&[]).await;
    browser.open(&format!("{}/ui/subjects/key:nightly-report", served.url)).await;
    browser.click("details[data-key=l] summary").await;
    browser.type_into("details[data-key=l] input[name=reason]", "rotated by its owner").await;
    browser.click("details[data-key=l] button").await;
    browser.wait_for("document.querySelector('.notice.good') !== null").await;
    assert_eq!(state(&served, "key:nightly-report").await, "clear");
    assert!(text(&browser, "h1 .badge").await.contains("clear"));
    let address = browser.run("return location.search;", Value::Null).await;
    assert_eq!(address, "", "loaded again, it does not say so again");
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn one_signs_in_with_a_token_and_goes_on_to_where_one_was_going() {
    let directory = tempfile::tempdir().unwrap();
    let (served, token) = guarded(directory.path());
    let browser = Browser::start(&[]).await;
    browser.open(&format!("{}/ui/subjects/key:a", served.url)).await;
    assert_eq!(text(&browser, "h1").await, "Sign in");
    browser.type_into("input[name=token]", &token).await;
    browser.click("button").await;
    browser
        .wait_for("location.pathname === '/ui/subjects/key:a' && document.querySelector('.who') !== null")
        .await;
    assert!(text(&browser, ".who").await.contains("on-call"));
    let cookie = browser.run("return document.cookie;", Value::Null).await;
    assert_eq!(cookie, "", "no script reads the session");
    browser.click(".who button").await;
    browser.wait_for("location.pathname === '/ui/sign-in'").await;
    browser.open(&format!("{}/ui", served.url)).await;
    assert_eq!(text(&browser, "h1").await, "Sign in");
}

#[tokio::test]
async fn what_happens_comes_into_the_live_list_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let browser = Browser::start(&[]).await;
    browser.open(&format!("{}/ui", served.url)).await;
    browser.wait_for("document.getElementById('live-state').textContent === 'live'").await;
    put(&served, "/v1/bans/key:late", json!({ "duration_seconds": 60, "reason": "<b>leaked</b>" })).await;
    browser.wait_for("document.querySelector('#live tr a.id')?.textContent === 'key:late'").await;
    assert!(text(&browser, "#live tr .why").await.contains("<b>leaked</b>"), "what others wrote is text");
    browser.click("#live-pause").await;
    put(&served, "/v1/bans/key:later", json!({ "duration_seconds": 60, "reason": "x" })).await;
    browser.wait_for("document.getElementById('live-state').textContent === 'paused, 1 new'").await;
    assert_eq!(text(&browser, "#live tr a.id").await, "key:late");
    browser.click("#live-pause").await;
    browser.wait_for("document.querySelector('#live tr a.id')?.textContent === 'key:later'").await;
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn the_keyboard_goes_through_rows_and_opens_what_can_be_done() {
    let directory = tempfile::tempdir().unwrap();
    let served = with_a_thief(directory.path()).await;
    let browser = Browser::start(&[]).await;
    browser.open(&format!("{}/ui/bans", served.url)).await;
    let press = async |key: &str| {
        let send = "const event = new KeyboardEvent('keydown', { key: argument, bubbles: true });
            document.activeElement.dispatchEvent(event);";
        browser.run(send, key.into()).await;
    };
    press("j").await;
    press("j").await;
    let chosen = "return document.querySelector('tr.chosen').rowIndex;";
    assert_eq!(browser.run(chosen, Value::Null).await, 2);
    press("k").await;
    assert_eq!(browser.run(chosen, Value::Null).await, 1);
    let focused = "return document.activeElement.getAttribute('href');";
    assert!(browser.run(focused, Value::Null).await.as_str().unwrap().starts_with("/ui/subjects/"));
    press("?").await;
    assert_eq!(browser.run("return document.getElementById('keys').open;", Value::Null).await, true);
    browser.run("document.getElementById('keys').close();", Value::Null).await;
    press("b").await;
    assert_eq!(browser.run("return document.activeElement.name;", Value::Null).await, "subject");
    press("j").await;
    assert_eq!(browser.run(chosen, Value::Null).await, 1, "what is typed is no command");
}

#[tokio::test]
async fn every_act_works_without_scripts() {
    let directory = tempfile::tempdir().unwrap();
    let served = with_a_thief(directory.path()).await;
    let browser = browser::Browser::start(&["--blink-settings=scriptEnabled=false"]).await;
    browser.open(&format!("{}/ui/subjects/key:nightly-report", served.url)).await;
    browser.click("details[data-key=l] summary").await;
    browser.type_into("details[data-key=l] input[name=reason]", "rotated").await;
    browser.click("details[data-key=l] button").await;
    crate::support::eventually("it is lifted", async || {
        state(&served, "key:nightly-report").await == "clear"
    })
    .await;
}
