//! The service as a whole: in this process, and as the binary that people run.

mod backtest;
mod commands;
mod demo;
mod doors;
mod durability;
mod exit_codes;
mod explain;
mod import;
mod lifecycle;
mod operator;
mod reconcile;
mod reload;
mod report;
mod succession;
mod tokens;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
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
    // What is started without a store of its own keeps nothing in the home of whoever runs the tests.
    command.env("XDG_STATE_HOME", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
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
    /// The log from when it listens on: what was read of it, and what comes.
    log: Mutex<(Vec<String>, Receiver<String>)>,
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
        let (lines, said) = mpsc::channel();
        let mut served = Self { child, url: String::new(), log: Mutex::new((Vec::new(), said)) };
        let stderr = BufReader::new(served.child.stderr.take().unwrap());
        // Goes on reading until the end, so that the service never waits for a full pipe.
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line)))
        });
        let mut seen = Vec::new();
        let until = clock::instant() + DEADLINE;
        let next = |served: &mut Self| {
            let left = until.saturating_duration_since(clock::instant());
            served.log.get_mut().unwrap().1.recv_timeout(left)
        };
        while let Ok(line) = next(&mut served) {
            if let Some((_, url)) = line.split_once(" listens on ") {
                url.trim().clone_into(&mut served.url);
                return served;
            }
            seen.push(line);
        }
        panic!("the service did not start:\n{}", seen.join("\n"));
    }

    /// The lines of the log since it listens.
    pub(crate) fn log(&self) -> Vec<String> {
        let mut log = self.log.lock().unwrap();
        let (lines, coming) = &mut *log;
        lines.extend(coming.try_iter());
        lines.clone()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
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

    /// SIGTERM, how it ended, and the lines of the log since it listened.
    pub(crate) fn end(mut self) -> (ExitStatus, Vec<String>) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        let (lines, coming) = self.log.get_mut().unwrap();
        lines.extend(coming.iter());
        (status, std::mem::take(lines))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
