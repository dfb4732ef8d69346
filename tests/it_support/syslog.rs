//! Real syslog receivers, rsyslogd and syslog-ng, on free ports, writing what they receive to files.
//!
//! As with Redis they are children of a shell that kills them when the pipe to this process closes.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::{
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::{redis_server::free_port, support::eventually};

/// A program that receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Rsyslog,
    SyslogNg,
}

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reached {
    Udp,
    Tcp,
    Tls,
    /// Only with a certificate of the same authority.
    TlsWithCertificate,
}

/// A running receiver; it ends when this is dropped, or when the process ends.
pub(crate) struct Receiver {
    pub port: u16,
    program: Program,
    directory: TempDir,
    watchdog: Child,
}

impl Receiver {
    /// Starts one and waits until it writes what it receives.
    pub(crate) async fn start(program: Program, reached: Reached) -> Self {
        let (port, directory) = (free_port(), tempfile::tempdir().unwrap());
        certificates(directory.path());
        let configuration = match program {
            Program::Rsyslog => rsyslog(directory.path(), port, reached),
            Program::SyslogNg => syslog_ng(directory.path(), port, reached),
        };
        std::fs::write(directory.path().join("conf"), configuration).unwrap();
        let watchdog = watch(program, directory.path());
        let receiver = Self { port, program, directory, watchdog };
        receiver.ready(reached).await;
        receiver
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }

    /// Starts it again after [`Receiver::kill`], over the same files and on the same port.
    pub(crate) async fn start_again(&mut self, reached: Reached) {
        let _ = std::fs::remove_file(self.file("own.pid"));
        self.watchdog = watch(self.program, self.directory.path());
        self.ready(reached).await;
    }

    /// Stops it in its tracks (SIGSTOP): its sockets take what comes, and it reads nothing.
    pub(crate) fn pause(&self) {
        let pid = std::fs::read_to_string(self.file("pid")).unwrap();
        assert!(Command::new("kill").args(["-STOP", pid.trim()]).status().unwrap().success());
    }

    /// A file in its directory: `ca.pem`, `client.pem`, `client.key`, `stranger.pem`, `stranger.key`, or its own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What it has written so far. The last line may be half a one.
    pub(crate) fn written(&self) -> Written {
        Written { path: self.file("out"), at: 0, lines: 0 }
    }

