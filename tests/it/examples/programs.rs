//! The programs that the examples are for, each with its example, in a folder of its own and on a free port.
//!
//! As with Redis they are children of a shell that ends them when the pipe to this process closes.

use std::{
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Child, Command},
};

use tempfile::TempDir;

use super::pages::{MIDDLEWARE, README, block};
use crate::{
    children::{libraries, provided, watched},
    clients,
    redis_server::free_port,
    support::eventually,
};

/// Where the examples look for Keyward.
const DOCUMENTED: &str = "http://127.0.0.1:8080";

/// An example of the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Example {
    Python,
    Node,
    Nginx,
    Envoy,
}

/// What an example is put between.
pub(super) struct Around<'a> {
    /// Port of the service.
    pub keyward: u16,
    /// Port of the application, where the example is none of its parts.
    pub application: u16,
    /// What happens while the service does not answer.
    pub without: Without,
    /// The folder that the program runs in.
    pub directory: &'a Path,
}

/// What an example does while the service does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    /// It lets requests pass after the documented deadline.
    Open,
    /// It refuses them after the documented deadline.
    Closed,
    /// It waits for ten seconds, so that a machine that compiles meanwhile is not taken for a service that is away.
    Patience,
}

impl Around<'_> {
    fn is_open(&self) -> bool {
        self.without != Without::Closed
    }
}

/// A running program; it ends when this is dropped, or when the process ends.
pub(super) struct Program {
    pub url: String,
    /// Its folder.
    pub directory: TempDir,
    /// Whether it logs what is reported, instead of reporting it.
    logs: bool,
    watchdog: Child,
}

impl Example {
    /// Whether it stands before the application, in a program of its own.
    pub(super) fn is_proxy(self) -> bool {
        matches!(self, Self::Nginx | Self::Envoy)
    }

