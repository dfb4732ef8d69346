//! The operator's door against a real browser: pages of other origins, a page whose name is led to the service, and the
//! service's own page.

mod wire;

use std::net::SocketAddr;

use axum::{Router, http::header, response::Html};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use self::wire::Wire;
use crate::{
    app::{Served, client},
    browser::Browser,
    support::eventually,
};

const ATTACK: &str = include_str!("attack.js");

/// A web server of somebody else's. It gives every path the same page, and ends each connection.
struct Stranger {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Stranger {
    async fn on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let page = (
            [(header::CONNECTION, "close"), (header::SERVER, "stranger")],
            Html("<title>Hello</title><body>"),
        );
        let router = Router::new().fallback(async move || page);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, serving }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn address(served: &Served) -> SocketAddr {
    served.url.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn get(served: &Served, path: &str) -> Value {
    let answer = client().get(format!("{}{path}", served.url)).send().await.unwrap();
    answer.error_for_status().unwrap().json().await.unwrap()
}

/// Nothing is banned, nothing was counted, and nothing happened.
async fn assert_untouched(served: &Served) {
    for path in ["/v1/bans", "/v1/events", "/v1/usage"] {
        let page = get(served, path).await;
        let items = page.get("items").or_else(|| page.get("rows")).and_then(Value::as_array);
        assert!(items.unwrap_or_else(|| panic!("{path}: {page}")).is_empty(), "{path}: {page}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_neither_bans_nor_counts_nor_reads() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let (beside, elsewhere) = (Stranger::on("127.0.0.1:0").await, Stranger::on("127.0.0.2:0").await);
    let browser = Browser::start(&[]).await;
    for origin in [
        format!("http://{}", beside.address),
        format!("http://evil.localhost:{}", beside.address.port()),
        format!("http://{}", elsewhere.address),
    ] {
        let wire = Wire::to(address(&served)).await;
        browser.open(&origin).await;
        let read = browser.run(ATTACK, format!("http://127.0.0.1:{}", wire.port).into()).await;
        for (how, what) in read.as_object().unwrap() {
            assert_eq!(*what, Value::Null, "{how} from {origin}");
        }
        // The browser does send what needs no leave: that nothing came of it is the service's doing.
        let ban = "POST /v1/bans/ip:0.0.0.0%2F0";
        for sent in [ban, "POST /v1/record", "POST /v1/record/batch", "GET /v1/bans", "GET /metrics"] {
            eventually(sent, async || wire.requests().iter().any(|request| request == sent)).await;
        }
        eventually("all is answered", async || wire.statuses().len() >= wire.requests().len()).await;
        assert!(wire.requests().iter().all(|line| !line.starts_with("PUT ") && !line.starts_with("DELETE ")));
        assert!(
            wire.statuses().iter().all(|status| *status == 403),
            "{:?} {:?}",
            wire.requests(),
            wire.statuses()
        );
    }
    assert_untouched(&served).await;
}

#[tokio::test]
async fn a_page_whose_name_is_led_to_the_service_is_answered_with_421() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let stranger = Stranger::on("127.0.0.1:0").await;
    let wire = Wire::to(stranger.address).await;
    let browser = Browser::start(&["--host-resolver-rules=MAP evil.example 127.0.0.1"]).await;
    browser.open(&format!("http://evil.example:{}/", wire.port)).await;
    wire.lead_to(address(&served));
    // A connection that was opened in time still leads to the stranger: the page, too, tries until it is through.
    let through = "for (;;) {
        const answer = await fetch(argument.path, argument.options);
        if (answer.headers.get('server') !== 'stranger') return { status: answer.status, text: await answer.text() };
    }";
    let ban = json!({ "duration_seconds": null, "reason": "by a page", "force": true }).to_string();
    let put = json!({ "method": "PUT", "headers": { "content-type": "application/json" }, "body": ban });
    for (path, options) in [
        ("/v1/bans/ip:0.0.0.0%2F0", put),
        ("/v1/bans/ip:0.0.0.0%2F0", json!({ "method": "DELETE" })),
        ("/v1/bans", json!({})),
    ] {
        let answer = browser.run(through, json!({ "path": path, "options": options })).await;
        assert_eq!(answer["status"], 421, "{answer}");
        assert!(answer["text"].as_str().unwrap().contains("server.hosts"), "{answer}");
    }
    assert_untouched(&served).await;
}

#[tokio::test]
async fn the_page_of_the_service_works_and_the_browser_has_nothing_to_complain_about() {
    let directory = tempfile::tempdir().unwrap();
    let served = Served::start(directory.path());
    let browser = Browser::start(&[]).await;
    browser.open(&format!("{}/docs", served.url)).await;
    browser.wait_for("document.querySelector('#operations-bans-list_bans') !== null").await;
    let click = async |what: &str| {
        let find = format!("document.querySelector('#operations-bans-list_bans {what}')");
        browser.wait_for(&format!("({find}?.click(), {find} !== null)")).await;
    };
    click(".opblock-summary-control").await;
    click(".try-out__btn").await;
    click("button.execute").await;
    let shown = "document.querySelector('#operations-bans-list_bans .live-responses-table tbody .response-col_status')";
    let status = browser.wait_for(&format!("{shown}?.innerText ?? null")).await;
    assert!(status.as_str().unwrap().starts_with("200"), "{status}");
    let ban = "const answer = await fetch('/v1/bans/key:a', { method: 'PUT',
        headers: { 'content-type': 'application/json' }, body: JSON.stringify({ duration_seconds: 60, reason: 'x' }) });
        return answer.status;";
    assert_eq!(browser.run(ban, Value::Null).await, 201, "its own origin may act");
    assert_eq!(browser.console().await, Vec::<String>::new());
    // The policy is in force: what it does not name is refused, and the console says so.
    let inline = "const script = document.createElement('script'); script.textContent = 'window.ran = true';
        document.body.append(script); return window.ran ?? null;";
    assert_eq!(browser.run(inline, Value::Null).await, Value::Null);
    let said = browser.console().await;
    assert!(said.iter().any(|line| line.contains("Content Security Policy")), "{said:?}");
}
