//! The service as a whole: in this process, and as the binary that people run.

mod backtest;
mod demo;
mod doors;
mod durability;
mod exit_codes;
mod explain;
mod import;
mod lifecycle;
mod operator;
mod report;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use reqwest::Client;

use keyward::clock;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The binary, without anything that the environment of the test run may say.
pub(crate) fn keyward(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYWARD") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(arguments);
    command
}

/// Exit code, standard output, standard error.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A client that asks no proxy and needs no certificates.
pub(crate) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().tls_certs_only([]).timeout(DEADLINE).build().unwrap()
}

/// A served binary; killed when it is dropped.
pub(crate) struct Served {
    child: Child,
    /// Reads its standard error until the end, so that the service never waits for a full pipe.
    reader: Option<JoinHandle<String>>,
    /// Where it listens.
    pub url: String,
}

impl Served {
    /// Starts `keyward serve` over a data directory, on a port that the system chooses, and waits until it listens.
    pub(crate) fn start(directory: &Path) -> Self {
        let store = format!("embedded:{}", directory.display());
        Self::start_with(&mut keyward(&["serve", "--listen", "127.0.0.1:0", "--store", &store]))
    }

    /// The same with a command of one's own.
    pub(crate) fn start_with(command: &mut Command) -> Self {
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut served = Self { child, reader: None, url: String::new() };
        let stderr = BufReader::new(served.child.stderr.take().unwrap());
        let (lines, said) = mpsc::channel();
        served.reader = Some(std::thread::spawn(move || {
            let mut all = String::new();
            for line in stderr.lines().map_while(Result::ok) {
                all.push_str(&line);
                all.push('\n');
                drop(lines.send(line));
            }
            all
        }));
        let mut seen = Vec::new();
        let until = clock::instant() + DEADLINE;
        while let Ok(line) = said.recv_timeout(until.saturating_duration_since(clock::instant())) {
            if let Some((_, url)) = line.split_once(" listens on ") {
                url.trim().clone_into(&mut served.url);
                return served;
            }
            seen.push(line);
        }
        panic!("the service did not start:\n{}", seen.join("\n"));
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.end().0
    }

    /// SIGTERM, how it ended, and all that it had said on standard error.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        (status, self.reader.take().unwrap().join().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
