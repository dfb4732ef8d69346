//! Settings, and streams and datagrams against receivers that do as they are told.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, advance, pause, resume},
};

use super::{encoder::Framing, stream::IDLE_TIMEOUT, unconfirmed::RECEIVER_GRACE, *};
use crate::{
    domain::{
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::{SendErrorKind, SinkSettings, format::Format},
    store::embedded::{EmbeddedOptions, EmbeddedStore},
};

fn settings(more: &str) -> Result<SinkSettings, String> {
    let text = format!("name = \"siem\"\ntype = \"syslog\"\n{more}");
    SinkSettings::read(toml::from_str(&text).unwrap()).map_err(|error| error.to_string())
}

fn sink(more: &str) -> Box<dyn Sink> {
    let context = SinkContext {
        store: Arc::new(EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap()),
        now: Arc::new(|| 0),
        log_event: Arc::new(|_| {}),
        replace_key: None,
        instance: "i-1".to_owned(),
        log_changes: None,
    };
    settings(more).unwrap().open(&context).unwrap()
}

fn over(transport: &str, port: u16, more: &str) -> Box<dyn Sink> {
    sink(&format!(
        "address = \"127.0.0.1:{port}\"\ntransport = \"{transport}\"\nallow_networks = [\"127.0.0.0/8\"]\n{more}"
    ))
}

fn event(id: &str) -> Event {
    let subject = Some(Subject::key("k"));
    let mut event = Event::new(1_772_442_802_123, EventType::TemporaryBan, Severity::High, subject);
    event.id = id.to_owned();
    event
}

/// Reads frames until the stream ends; what follows the last whole one is ignored.
async fn frames(stream: &mut TcpStream) -> Vec<String> {
    let (mut bytes, mut found) = (Vec::new(), Vec::new());
    let _ = stream.read_to_end(&mut bytes).await;
    let mut rest = std::str::from_utf8(&bytes).unwrap();
    while let Some((length, after)) = rest.split_once(' ') {
        let Some((frame, more)) = after.split_at_checked(length.parse().unwrap()) else { break };
        found.push(frame.to_owned());
        rest = more;
    }
    found
}

/// The next frame of a stream that goes on.
async fn frame(stream: &mut TcpStream) -> String {
    let mut length = 0;
    loop {
        match stream.read_u8().await.unwrap() {
            b' ' => break,
            digit => length = length * 10 + usize::from(digit - b'0'),
        }
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await.unwrap();
    String::from_utf8(frame).unwrap()
}

fn id_of(frame: &str) -> &str {
    frame.split_once(" id=\"").unwrap().1.split_once('"').unwrap().0
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

async fn forward_by(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

#[test]
fn what_is_wrong_with_settings_is_said_by_name() {
    let private = "allow_networks = [\"10.0.0.0/8\"]";
    for fine in [
        "address = \"logs.example\"",
        "address = \"[2606:4700::1]:6514\"\nserver_name = \"logs.example\"",
        "address = \"2606:4700::1\"\nfacility = \"local7\"",
        &format!(
            "address = \"10.0.0.1:1514\"\ntransport = \"tcp\"\nframing = \"lf\"\nfacility = 13\n{private}"
        ),
        &format!("address = \"10.0.0.1\"\ntransport = \"udp\"\nmax_message_bytes = 65507\n{private}"),
    ] {
        settings(fine).unwrap();
    }
    for (wrong, setting) in [
        ("address = \"logs.example:\"", "sinks.siem.address"),
        ("address = \"user@logs.example\"", "sinks.siem.address"),
        ("address = \"[::1\"", "sinks.siem.address"),
        ("address = \"127.0.0.1\"", "sinks.siem.address"),
        ("address = \"logs.example\"\ntransport = \"tcp\"", "sinks.siem.transport"),
        (
            "address = \"8.8.8.8\"\ntransport = \"udp\"\nallow_networks = [\"10.0.0.0/8\"]",
            "sinks.siem.address",
        ),
        ("address = \"logs.example\"\nfacility = 24", "sinks.siem.facility"),
        ("address = \"logs.example\"\nfacility = \"local8\"", "sinks.siem.facility"),
        ("address = \"logs.example\"\nframing = \"lf\"", "sinks.siem.framing"),
        ("address = \"logs.example\"\nmax_messages_per_second = 5", "sinks.siem.max_messages_per_second"),
        ("address = \"logs.example\"\nmax_message_bytes = 479", "sinks.siem.max_message_bytes"),
        ("address = \"logs.example\"\nhostname = \"a b\"", "sinks.siem.hostname"),
        ("address = \"logs.example\"\nsd_id = \"keyward\"", "sinks.siem.sd_id"),
        ("address = \"logs.example\"\nsd_id = \"a]@1\"", "sinks.siem.sd_id"),
        ("address = \"logs.example\"\nserver_name = \"a b\"", "sinks.siem.server_name"),
        (
            "address = \"10.0.0.1\"\ntransport = \"tcp\"\nca_file = \"/ca\"\nallow_networks = [\"10.0.0.0/8\"]",
            "sinks.siem.ca_file",
        ),
        (
            "address = \"10.0.0.1\"\ntransport = \"udp\"\nmax_messages_per_second = 5\n\
         allow_networks = [\"10.0.0.0/8\"]",
            "sinks.siem.max_messages_per_second",
        ),
    ] {
        let said = settings(wrong).unwrap_err();
        assert!(said.starts_with(setting), "{wrong}: {said}");
    }
}

#[test]
fn facilities_are_numbers_or_names() {
    let read = |value| serde_json::from_value::<Facility>(value).unwrap().0;
    assert_eq!(
        [read(json!(0)), read(json!("auth")), read(json!("audit")), read(json!("local7"))],
        [0, 4, 13, 23]
    );
    assert_eq!(Facility::default().0, read(json!("authpriv")));
}

fn encoder(format: Format, framing: Framing, max_bytes: usize) -> MessageEncoder {
    let header = SyslogHeader {
        facility: 10,
        hostname: "h".to_owned(),
        app_name: "keyward".to_owned(),
        proc_id: "i".to_owned(),
        sd_id: DEFAULT_SD_ID.to_owned(),
    };
    MessageEncoder { format, header, framing, max_bytes }
}

#[test]
fn a_message_that_is_too_long_loses_evidence_and_stays_whole() {
    let mut long = event("e1");
    long.evidence = json!({"score": 0.9, "agents": vec!["\u{e9}\u{2028}".repeat(9); 400]}).into();
    for format in Format::ALL {
        let encoder = encoder(*format, Framing::Lf, 2_048);
        let message = String::from_utf8(encoder.message(&long).unwrap()).unwrap();
        assert!(message.len() <= 2_048 && message.contains("id=\"e1\""), "{message}");
        if format.is_json() {
            let body = message.split_once("] ").unwrap().1;
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            assert!(body.to_string().contains("truncated"), "{body}");
            assert!(body.to_string().contains("0.9"), "the short members stay: {body}");
        }
    }
}

#[test]
fn a_message_that_is_too_long_without_evidence_is_refused_alone() {
    let mut long = event("e2");
    long.request_id = Some("r".repeat(600));
    let events = [event("e1"), long, event("e3")];
    let (frames, refused) = encoder(Format::Json, Framing::Lf, 600).frames(&events);
    assert_eq!(frames.iter().filter(|byte| **byte == b'\n').count(), 2);
    assert_eq!(refused.len(), 1);
    assert!(refused[0].0 == 1 && refused[0].1.contains("max_message_bytes is 600"), "{refused:?}");
}

#[tokio::test]
async fn frames_are_counted_and_the_connection_is_kept() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "hostname = \"h\"\nfacility = \"audit\"");
    let receiver = tokio::spawn(async move { frames(&mut listener.accept().await.unwrap().0).await });
    for id in ["e1", "e2"] {
        sink.send(&[event(id)]).await.unwrap();
    }
    drop(sink);
    let received = receiver.await.unwrap();
    assert_eq!(received.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e1", "e2"]);
    let start = "<107>1 2026-03-02T09:13:22.123Z h keyward i-1 TEMPORARY_BAN [keyward@32473 id=\"e1\" ";
    assert!(received[0].starts_with(start), "{}", received[0]);
}

#[tokio::test]
async fn lines_end_with_a_line_feed_where_that_is_asked_for() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "framing = \"lf\"\nformat = \"cef\"");
    let receiver = tokio::spawn(async move {
        let mut text = String::new();
        listener.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
        text
    });
    sink.send(&[event("e1"), event("e2")]).await.unwrap();
    drop(sink);
    let text = receiver.await.unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| line.starts_with("<83>1 ")), "{text}");
    assert_eq!(text.lines().count(), 2);
}

