//! Events from the log to real syslog receivers: nothing missing, nothing changed, in order per subject.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use keyward::{
    clock,
    domain::{
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::SinkSettings,
    store::LogPosition,
};
use serde_json::{Value, json};

use crate::{
    forward_run::Run,
    support::{eventually, within},
    syslog_receiver::{Program, Reached, Receiver},
};

const EVENTS: usize = 10_000;
const SUBJECTS: usize = 40;
const LONG: Duration = Duration::from_secs(120);

/// A sender towards the receiver, with more settings.
fn start(receiver: &Receiver, reached: Reached, more: &str) -> Run {
    let transport = match reached {
        Reached::Udp => "udp",
        Reached::Tcp => "tcp",
        Reached::Tls | Reached::TlsWithCertificate => "tls",
    };
    let mut text = format!(
        "name = \"siem\"\ntype = \"syslog\"\nstart = \"beginning\"\naddress = \"127.0.0.1:{}\"\n\
         transport = \"{transport}\"\nallow_networks = [\"127.0.0.0/8\"]\nhostname = \"kw.example\"\n\
         max_backoff_seconds = 1\n{more}\n",
        receiver.port
    );
    if transport == "tls" {
        let ca = receiver.file("ca.pem");
        text += &format!("ca_file = \"{}\"\nserver_name = \"logs.example\"\n", ca.display());
    }
    Run::start(&SinkSettings::read(toml::from_str(&text).unwrap()).unwrap(), event)
}

/// The event with this number, with what syslog must escape.
fn event(number: usize) -> Event {
    let subject = Subject::key(&format!("key-{}", number % SUBJECTS));
    let kind = if number.is_multiple_of(2) { EventType::TemporaryBan } else { EventType::RateLimitExceeded };
    let mut event = Event::new(1_772_442_800_000 + number as i64, kind, Severity::High, Some(subject));
    event.key_id = Some(format!("k\"]\\=é {number}"));
    event.source_ip = Some("203.0.113.7".to_owned());
    event.detector = Some("ladder".to_owned());
    event.evidence = serde_json::from_value(
        json!({"number": number, "summary": "50 % ] \" \\ é\u{2028}\n%s ".repeat(number % 9)}),
    )
    .unwrap();
    event
}

/// A message as a receiver has written it.
struct Message {
    header: String,
    data: BTreeMap<String, String>,
    body: Value,
}

/// Reads a line; `None` for half of one.
fn read(line: &str) -> Option<Message> {
    let (header, rest) = line.split_at_checked(line.find(" [")? + 1)?;
    let (data, rest) = structured_data(rest)?;
    let body = serde_json::from_str(rest.trim_start()).ok()?;
    Some(Message { header: header.trim_end().to_owned(), data, body })
}

/// The parameters of our element, whatever others are there, and what follows (RFC 5424, 6.3).
fn structured_data(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut found = BTreeMap::new();
    while let Some(element) = text.strip_prefix('[') {
        let (mut name, mut rest) = (String::new(), element.chars());
        let is_ours = element.starts_with("keyward@32473 ");
        loop {
            match rest.next()? {
                ']' => break,
                ' ' => name.clear(),
                '=' => {
                    let mut value = String::new();
                    rest.next().filter(|c| *c == '"')?;
                    loop {
                        match rest.next()? {
                            '"' => break,
                            '\\' => value.push(rest.next()?),
                            c => value.push(c),
                        }
                    }
                    if is_ours {
                        found.insert(std::mem::take(&mut name), value);
                    }
                }
                c => name.push(c),
            }
        }
        text = rest.as_str();
    }
    Some((found, text))
}

/// What the receiver has, checked against what was sent.
struct Outcome {
    missing: usize,
    twice: usize,
}

