//! The API over real connections: slow, silent and oversized clients, and the end of the service.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::Api;
use crate::{clock, config, http::serve};

struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

async fn serve_with(change: impl FnOnce(&mut config::Server)) -> Served {
    let api = Api::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = config::Server {
        listen: address,
        admin_listen: String::new(),
        hosts: Vec::new(),
        header_timeout_ms: 300,
        request_timeout_ms: 5_000,
        write_timeout_ms: 5_000,
        max_connections: 16,
        max_connections_per_address: 16,
        shutdown_grace_seconds: 5,
        max_clock_skew_seconds: 300,
        trusted_proxies: Vec::new(),
        authorize_listen: config::DoorListen::Off,
        grpc_listen: config::DoorListen::Off,
        export_detector_bans: false,
        reload_seconds: 0,
    };
    change(&mut settings);
    let shutdown = api.shutdown.clone();
    let task = tokio::spawn(async move { serve(listener, api.router, &settings, api.shutdown).await });
    Served { address, shutdown, task }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes, then reads until the other side closes.
    async fn exchange(&self, parts: &[&[u8]]) -> String {
        let mut stream = self.connect().await;
        for part in parts {
            stream.write_all(part).await.unwrap();
        }
        read_all(&mut stream).await
    }

    async fn stop(self) {
        self.shutdown.cancel();
        clock::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    clock::timeout(Duration::from_secs(10), reading).await.unwrap().unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_request_is_served() {
    let served = serve_with(|_| {}).await;
    let text =
        served.exchange(&[b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"]).await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(r#"{"status":"alive"}"#), "{text}");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_ten_megabytes_first_still_reads_why_not() {
    let served = serve_with(|_| {}).await;
    let length = 10 * 1024 * 1024;
    let head = format!(
        "POST /v1/record HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    let text = served.exchange(&[head.as_bytes(), &vec![b' '; length]]).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    assert!(text.contains("application/problem+json"), "{text}");
    served.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_answered_before_it_sends() {
    let served = serve_with(|_| {}).await;
    let head =
        b"POST /v1/record HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: 10485760\r\n\r\n";
    let text = served.exchange(&[head]).await;
    assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
    served.stop().await;
}

#[tokio::test]
async fn silent_and_dawdling_clients_are_let_go() {
    let served = serve_with(|_| {}).await;
    for sent in [&b""[..], b"P", b"GET /livez HTTP/1.1\r\nhost"] {
        let text = served.exchange(&[sent]).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    }
    served.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_for_those_that_are_at_work() {
    let served = serve_with(|settings| {
        settings.max_connections = 1;
        settings.header_timeout_ms = 5_000;
    })
    .await;
    let mut first = served.connect().await;
    first.write_all(b"GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    first.read_exact(&mut head).await.unwrap();
    let mut second = served.connect().await;
    second.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0; 1];
    let waits = clock::timeout(Duration::from_millis(200), second.read(&mut byte)).await;
    assert!(waits.is_err(), "the second connection was served while the first was open");
    drop(first);
    assert!(read_all(&mut second).await.starts_with("HTTP/1.1 200"));
    served.stop().await;
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_new_one() {
    let served = serve_with(|settings| {
        settings.max_connections = 1;
        settings.header_timeout_ms = 60_000;
    })
    .await;
    let mut silent = served.connect().await;
    let text =
        served.exchange(&[b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert_eq!(read_all(&mut silent).await, "", "it was closed");
    served.stop().await;
}

#[tokio::test]
async fn clients_that_take_nothing_of_their_answers_keep_nobody_out_for_ever() {
    let served = serve_with(|settings| {
        settings.max_connections = 2;
        settings.max_connections_per_address = 2;
        settings.write_timeout_ms = 300;
    })
    .await;
    let ask = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500);
    let mut slow = served.connect().await;
    // Takes nothing, so that even the questions are no longer taken after a while.
    let _asked = clock::timeout(Duration::from_millis(200), slow.write_all(&ask)).await;
    let text =
        served.exchange(&[b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"]).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    served.stop().await;
}

/// An HTTP/2 client that lets so many bytes of each answer be sent, and asks for a path.
fn http2(window: u32, path: &str) -> Vec<u8> {
    let [settings_frame, headers_frame] = [4, 1];
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
    // GET and http from the table of the format; the path and the host as they are.
    let head = [&[0x82, 0x86, 0x04][..], &text(path), &[0x01], &text("localhost")].concat();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    [preface, frame(settings_frame, 0, 0, &settings), frame(headers_frame, 0x5, 1, &head)].concat()
}

/// A service with room for one connection, which such a client has: whether another is answered within a second.
async fn is_answered_beside(window: u32, path: &str) -> bool {
    let served = serve_with(|settings| {
        settings.max_connections = 1;
        settings.max_connections_per_address = 1;
        settings.write_timeout_ms = 100;
    })
    .await;
    let mut first = served.connect().await;
    first.write_all(&http2(window, path)).await.unwrap();
    let mut settings = [0; 9];
    first.read_exact(&mut settings).await.unwrap();
    let asked = served.exchange(&[b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"]);
    let answered = clock::timeout(Duration::from_secs(1), asked).await;
    drop(first);
    served.stop().await;
    answered.is_ok_and(|text| text.starts_with("HTTP/1.1 200"))
}

#[tokio::test]
async fn an_http2_client_that_lets_nothing_be_sent_keeps_nobody_out_and_one_that_waits_for_events_stays() {
    assert!(is_answered_beside(0, "/livez").await, "nothing is taken");
    assert!(!is_answered_beside(65_535, "/v1/events/stream").await, "there is nothing to take yet");
}

#[tokio::test]
async fn an_http2_client_that_takes_a_byte_of_a_long_answer_and_then_nothing_is_cut() {
    let served = serve_with(|settings| settings.write_timeout_ms = 100).await;
    let mut first = served.connect().await;
    first.write_all(&http2(1, "/openapi.json")).await.unwrap();
    let mut taken = Vec::new();
    // Long before the sign of life that it is asked for after 20 s, and does not give.
    let cut = clock::timeout(Duration::from_secs(15), first.read_to_end(&mut taken)).await;
    assert!(cut.is_ok(), "it still holds its connection and the answer");
    served.stop().await;
}

#[tokio::test]
async fn the_end_of_the_service_ends_streams_and_idle_connections() {
    let served = serve_with(|_| {}).await;
    let mut stream = served.connect().await;
    stream.write_all(b"GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    served.stop().await;
    read_all(&mut stream).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let served = serve_with(|_| {}).await;
    let head = b"POST /v1/record HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let text = served.exchange(&[head]).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("application/problem+json"), "{text}");
    served.stop().await;
}
