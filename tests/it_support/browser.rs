//! A real browser: Chromium without a window, driven over the WebDriver protocol (W3C) by chromedriver.
//!
//! Each browser has a profile of its own, which is empty, and ends when it is dropped. Where the test process ends
//! without that, a shell that waits for the end of its input kills what was started.
#![allow(dead_code, reason = "not every test binary uses every part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use keyward::clock;

/// How long anything in the browser may take, on a machine that compiles meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const NEEDED: &str = "chromedriver and Chromium are needed: install the packages chromium and chromium-driver, or run \
                      scripts/test";

/// Flags of Chromium: no window, no sandbox (which root cannot have), and nobody called but the pages of a test.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with one tab.
pub(crate) struct Browser {
    driver: Driver,
    client: Client,
    session: String,
    /// Kept as long as the browser may write there.
    profile: TempDir,
}

impl Browser {
    /// Starts one, with more flags of Chromium.
    pub(crate) async fn start(more: &[&str]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let own = format!("--user-data-dir={}", profile.path().display());
        let flags: Vec<&str> = FLAGS.into_iter().chain([own.as_str()]).chain(more.iter().copied()).collect();
        let mut browser = Self { driver: Driver::start(), client, session: String::new(), profile };
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": PATIENCE.as_millis() },
        } } });
        let made = browser.call(Method::POST, "/session", &wanted).await;
        browser.session = format!("/session/{}", made["sessionId"].as_str().expect(NEEDED));
        browser
    }

    /// Opens an address and waits until its page has loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.command("/url", &json!({ "url": url })).await;
    }

    /// Runs the body of an asynchronous function in the page, with `argument`, and returns what it returns.
    pub(crate) async fn run(&self, body: &str, argument: Value) -> Value {
        let script = format!(
            "const done = arguments[1]; (async (argument) => {{ {body} }})(arguments[0])\
             .then((value) => done({{ value: value ?? null }}), (error) => done({{ error: String(error) }}));"
        );
        let answer = self.command("/execute/async", &json!({ "script": script, "args": [argument] })).await;
        assert!(answer.get("error").is_none(), "the page failed: {answer}");
        answer["value"].clone()
    }

    /// Waits until an expression is true in the page, and returns its value.
    pub(crate) async fn wait_for(&self, expression: &str) -> Value {
        let until = clock::instant() + PATIENCE;
        let body = format!("return {expression};");
        let mut polls = clock::ticks(Duration::from_millis(50));
        loop {
            polls.tick().await;
            let value = self.run(&body, Value::Null).await;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if clock::instant() > until {
                panic!("never so in the page: {expression}; the console says {:?}", self.console().await);
            }
        }
    }

    /// Calls a method of the Chrome DevTools Protocol.
    pub(crate) async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", &json!({ "cmd": method, "params": parameters })).await
    }

    /// Makes the window so large, in CSS pixels, and its pages light or dark.
    pub(crate) async fn look(&self, (width, height): (u32, u32), scheme: &str) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Clicks the element that a selector finds, as a person does: what covers it would be clicked instead.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.command(&format!("/element/{element}/click"), &json!({})).await;
    }

    /// Types into the element that a selector finds.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.command(&format!("/element/{element}/value"), &json!({ "text": text })).await;
    }

    async fn find(&self, selector: &str) -> String {
        let found = self.command("/element", &json!({ "using": "css selector", "value": selector })).await;
        let id = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        id.expect("an element has an id").to_owned()
    }

    /// What was written to the console since this was last asked: errors, warnings, and what the browser refused.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({ "type": "browser" })).await;
        let text = |entry: &Value| format!("{} {}", entry["level"], entry["message"]);
        entries.as_array().unwrap().iter().map(text).collect()
    }

    async fn command(&self, path: &str, body: &Value) -> Value {
        self.call(Method::POST, &format!("{}{path}", self.session), body).await
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.driver.port);
        let answer = self.client.request(method, url).json(body).send().await.unwrap();
        let (good, mut answer) = (answer.status().is_success(), answer.json::<Value>().await.unwrap());
        assert!(good, "{path}: {}", answer["value"]["message"]);
        answer["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            self.driver.end(&self.session);
        }
    }
}

/// A chromedriver, on a port that the system chose.
struct Driver {
    watchdog: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        // A session of its own, so that its whole group can be ended by its id. The shell outlives the signals that
        // end a test run, which reach it, too.
        const SCRIPT: &str =
            r#"setsid "$@" </dev/null & trap "" TERM INT HUP; read -r _; kill -s KILL -- "-$!"; wait $!"#;
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh", "chromedriver", "--port=0"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut watchdog = command.spawn().unwrap();
        let stdout = BufReader::new(watchdog.stdout.take().unwrap());
        let mut driver = Self { watchdog, port: 0 };
        let (lines, said) = mpsc::channel();
        // Goes on reading until the end, so that nobody waits for a full pipe.
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)))
        });
        let until = clock::instant() + PATIENCE;
        while let Ok(line) = said.recv_timeout(until.saturating_duration_since(clock::instant())) {
            if let Some((_, port)) = line.split_once("successfully on port ") {
                driver.port = port.trim_end_matches('.').parse().unwrap();
                return driver;
            }
        }
        panic!("{NEEDED}");
    }

    /// Closes a session, and so its browser. Where that fails, the end of the group has to do.
    fn end(&self, session: &str) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let head = format!("DELETE {session} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
        // The answer comes when the browser has ended; the connection is not closed then.
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.read(&mut [0; 1]));
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