fn compare(written: &str, sent: &HashMap<String, Event>) -> Outcome {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut latest: HashMap<String, u64> = HashMap::new();
    for message in written.lines().filter(|line| !line.contains(" probe ")).filter_map(read) {
        let event = &sent[&message.data["id"]];
        let times = seen.entry(event.id.clone()).or_default();
        *times += 1;
        assert_eq!(message.header, format!("83 kw.example keyward i-1 {}", event.kind));
        let subject = event.subject.as_ref().unwrap().as_str();
        let expected = [
            ("id", event.id.as_str()),
            ("subject", subject),
            ("key", event.key_id.as_deref().unwrap()),
            ("src", "203.0.113.7"),
            ("type", event.kind.name()),
            ("severity", "high"),
            ("detector", "ladder"),
            ("count", "1"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(message.data, BTreeMap::from(expected));
        assert_eq!(message.body, serde_json::to_value(event).unwrap());
        if *times == 1 {
            let number = event.evidence.as_json()["number"].as_u64().unwrap();
            let before = latest.insert(subject.to_owned(), number);
            assert!(before.is_none_or(|before| before < number), "{subject}: {number} after {before:?}");
        }
    }
    let twice = seen.values().map(|times| times - 1).sum();
    Outcome { missing: sent.len() - seen.len(), twice }
}

/// Sends to a receiver that nothing happens to.
async fn quietly(program: Program, reached: Reached, more: &str) -> (Outcome, Duration) {
    let receiver = Receiver::start(program, reached).await;
    let mut written = receiver.written();
    let before = written.lines();
    let more = more.replace("DIR", &receiver.file("").display().to_string());
    let mut run = start(&receiver, reached, &more);
    let started = clock::instant();
    for _ in 0..EVENTS / 500 {
        run.append(500).await;
    }
    run.all_sent().await;
    let took = started.elapsed();
    let (sent, _) = run.finish().await;
    if reached != Reached::Udp {
        let lines = parking_lot::Mutex::new(written);
        within(LONG, "everything is written", async || lines.lock().lines() >= before + EVENTS).await;
        written = lines.into_inner();
    } else {
        // Something may be missing: a last datagram tells that those before it are through.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let last = &written;
        eventually("the last datagram is written", async || {
            let _ = socket.send_to(b"<13>1 - - probe - - - the end", ("127.0.0.1", receiver.port));
            last.text().contains("the end")
        })
        .await;
    }
    let outcome = compare(&written.text(), &sent);
    let Outcome { missing, twice } = outcome;
    println!("{program:?} {reached:?}: {EVENTS} events in {took:?}, {missing} missing, {twice} twice");
    (outcome, took)
}

async fn none_is_missing(program: Program, reached: Reached, more: &str) {
    let (outcome, _) = quietly(program, reached, more).await;
    assert_eq!((outcome.missing, outcome.twice), (0, 0));
}

const CLIENT: &str = "client_certificate_file = \"DIR/client.pem\"\nclient_key_file = \"DIR/client.key\"";

#[tokio::test]
async fn rsyslog_has_every_event_over_tcp() {
    none_is_missing(Program::Rsyslog, Reached::Tcp, "").await;
}

#[tokio::test]
async fn rsyslog_has_every_event_in_lines() {
    none_is_missing(Program::Rsyslog, Reached::Tcp, "framing = \"lf\"").await;
}

#[tokio::test]
async fn syslog_ng_has_every_event_over_tcp() {
    none_is_missing(Program::SyslogNg, Reached::Tcp, "").await;
}

#[tokio::test]
async fn rsyslog_has_every_event_over_tls() {
    none_is_missing(Program::Rsyslog, Reached::Tls, "").await;
}

#[tokio::test]
async fn syslog_ng_has_every_event_over_tls() {
    none_is_missing(Program::SyslogNg, Reached::Tls, "").await;
}

#[tokio::test]
async fn rsyslog_has_every_event_from_a_client_that_it_knows_by_name() {
    none_is_missing(Program::Rsyslog, Reached::TlsWithCertificate, CLIENT).await;
}

#[tokio::test]
async fn syslog_ng_has_every_event_from_a_client_that_it_trusts() {
    none_is_missing(Program::SyslogNg, Reached::TlsWithCertificate, CLIENT).await;
}

/// Datagrams may get lost even here, so none is counted on; but most arrive when they are sent evenly.
#[tokio::test]
async fn datagrams_that_are_sent_evenly_arrive() {
    for program in [Program::Rsyslog, Program::SyslogNg] {
        let (outcome, took) = quietly(program, Reached::Udp, "batch = 500").await;
        assert_eq!(outcome.twice, 0);
        assert!(outcome.missing < EVENTS / 10, "{program:?} lacks {}", outcome.missing);
        assert!(took > Duration::from_secs(4), "2,000 in a second: {took:?}");
    }
}

/// A handshake of TLS 1.3 succeeds before the receiver has looked at our certificate.
#[tokio::test]
async fn a_receiver_that_does_not_let_us_in_takes_nothing() {
    let stranger = CLIENT.replace("client.", "stranger.");
    for program in [Program::Rsyslog, Program::SyslogNg] {
        for more in ["", &stranger] {
            let receiver = Receiver::start(program, Reached::TlsWithCertificate).await;
            let more = more.replace("DIR", &receiver.file("").display().to_string());
            let mut run = start(&receiver, Reached::TlsWithCertificate, &more);
            run.append(10).await;
            eventually("it is refused", async || !run.error().is_empty()).await;
            println!("{program:?}: {}", run.error());
            let beginning = LogPosition::default();
            assert_eq!(run.cursor().await.unwrap_or_default(), beginning, "{program:?} {more}");
            run.finish().await;
        }
    }
}

#[tokio::test]
async fn nothing_is_missing_when_the_receiver_is_killed_while_it_receives() {
    for (program, reached) in [
        (Program::Rsyslog, Reached::Tcp),
        (Program::Rsyslog, Reached::Tls),
        (Program::SyslogNg, Reached::Tcp),
    ] {
        let mut receiver = Receiver::start(program, reached).await;
        let written = parking_lot::Mutex::new(receiver.written());
        let mut run = start(&receiver, reached, "");
        for _ in 0..EVENTS / 500 {
            run.append(500).await;
        }
        within(LONG, "it is in the middle", async || written.lock().lines() > EVENTS / 4).await;
        receiver.kill();
        let until_then = written.lock().lines();
        receiver.start_again(reached).await;
        all_arrive(&receiver, &run).await;
        let (sent, _) = run.finish().await;
        let outcome = compare(&receiver.written().text(), &sent);
        println!("{program:?} {reached:?} killed after {until_then}: {} twice", outcome.twice);
        assert_eq!(outcome.missing, 0, "{program:?} {reached:?}");
    }
}

/// What every sender loses that does not remember: the cursor is behind the events, which only the system of the
/// receiver has.
#[tokio::test]
async fn nothing_is_missing_when_the_receiver_is_killed_before_it_reads() {
    for (program, reached) in [(Program::Rsyslog, Reached::Tcp), (Program::SyslogNg, Reached::Tls)] {
        let mut receiver = Receiver::start(program, reached).await;
        let mut run = start(&receiver, reached, "");
        run.append(100).await;
        all_arrive(&receiver, &run).await;
        receiver.pause();
        run.append(100).await;
        run.all_sent().await;
        receiver.kill();
        receiver.start_again(reached).await;
        all_arrive(&receiver, &run).await;
        let (sent, _) = run.finish().await;
        let outcome = compare(&receiver.written().text(), &sent);
        println!("{program:?} {reached:?} killed with 100 unread: {} twice", outcome.twice);
        assert_eq!(outcome.missing, 0, "{program:?} {reached:?}");
    }
}

/// Waits until each event is in the receiver's file at least once.
async fn all_arrive(receiver: &Receiver, run: &Run) {
    let written = parking_lot::Mutex::new(receiver.written());
    let seen = parking_lot::Mutex::new(0);
    within(LONG, "every event arrives", async || {
        let lines = written.lock().lines();
        let is_news = std::mem::replace(&mut *seen.lock(), lines) != lines;
        lines >= run.events.len() && is_news && compare(&written.lock().text(), &run.events).missing == 0
    })
    .await;
}
