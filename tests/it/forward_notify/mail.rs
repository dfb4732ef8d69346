//! Mail, to a server that other people wrote (aiosmtpd), read back by another library than the one that made it.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, Stdio},
    sync::LazyLock,
};

use keyward::forward::SendErrorKind;
use serde_json::Value;

use super::*;

/// The Python that has aiosmtpd: the system's, where a package brought it, is not always the first one.
static PYTHON: LazyLock<&str> = LazyLock::new(|| {
    let has_it = |python: &&str| {
        let tried = Command::new(python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    found
        .expect("Python with aiosmtpd is needed (apt-get install python3-aiosmtpd); scripts/test provides it")
});

struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it_support/mail.py");
        let mut child = Command::new(*PYTHON)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, lines, port }
    }

    /// The next mail that it took; it was taken already, so this does not wait for long.
    fn mail(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// Whatever it took beside.
    fn rest(mut self) -> usize {
        drop(self.child.stdin.take());
        let rest = self.lines.by_ref().count();
        self.child.wait().unwrap();
        rest
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A certificate for `localhost` and a file with it and its key.
fn certificate() -> NamedTempFile {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem())).unwrap();
    file
}

fn own(server: &Server, tls: &str, more: &str) -> String {
    format!(
        "host = \"localhost\"\nport = {}\ntls = \"{tls}\"\nfrom = \"Keyward <keyward@example.com>\"\n\
         to = [\"oncall@example.com\", \"Séc Team <sec@example.com>\"]\n{more}",
        server.port
    )
}

#[tokio::test]
async fn a_mail_says_it_all_and_those_about_one_thing_are_one_thread() {
    let mut server = Server::start(&[]);
    let mut channel = Channel::open("email", &own(&server, "none", ""));
    channel.take(&incident("k1:9f2c")).await;
    assert_eq!(channel.told_after(10).await, 1);
    channel.take(&[expired("k1:9f2c")]).await;
    assert_eq!(channel.told_after(0).await, 1);
    let (first, second) = (server.mail(), server.mail());
    assert_eq!(first["from"], "keyward@example.com");
    assert_eq!(first["to"], json!(["oncall@example.com", "sec@example.com"]));
    assert_eq!(first["defects"], json!([]));
    let headers = &first["headers"];
    let subject = headers["Subject"].as_str().unwrap();
    assert!(subject.starts_with("[CRITICAL] Impossible travel: key:k1:9f2c banned until "), "{subject}");
    assert_eq!(headers["Auto-Submitted"], "auto-generated");
    assert!(headers.get("Bcc").is_none() && headers["To"].as_str().unwrap().contains("Séc Team"));
    let body = first["body"].as_str().unwrap();
    for part in [
        "Who: key:k1:9f2c",
        "From: 203.0.113.7, Bucharest, RO",
        "Why: Used in Bucharest 4 min after Singapore, <b>8,900 km</b> away.  Bcc: x@y",
        "Undo: keyward unban key:k1:9f2c",
    ] {
        assert!(body.lines().any(|line| line == part), "{part:?} in {body}");
    }
    assert_eq!(second["headers"]["Subject"], "Resolved: Impossible travel: key:k1:9f2c (it ran out)");
    assert_eq!(second["headers"]["References"], headers["Message-ID"]);
    assert_eq!(second["headers"]["In-Reply-To"], headers["Message-ID"]);
    assert_ne!(second["headers"]["Message-ID"], headers["Message-ID"]);
    assert_eq!(server.rest(), 0);
}

#[tokio::test]
async fn nothing_in_an_event_gets_into_the_headers() {
    let mut server = Server::start(&[]);
    let mut channel = Channel::open("email", &own(&server, "none", ""));
    let mut hostile = event(EventType::KeyNotAllowed, Severity::High, "k\u{202e}é");
    hostile.evidence = serde_json::from_value(
        json!({ "summary": "x\r\n\r\n.\r\nMAIL FROM:<evil@example.com>\r\nBcc: evil@example.com" }),
    )
    .unwrap();
    channel.take(&[hostile]).await;
    assert_eq!(channel.told_after(10).await, 1);
    let mail = server.mail();
    assert_eq!(mail["to"], json!(["oncall@example.com", "sec@example.com"]));
    let names: Vec<&String> = mail["headers"].as_object().unwrap().keys().collect();
    assert!(!names.iter().any(|name| name.eq_ignore_ascii_case("bcc")), "{names:?}");
    assert!(mail["headers"]["Subject"].as_str().unwrap().contains("k é"), "{mail}");
    assert_eq!(server.rest(), 0, "one mail");
}