#[tokio::test]
async fn what_a_receiver_read_just_before_it_ended_is_sent_again() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    sink.send(&[event("e1")]).await.unwrap();
    let (mut first, _) = listener.accept().await.unwrap();
    assert_eq!(id_of(&frame(&mut first).await), "e1");
    drop(first);
    sink.send(&[event("e2")]).await.unwrap();
    drop(sink);
    let again = frames(&mut listener.accept().await.unwrap().0).await;
    assert_eq!(again.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e1", "e2"]);
}

#[tokio::test]
async fn what_was_read_long_before_an_orderly_end_is_not_sent_again() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    sink.send(&[event("e1")]).await.unwrap();
    let (mut first, _) = listener.accept().await.unwrap();
    assert_eq!(id_of(&frame(&mut first).await), "e1");
    drop(first);
    forward_by(RECEIVER_GRACE * 2).await;
    sink.send(&[event("e2")]).await.unwrap();
    drop(sink);
    let again = frames(&mut listener.accept().await.unwrap().0).await;
    assert_eq!(again.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e2"]);
}

#[tokio::test]
async fn what_a_receiver_never_read_is_sent_again_however_old_and_without_a_new_batch() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    sink.send(&[event("e1")]).await.unwrap();
    sink.send(&[event("e2")]).await.unwrap();
    // Closed with something unread: reset.
    drop(listener.accept().await.unwrap());
    forward_by(RECEIVER_GRACE * 5).await;
    sink.tick(0).await.unwrap();
    drop(sink);
    let again = frames(&mut listener.accept().await.unwrap().0).await;
    assert_eq!(again.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e1", "e2"]);
}

