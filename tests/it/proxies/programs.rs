//! The proxies, each in a folder of its own and on a free port.
//!
//! They are children of a shell that ends them when the pipe to this process closes.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use tempfile::TempDir;

use super::pages::published;
use crate::{
    children::{libraries, provided, watched},
    redis_server::free_port,
    support::eventually,
};

/// The published configurations.
pub(super) const PUBLISHED: [&str; 8] = [
    "deploy/nginx/keyward.conf",
    "deploy/caddy/Caddyfile",
    "deploy/traefik/keyward.yaml",
    "deploy/envoy/keyward.yaml",
    "deploy/envoy/keyward-grpc.yaml",
    "deploy/envoy/keyward-ratelimit.yaml",
    "deploy/haproxy/keyward.cfg",
    "deploy/apache/keyward.conf",
];

/// Where they look for Keyward.
const KEYWARD: &str = "127.0.0.1:8080";
/// Where they look for the application.
const APPLICATION: &str = "127.0.0.1:3000";

/// A proxy that tests start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proxy {
    Nginx,
    Caddy,
    Traefik,
    Envoy,
    /// The same, which asks over gRPC.
    EnvoyGrpc,
    /// The same, which asks the rate limit service.
    EnvoyRateLimit,
    Haproxy,
    Apache,
}

/// A running proxy; it ends when this is dropped, or when the process ends.
pub(super) struct Program {
    pub url: String,
    directory: TempDir,
    watchdog: Child,
}

/// What a configuration is changed to.
struct Around<'a> {
    port: u16,
    keyward: u16,
    application: u16,
    open: bool,
    directory: &'a Path,
}