    /// Starts the program and waits until it listens. The folder may have been made for the application.
    pub(super) async fn start(
        self,
        keyward: u16,
        application: u16,
        without: Without,
        directory: TempDir,
    ) -> Program {
        let port = free_port();
        let around = Around { keyward, application, without, directory: directory.path() };
        let mut command = watched(directory.path(), if self == Self::Nginx { "TERM" } else { "KILL" });
        match self {
            Self::Python => python(&around, port, &mut command),
            Self::Node => node(&around, port, &mut command),
            Self::Nginx => nginx(&around, port, &mut command),
            Self::Envoy => envoy(&around, port, &mut command),
        }
        let watchdog = command.spawn().unwrap();
        let program =
            Program { url: format!("http://127.0.0.1:{port}"), directory, logs: self.is_proxy(), watchdog };
        eventually(&format!("{self:?} listens"), async || {
            assert!(!program.has_ended(), "{self:?} ended: {}", program.said());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        program
    }
}

impl Program {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// What it wrote to its outputs and to its log of errors.
    pub(super) fn said(&self) -> String {
        self.read("said") + &self.read("error.log")
    }

    fn has_ended(&self) -> bool {
        self.directory.path().join("ended").exists()
    }

    /// Whether the application has a request that it will not answer.
    pub(super) fn hangs(&self) -> bool {
        self.directory.path().join("hanging").exists()
    }

    /// Sends what is logged, by the documented script; the others send by themselves.
    pub(super) fn report(&self) {
        if self.logs {
            let log = self.directory.path().join("keyward.jsonl");
            let mut script = Command::new("sh");
            script.arg(self.directory.path().join("keyward-report")).arg(log).arg(self.read("pid").trim());
            assert!(script.status().unwrap().success(), "the log is sent");
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// How the examples name the service, and where it is.
fn moved(around: &Around) -> (&'static str, String) {
    (DOCUMENTED, format!("http://127.0.0.1:{}", around.keyward))
}

/// The line that says what happens while the service does not answer.
fn fails(around: &Around) -> (&'static str, String) {
    ("FAIL_OPEN = true", format!("FAIL_OPEN = {}", around.is_open()))
}

/// The deadline of a check, in its place; it stays as documented unless there is to be patience.
fn deadline(around: &Around, documented: &'static str, patient: &str) -> (&'static str, String) {
    let patience = around.without == Without::Patience;
    (documented, if patience { patient } else { documented }.to_owned())
}

fn write(around: &Around, name: &str, text: &str) {
    std::fs::write(around.directory.join(name), text).unwrap();
}

fn here(around: &Around, name: &str) -> String {
    around.directory.join(name).display().to_string()
}

/// The option of a client that says what happens while the service does not answer.
fn option(around: &Around, named: &'static str, refuses: &str) -> (&'static str, String) {
    (named, if around.is_open() { named } else { refuses }.to_owned())
}

fn python(around: &Around, port: u16, command: &mut Command) {
    let changes = [
        moved(around),
        option(around, "fail_open=True", "fail_open=False"),
        deadline(around, "timeout=0.2", "timeout=10"),
    ];
    write(around, "example.py", &block(README, "## Behind your API", "python", &changes));
    write(around, "application.py", include_str!("application.py"));
    command.arg(clients::provided("venv/bin/python")).args(["-m", "uvicorn", "--lifespan", "off"]);
    command.args(["--port", &port.to_string(), "example:app"]);
}

fn node(around: &Around, port: u16, command: &mut Command) {
    let changes = [
        moved(around),
        option(around, "failOpen: true", "failOpen: false"),
        deadline(around, "timeout: 200", "timeout: 10_000"),
        ("listen(3000", format!("listen({port}")),
    ];
    write(around, "example.mjs", &block(MIDDLEWARE, "## Node", "js", &changes));
    write(around, "routes.mjs", include_str!("routes.mjs"));
    symlink(clients::provided("node/node_modules"), around.directory.join("node_modules")).unwrap();
    command.args(["node", "example.mjs"]);
}

fn nginx(around: &Around, port: u16, command: &mut Command) {
    let script = ("/etc/nginx/keyward.js", here(around, "keyward.js"));
    let log = ("/var/log/nginx/keyward.jsonl", here(around, "keyward.jsonl"));
    let application = ("127.0.0.1:3000", format!("127.0.0.1:{}", around.application));
    let listen = ("listen 80 default_server;", format!("listen 127.0.0.1:{port} default_server;"));
    let folded = ("listen [::]:80 default_server;", String::new());
    write(around, "keyward.js", &block(MIDDLEWARE, "## nginx", "js", &[moved(around), fails(around)]));
    let example = block(
        MIDDLEWARE,
        "## nginx",
        "nginx",
        &[
            script,
            log,
            application,
            listen,
            folded,
            deadline(around, "js_fetch_timeout 200ms", "js_fetch_timeout 10s"),
        ],
    );
    write(around, "keyward.conf", &example);
    let module =
        provided("middleware", "nginx/usr/lib/nginx/modules/ngx_http_js_module.so").display().to_string();
    write(around, "nginx.conf", &include_str!("nginx.conf").replace("MODULE", &module));
    write_report(around);
    command
        .env("LD_LIBRARY_PATH", libraries(&provided("middleware", "nginx")))
        .arg(provided("middleware", "nginx/usr/sbin/nginx"));
    command.args(["-p", &here(around, ""), "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]);
}

fn envoy(around: &Around, port: u16, command: &mut Command) {
    let script = ("/etc/envoy/keyward.lua", here(around, "keyward.lua"));
    let log = ("/var/log/envoy/keyward.jsonl", here(around, "keyward.jsonl"));
    let application = ("port_value: 3000", format!("port_value: {}", around.application));
    let keyward = ("port_value: 8080", format!("port_value: {}", around.keyward));
    let listen = ("address: 0.0.0.0, port_value: 80 ", format!("address: 127.0.0.1, port_value: {port} "));
    write(
        around,
        "keyward.lua",
        &block(
            MIDDLEWARE,
            "## Envoy",
            "lua",
            &[fails(around), deadline(around, "most), 200)", "most), 10000)")],
        ),
    );
    // The longer one first: the number of the shorter one begins it.
    let changes = [script, log, application, keyward, listen];
    write(around, "envoy.yaml", &block(MIDDLEWARE, "## Envoy", "yaml", &changes));
    write_report(around);
    command.arg(provided("middleware", "venv/bin/envoy")).args([
        "-c",
        "envoy.yaml",
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]);
    command.args(["--log-level", "warn", "--file-flush-interval-msec", "100"]);
}

/// The script that sends what nginx and Envoy have logged.
fn write_report(around: &Around) {
    write(around, "keyward-report", &block(MIDDLEWARE, "## nginx", "sh", &[moved(around)]));
}