#[tokio::test]
async fn a_receiver_that_hangs_up_at_once_takes_nothing() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    let rude = tokio::spawn(async move {
        for _ in 0..3 {
            drop(listener.accept().await.unwrap());
        }
    });
    for _ in 0..3 {
        let error = sink.send(&[event("e1")]).await.unwrap_err();
        assert_eq!(error.kind, SendErrorKind::Unreachable, "{error:?}");
    }
    rude.await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_ended_which_confirms_what_was_written() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    sink.send(&[event("e1")]).await.unwrap();
    forward_by(IDLE_TIMEOUT).await;
    sink.tick(0).await.unwrap();
    let first = frames(&mut listener.accept().await.unwrap().0).await;
    assert_eq!(first.len(), 1);
    sink.send(&[event("e2")]).await.unwrap();
    drop(sink);
    let second = frames(&mut listener.accept().await.unwrap().0).await;
    assert_eq!(second.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e2"]);
}

#[tokio::test]
async fn an_end_that_is_not_confirmed_confirms_nothing() {
    let (listener, port) = listener().await;
    let mut sink = over("tcp", port, "");
    sink.send(&[event("e1")]).await.unwrap();
    forward_by(IDLE_TIMEOUT).await;
    sink.tick(0).await.unwrap();
    drop(listener.accept().await.unwrap());
    let receiver = tokio::spawn(async move { frames(&mut listener.accept().await.unwrap().0).await });
    sink.send(&[event("e2")]).await.unwrap();
    sink.close().await;
    let second = receiver.await.unwrap();
    assert_eq!(second.iter().map(|frame| id_of(frame)).collect::<Vec<_>>(), ["e1", "e2"]);
}

#[tokio::test]
async fn a_name_does_not_lead_to_an_address_that_is_not_allowed() {
    let (_listener, port) = listener().await;
    for transport in ["tcp", "udp"] {
        let mut sink = sink(&format!(
            "address = \"localhost:{port}\"\ntransport = \"{transport}\"\nallow_networks = [\"10.0.0.0/8\"]"
        ));
        let error = sink.send(&[event("e1")]).await.unwrap_err();
        assert!(error.kind == SendErrorKind::Denied && error.to_string().contains("loopback"), "{error:?}");
    }
}

#[tokio::test]
async fn a_datagram_is_a_message_and_none_is_longer_than_it_may_be() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut sink = over("udp", socket.local_addr().unwrap().port(), "max_message_bytes = 700");
    let mut long = event("e2");
    long.evidence = json!({"agents": vec!["agent"; 400]}).into();
    let mut received = Vec::new();
    let sent = sink.send(&[event("e1"), long]).await.unwrap();
    assert!(sent.refused.is_empty());
    let mut bytes = [0; 2_048];
    for _ in 0..2 {
        let length = socket.recv(&mut bytes).await.unwrap();
        assert!(length <= 700);
        received.push(id_of(std::str::from_utf8(&bytes[..length]).unwrap()).to_owned());
    }
    assert_eq!(received, ["e1", "e2"]);
}

#[tokio::test]
async fn that_nobody_listens_is_noticed_over_udp_too() {
    let port = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut sink = over("udp", port, "");
    let error = sink.send(&[event("e1")]).await.unwrap_err();
    assert_eq!(error.kind, SendErrorKind::Unreachable, "{error:?}");
}