impl Around<'_> {
    /// A published configuration with the ports of a test.
    fn published(&self, path: &str, changes: &[(&str, String)]) -> String {
        let own = [
            (KEYWARD, format!("127.0.0.1:{}", self.keyward)),
            (APPLICATION, format!("127.0.0.1:{}", self.application)),
        ];
        published(path, self.open, &[changes, &own].concat())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Proxy {
    /// Whether it asks over gRPC.
    pub(super) fn asks_over_grpc(self) -> bool {
        matches!(self, Self::EnvoyGrpc | Self::EnvoyRateLimit)
    }

    /// Whether it can let requests pass while Keyward does not answer.
    pub(super) fn can_be_open(self) -> bool {
        self != Self::Traefik
    }

    /// Starts it and waits until it listens.
    pub(super) async fn start(self, keyward: u16, application: u16, open: bool) -> Program {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        let around = Around { port, keyward, application, open, directory: directory.path() };
        let mut command = watched(
            directory.path(),
            if matches!(self, Self::Nginx | Self::Apache) { "TERM" } else { "KILL" },
        );
        match self {
            Self::Nginx => nginx(&around, &mut command),
            Self::Caddy => caddy(&around, &mut command),
            Self::Traefik => traefik(&around, &mut command),
            Self::Envoy => envoy("deploy/envoy/keyward.yaml", &around, &mut command),
            Self::EnvoyGrpc => envoy("deploy/envoy/keyward-grpc.yaml", &around, &mut command),
            Self::EnvoyRateLimit => envoy("deploy/envoy/keyward-ratelimit.yaml", &around, &mut command),
            Self::Haproxy => haproxy(&around, &mut command),
            Self::Apache => apache(&around, &mut command),
        }
        let watchdog = command.spawn().unwrap();
        let program = Program { url: format!("http://127.0.0.1:{port}"), directory, watchdog };
        eventually(&format!("{self:?} listens"), async || {
            assert!(!program.has_ended(), "{self:?} ended: {}", program.said());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
        .await;
        program
    }
}

impl Program {
    /// What it wrote to its outputs and to its log of errors.
    pub(super) fn said(&self) -> String {
        let read = |name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
        read("said") + &read("error.log")
    }

    fn has_ended(&self) -> bool {
        self.directory.path().join("ended").exists()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// What nginx has around the servers of `conf.d`, where Debian's package puts them.
const NGINX: &str = "pid nginx.pid;\nevents { }\nhttp {\n    access_log off;\n    client_body_temp_path body;\n\
    proxy_temp_path proxy;\n    fastcgi_temp_path fastcgi;\n    uwsgi_temp_path uwsgi;\n    scgi_temp_path scgi;\n\
    include keyward.conf;\n}\n";

fn nginx(around: &Around, command: &mut Command) {
    let listen = [
        ("listen 80 default_server;", format!("listen 127.0.0.1:{} default_server;", around.port)),
        ("listen [::]:80 default_server;", String::new()),
    ];
    around.write("keyward.conf", &around.published("deploy/nginx/keyward.conf", &listen));
    around.write("nginx.conf", NGINX);
    nginx_in(around.directory, command);
    command.args(["-g", "daemon off;"]);
}

/// nginx, with the files of a folder.
fn nginx_in(directory: &Path, command: &mut Command) {
    let root = provided("middleware", "nginx");
    command.env("LD_LIBRARY_PATH", libraries(&root));
    command.arg(root.join("usr/sbin/nginx"));
    let prefix = format!("{}/", directory.display());
    command.args(["-p", &prefix, "-c", "nginx.conf", "-e", "error.log"]);
}

/// What nginx says of the published configuration beside a site that a distribution brings.
pub(super) fn nginx_beside(site: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("keyward.conf", &published("deploy/nginx/keyward.conf", false, &[]));
    write("default", site);
    write(
        "nginx.conf",
        &NGINX.replace("include keyward.conf;", "include keyward.conf;\n    include default;"),
    );
    let mut command = Command::new("env");
    nginx_in(directory.path(), &mut command);
    let done = command.arg("-t").output().unwrap();
    assert!(!done.status.success(), "nginx does not start so");
    String::from_utf8_lossy(&done.stderr).into_owned()
}

/// A program of the packages that `scripts/proxies` has unpacked, with its libraries.
fn packaged(command: &mut Command, program: &str) -> PathBuf {
    let root = provided("proxies", "root");
    command.env("LD_LIBRARY_PATH", libraries(&root)).arg(root.join(program));
    root
}

fn caddy(around: &Around, command: &mut Command) {
    let listen = (":80 {", format!("http://127.0.0.1:{} {{", around.port));
    let site = around.published("deploy/caddy/Caddyfile", &[listen]);
    around.write("Caddyfile", &format!("{{\n\tadmin off\n}}\n{site}"));
    packaged(command, "usr/bin/caddy");
    command.args(["run", "--config", "Caddyfile", "--adapter", "caddyfile"]).env("HOME", around.directory);
}

fn traefik(around: &Around, command: &mut Command) {
    around.write("keyward.yaml", &around.published("deploy/traefik/keyward.yaml", &[]));
    command.arg(provided("proxies", "venv/bin/traefik"));
    command.arg(format!("--entrypoints.web.address=127.0.0.1:{}", around.port));
    command.args(["--providers.file.filename=keyward.yaml", "--global.checknewversion=false"]);
    command.arg("--global.sendanonymoususage=false");
}

fn envoy(path: &str, around: &Around, command: &mut Command) {
    let is_grpc = path != "deploy/envoy/keyward.yaml";
    let keyward = ["address: 127.0.0.1, port_value: 8080 }", "address: 127.0.0.1, port_value: 8082 }"];
    let keyward = keyward[usize::from(is_grpc)];
    let place = |port: u16| format!("address: 127.0.0.1, port_value: {port} }}");
    let changes = [
        ("address: 0.0.0.0, port_value: 80 }", place(around.port)),
        (keyward, place(around.keyward)),
        ("address: 127.0.0.1, port_value: 3000 }", place(around.application)),
    ];
    let text = published(path, around.open, &changes);
    around.write("keyward.yaml", &text);
    command.arg(provided("middleware", "venv/bin/envoy"));
    command.args([
        "-c",
        "keyward.yaml",
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warn",
    ]);
}

fn haproxy(around: &Around, command: &mut Command) {
    let script = around.write("keyward.lua", &published("deploy/haproxy/keyward.lua", false, &[]));
    let changes = [
        ("bind :80", format!("bind 127.0.0.1:{}", around.port)),
        ("/etc/haproxy/keyward.lua", script),
        // As packages have it: what is logged of a request is cut.
        ("mode http", "mode http\n    log stdout format raw local0\n    option httplog".to_owned()),
    ];
    around.write("keyward.cfg", &around.published("deploy/haproxy/keyward.cfg", &changes));
    packaged(command, "usr/sbin/haproxy");
    command.args(["-db", "-f", "keyward.cfg"]);
}

fn apache(around: &Around, command: &mut Command) {
    let script = around.write("keyward.lua", &published("deploy/apache/keyward.lua", false, &[]));
    let changes = [("*:80", format!("127.0.0.1:{}", around.port)), ("/etc/apache2/keyward.lua", script)];
    let site = around.published("deploy/apache/keyward.conf", &changes);
    let root = packaged(command, "usr/sbin/apache2");
    let modules = ["mpm_event", "authz_core", "env", "setenvif", "proxy", "proxy_http", "lua"].map(|name| {
        let path = root.join(format!("usr/lib/apache2/modules/mod_{name}.so"));
        format!("LoadModule {name}_module {}\n", path.display())
    });
    let (here, port) = (around.directory.display(), around.port);
    let around_it = format!(
        "ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {here}/apache.pid\nErrorLog {here}/error.log\n\
         DefaultRuntimeDir {here}\n{}",
        modules.concat()
    );
    let main = around.write("apache.conf", &(around_it + &site));
    command.args(["-f", &main, "-DFOREGROUND"]);
    let scripts = root.join("usr/share/lua/5.3/?.lua");
    command.env("LUA_PATH", format!("{};;", scripts.display()));
    let compiled = std::fs::read_dir(root.join("usr/lib")).unwrap().map(|entry| entry.unwrap().path());
    let compiled: Vec<String> = compiled.map(|path| format!("{}/lua/5.3/?.so", path.display())).collect();
    command.env("LUA_CPATH", format!("{};;", compiled.join(";")));
}
