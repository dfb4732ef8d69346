//! A Redis server per test binary, on a free port, without anything on disk that outlives it.
//!
//! Servers are children of a shell that waits for the end of its input: the pipe closes when this process ends,
//! however it ends, and the shell then kills the server. Nothing is left over, also after a crash.
//! Another test binary includes this file with `#[path]`.
#![allow(dead_code, reason = "not every test binary uses every part")]
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::{
    hash::{BuildHasher, RandomState},
    io::Write,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use keyward::clock;

/// How long anything may take to come up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A running server; it ends when this is dropped, or when the process ends.
pub(crate) struct Server {
    /// Its port on 127.0.0.1.
    pub port: u16,
    watchdog: Child,
    /// Kept as long as the server may write there.
    directory: TempDir,
}

/// A server that is stopped in its tracks: its sockets are open and nobody answers. It goes on when this is dropped.
pub(crate) struct Paused {
    pid: String,
}

impl Drop for Paused {
    fn drop(&mut self) {
        signal("-CONT", &self.pid);
    }
}

impl Server {
    /// Starts `redis-server` with more arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on(free_port(), arguments)
    }

    /// The same on a port.
    pub(crate) fn start_on(port: u16, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let watchdog = watch(directory.path(), port, &on_disk_nothing(arguments));
        let server = Self { port, watchdog, directory };
        server.wait_until_it_answers();
        server
    }

    /// Starts a sentinel over `master`, with a quorum of one.
    pub(crate) fn sentinel(master: &str, master_port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sentinel.conf");
        let lines = format!("sentinel monitor {master} 127.0.0.1 {master_port} 1\n");
        std::fs::File::create(&path).unwrap().write_all(lines.as_bytes()).unwrap();
        let port = free_port();
        // Some packages leave the name `redis-sentinel` out; the program is the same.
        let watchdog = watch(directory.path(), port, &["sentinel.conf", "--sentinel"]);
        let server = Self { port, watchdog, directory };
        server.wait_until_it_answers();
        server
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Stops the process of the server (SIGSTOP) until what this returns is dropped.
    pub(crate) fn pause(&self) -> Paused {
        let info = self.cli(&["INFO", "server"]);
        let pid = info.lines().find_map(|line| line.trim().strip_prefix("process_id:")).unwrap().to_owned();
        signal("-STOP", &pid);
        Paused { pid }
    }

    /// Kills the server (SIGKILL); what it left in its directory stays.
    pub(crate) fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }

    /// Starts it again after [`Server::kill`], on the same port and directory.
    pub(crate) fn start_again(&mut self, arguments: &[&str]) {
        self.watchdog = watch(self.directory.path(), self.port, &on_disk_nothing(arguments));
        self.wait_until_it_answers();
    }

    /// Its working directory.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sends one command outside of the store and returns what the command line client prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits for this very server: on a port that somebody else took in between, somebody else would answer.
    fn wait_until_it_answers(&self) {
        let started = clock::instant();
        let pid_file = self.directory.path().join(PID_FILE);
        loop {
            let pid = std::fs::read_to_string(&pid_file).unwrap_or_default();
            let info = self.cli(&["INFO", "server"]);
            let answers =
                info.lines().any(|line| line.trim().strip_prefix("process_id:") == Some(pid.trim()));
            if answers && self.cli(&["PING"]) == "PONG" {
                return;
            }
            assert!(started.elapsed() < DEADLINE, "no server of ours on port {}", self.port);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that share the slots among them.
pub(crate) struct Cluster {
    /// They.
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Starts them and waits until each knows all slots.
    pub(crate) fn start() -> Self {
        let servers: Vec<Server> = (0..3).map(|_| Server::start(&["--cluster-enabled", "yes"])).collect();
        let addresses = servers.iter().map(|server| format!("127.0.0.1:{}", server.port));
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
        let started = clock::instant();
        while !servers.iter().all(|server| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok")) {
            assert!(started.elapsed() < DEADLINE, "not every node knows all slots");
        }
        Self { servers }
    }

    /// Its URL, which names two of them.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://127.0.0.1:{},127.0.0.1:{}", self.servers[0].port, self.servers[1].port)
    }
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success());
}

/// Where the process id of the server stands in its directory.
const PID_FILE: &str = "pid";

/// The arguments of a server that writes nothing to the disk unless `more` says so.
fn on_disk_nothing<'a>(more: &[&'a str]) -> Vec<&'a str> {
    ["--save", "", "--appendonly", "no"].into_iter().chain(more.iter().copied()).collect()
}

/// Starts `redis-server` under a shell that kills it when the pipe to this process closes.
fn watch(directory: &Path, port: u16, arguments: &[&str]) -> Child {
    const SCRIPT: &str = r#""$@" </dev/null >/dev/null 2>&1 & echo $! >pid; read -r _; kill -9 $!; wait $!"#;
    let _ = std::fs::remove_file(directory.join(PID_FILE));
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh", "redis-server"]).current_dir(directory);
    command.args(arguments).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A port that nobody has, below the ports of outgoing connections; its cluster bus, 10000 higher, is free too.
///
/// Every test is a process of its own under some runners, and all look at the same time: each starts to look somewhere
/// else.
pub(crate) fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU32> =
        LazyLock::new(|| AtomicU32::new(RandomState::new().hash_one(0) as u32 % PORTS));
    const PORTS: u32 = 12_000;
    loop {
        let port = (10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS) as u16;
        if [port, port + 10_000].iter().all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

static SHARED: LazyLock<Server> = LazyLock::new(|| Server::start(&[]));

/// The server that all tests of this binary share; statics are not dropped, the pipe's end ends it.
pub(crate) fn shared() -> &'static Server {
    &SHARED
}

/// A namespace that no other test has.
pub(crate) fn namespace() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