    async fn ready(&self, reached: Reached) {
        let address = ("127.0.0.1", self.port);
        let mut written = self.written();
        written.lines();
        let before = written.lines;
        if reached == Reached::Udp {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let written = parking_lot::Mutex::new(written);
            eventually("the receiver writes a datagram to its file", async || {
                let _ = socket.send_to(b"<13>1 - - probe - - - -", address);
                written.lock().lines() > before
            })
            .await;
        } else {
            eventually(
                &format!("{:?} listens: {}", self.program, self.directory.path().display()),
                async || std::net::TcpStream::connect(address).is_ok(),
            )
            .await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The lines of a file that grows.
pub(crate) struct Written {
    path: PathBuf,
    at: u64,
    lines: usize,
}

impl Written {
    /// How many lines there are by now.
    pub(crate) fn lines(&mut self) -> usize {
        if let Ok(mut file) = std::fs::File::open(&self.path) {
            let mut more = Vec::new();
            file.seek(SeekFrom::Start(self.at)).unwrap();
            self.at += file.read_to_end(&mut more).unwrap() as u64;
            self.lines += more.iter().filter(|byte| **byte == b'\n').count();
        }
        self.lines
    }

    /// All of them.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(std::fs::read(&self.path).unwrap_or_default()).unwrap()
    }
}

/// Where `scripts/receivers` has unpacked them.
fn unpacked() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("receivers")
}

/// The modules of an unpacked program: `usr/lib/<architecture>/rsyslog`, `usr/lib/syslog-ng/<version>`.
fn library(program: Program) -> PathBuf {
    let folders = |path: PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let lib = unpacked().join("usr/lib");
    let found = match program {
        Program::Rsyslog => folders(lib).map(|path| path.join("rsyslog")).find(|path| path.is_dir()),
        Program::SyslogNg => folders(lib.join("syslog-ng")).find(|path| path.is_dir()),
    };
    found.unwrap()
}

fn watch(program: Program, directory: &Path) -> Child {
    const SCRIPT: &str = r#""$@" </dev/null >log 2>&1 & echo $! >pid; read -r _; kill -9 $!; wait $!"#;
    // rsyslogd takes names as seen from the root of the file system.
    let here = |name: &str| directory.join(name).display().to_string();
    let (name, arguments) = match program {
        Program::Rsyslog => {
            ("rsyslogd", ["-n", "-f", &here("conf"), "-i", &here("own.pid")].map(str::to_owned).to_vec())
        }
        Program::SyslogNg => {
            let files = [("-f", "conf"), ("-R", "persist"), ("-p", "own.pid"), ("-c", "control")];
            let files = files.into_iter().flat_map(|(option, name)| [option.to_owned(), here(name)]);
            ("syslog-ng", ["-F", "--no-caps"].map(str::to_owned).into_iter().chain(files).collect())
        }
    };
    let ours = unpacked().join("usr/sbin").join(name);
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "sh"]).current_dir(directory);
    if ours.is_file() {
        let modules = library(program);
        // Beside those of the program's own, those of the architecture, which is named where rsyslog's modules are.
        let shared = library(Program::Rsyslog).parent().unwrap().to_owned();
        let early = unpacked().join("lib").join(shared.file_name().unwrap());
        let libraries = [modules.parent().unwrap().to_owned(), shared, early];
        let libraries = libraries.map(|path| path.display().to_string());
        command.env("LD_LIBRARY_PATH", libraries.join(":")).arg(ours).args(arguments);
        match program {
            Program::Rsyslog => command.arg("-M").arg(modules),
            Program::SyslogNg => command.arg("--module-path").arg(modules),
        };
    } else {
        let installed = Command::new("sh").args(["-c", &format!("command -v {name}")]).output().unwrap();
        assert!(installed.status.success(), "{name} is needed: run scripts/receivers");
        command.arg(name).args(arguments);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn rsyslog(directory: &Path, port: u16, reached: Reached) -> String {
    let here = directory.display();
    let driver = if unpacked().is_dir() { "ossl" } else { "gtls" };
    let tls = |mode: &str| {
        format!("StreamDriver.Name=\"{driver}\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"{mode}\"")
    };
    let input = match reached {
        Reached::Udp => "module(load=\"imudp\")\ninput(type=\"imudp\" rcvbufSize=\"4m\"".to_owned(),
        Reached::Tcp => "module(load=\"imtcp\")\ninput(type=\"imtcp\"".to_owned(),
        Reached::Tls => format!("module(load=\"imtcp\" {})\ninput(type=\"imtcp\"", tls("anon")),
        Reached::TlsWithCertificate => {
            let tls = format!("{} PermittedPeer=[\"client.example\"]", tls("x509/name"));
            format!("module(load=\"imtcp\" {tls})\ninput(type=\"imtcp\"")
        }
    };
    format!(
        r#"global(workDirectory="{here}" maxMessageSize="64k" DefaultNetstreamDriverCAFile="{here}/ca.pem"
  DefaultNetstreamDriverCertFile="{here}/server.pem" DefaultNetstreamDriverKeyFile="{here}/server.key")
{input} address="127.0.0.1" port="{port}")
template(name="whole" type="string"
  string="%pri% %hostname% %app-name% %procid% %msgid% %structured-data% %msg%\n")
action(type="omfile" file="{here}/out" template="whole")
"#
    )
}

fn syslog_ng(directory: &Path, port: u16, reached: Reached) -> String {
    let here = directory.display();
    let transport = match reached {
        Reached::Udp => "transport(\"udp\") so-rcvbuf(4194304)".to_owned(),
        Reached::Tcp => "transport(\"tcp\")".to_owned(),
        Reached::Tls | Reached::TlsWithCertificate => {
            let verify = if reached == Reached::Tls { "optional-untrusted" } else { "required-trusted" };
            format!(
                "transport(\"tls\") tls(key-file(\"{here}/server.key\") cert-file(\"{here}/server.pem\") \
                 ca-file(\"{here}/ca.pem\") peer-verify({verify}))"
            )
        }
    };
    format!(
        r#"@version: current
options {{ keep-hostname(yes); use-dns(no); log-msg-size(65536); stats-freq(0); }};
source s {{ syslog(ip("127.0.0.1") port({port}) {transport}); }};
destination d {{ file("{here}/out" template("$PRI $HOST $PROGRAM $PID $MSGID $SDATA $MSG\n")); }};
log {{ source(s); destination(d); flags(flow-control); }};
"#
    )
}

/// An authority, the receiver and a client by it, and a stranger with an authority of its own.
pub(crate) fn certificates(directory: &Path) {
    let authority = || {
        let mut parameters = CertificateParams::new([]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
    };
    let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
    let (ours, theirs) = (authority(), authority());
    write("ca.pem", ours.pem());
    for (who, name, issuer) in [
        ("server", "logs.example", &ours),
        ("client", "client.example", &ours),
        ("stranger", "client.example", &theirs),
    ] {
        let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, issuer).unwrap();
        write(&format!("{who}.pem"), certificate.pem());
        write(&format!("{who}.key"), key.serialize_pem());
    }
}