#[tokio::test]
async fn with_starttls_and_a_password_the_server_must_be_the_one_it_says() {
    let certificate = certificate();
    let path = certificate.path().display().to_string();
    let password = SecretFile::new(SECRET);
    for encryption in ["starttls", "tls"] {
        let mut server = Server::start(&[&path, encryption]);
        let more =
            format!("ca_file = \"{path}\"\nusername = \"keyward\"\npassword = \"{}\"", password.setting());
        let mut channel = Channel::open("email", &own(&server, encryption, &more));
        channel.take(&incident("a")).await;
        assert_eq!(channel.told_after(10).await, 1);
        let mail = server.mail();
        assert_eq!((&mail["encrypted"], &mail["authenticated"]), (&json!(true), &json!(true)));

        let other = self::certificate();
        let more = format!("ca_file = \"{}\"", other.path().display());
        let mut channel = Channel::open("email", &own(&server, encryption, &more));
        channel.take(&incident("a")).await;
        let failure = channel.after(10).await.unwrap_err();
        assert!(failure.to_string().contains("certificate"), "{failure}");
        assert_eq!(server.rest(), 0);
    }
}

#[tokio::test]
async fn a_server_that_offers_no_encryption_gets_no_mail() {
    let server = Server::start(&[]);
    let mut channel = Channel::open("email", &own(&server, "starttls", ""));
    channel.take(&incident("a")).await;
    channel.after(10).await.unwrap_err();
    assert_eq!(server.rest(), 0);
}

#[tokio::test]
async fn what_somebody_must_correct_waits_and_says_what_it_is_but_never_the_password() {
    let certificate = certificate();
    let path = certificate.path().display().to_string();
    let server = Server::start(&[&path, "starttls"]);
    let wrong = SecretFile::new(&format!("{SECRET}-wrong"));
    let more = format!("ca_file = \"{path}\"\nusername = \"keyward\"\npassword = \"{}\"", wrong.setting());
    let mut channel = Channel::open("email", &own(&server, "starttls", &more));
    channel.take(&incident("a")).await;
    let failure = channel.after(10).await.unwrap_err();
    assert!(failure.kind == SendErrorKind::Denied && !failure.to_string().contains(SECRET), "{failure:?}");

    let server = Server::start(&[]);
    for (to, denied) in
        [("nobody@example.com", true), ("blocked@example.com", true), ("later@example.com", false)]
    {
        let own = own(&server, "none", "").replace("oncall@example.com", to);
        let mut channel = Channel::open("email", &own);
        channel.take(&incident("a")).await;
        let failure = channel.after(10).await.unwrap_err();
        assert_eq!(failure.kind == SendErrorKind::Denied, denied, "{failure:?}");
    }
}

#[tokio::test]
async fn only_a_mail_that_the_server_blames_itself_is_given_up() {
    let server = Server::start(&[]);
    let own = own(&server, "none", "").replace("oncall@", "content@");
    let mut channel = Channel::open("email", &own);
    channel.take(&incident("a")).await;
    assert_eq!(channel.told_after(10).await, 1, "given up");
    assert_eq!(server.rest(), 0);
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_not_connected_to() {
    let server = Server::start(&[]);
    let own = own(&server, "none", "allow_networks = [\"192.0.2.0/24\"]");
    let mut channel = Channel::open("email", &own);
    channel.take(&incident("a")).await;
    let failure = channel.after(10).await.unwrap_err();
    assert!(failure.to_string().contains("loopback"), "{failure}");
    assert_eq!(server.rest(), 0);
}
