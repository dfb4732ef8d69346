//! A webhook as somebody would write it who reads the Standard Webhooks specification: it checks every header and the
//! signature before it takes anything.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use keyward::{clock, domain::event::Event};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use super::SECRET;

/// What the other side does with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Takes it.
    Well,
    /// Takes it after a while.
    Slow(Duration),
    /// Takes nothing, and says when to come back.
    TooMany,
    /// Fails.
    Broken,
    /// Answers with something that is no HTTP.
    Garbage,
    /// Takes it, and ends in the middle of saying so.
    HalfAnswer,
    /// Hangs up on the request.
    HangsUp,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub id: String,
    pub body: Value,
}

/// What was taken.
#[derive(Default)]
pub(super) struct Taken {
    pub messages: Vec<Message>,
    pub events: Vec<Event>,
    /// Ids of messages, however they were answered.
    pub seen: Vec<String>,
}

pub(super) struct Receiver {
    pub url: String,
    pub taken: Arc<Mutex<Taken>>,
    news: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Does as `mood` says, by the number of the message.
    pub(super) async fn start(mood: impl Fn(usize) -> Mood + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let taken = Arc::<Mutex<Taken>>::default();
        let (tell, news) = watch::channel(0);
        let (shared, mood, tell) = (taken.clone(), Arc::new(mood), Arc::new(tell));
        let server = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (shared, mood, tell) = (shared.clone(), mood.clone(), tell.clone());
                tokio::spawn(async move {
                    let mut socket = BufReader::new(socket);
                    while serve(&mut socket, &shared, &*mood, &tell).await.is_some() {}
                });
            }
        });
        Self { url, taken, news, server }
    }

    /// Waits until so many events are taken.
    pub(super) async fn until(&self, count: usize) {
        let mut news = self.news.clone();
        let enough = clock::timeout(Duration::from_secs(60), news.wait_for(|taken| *taken >= count)).await;
        assert!(enough.is_ok(), "{} of {count} came", self.taken.lock().events.len());
    }

    /// Waits until so many events are taken, those that came twice not counted.
    pub(super) async fn until_all(&self, count: usize) {
        let mut news = self.news.clone();
        let done = async {
            loop {
                let taken: HashSet<String> = self.taken.lock().events.iter().map(|e| e.id.clone()).collect();
                if taken.len() >= count {
                    return;
                }
                news.changed().await.unwrap();
            }
        };
        let done = clock::timeout(Duration::from_secs(60), done).await;
        assert!(done.is_ok(), "{} came", self.taken.lock().events.len());
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.taken.lock().events.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads one request and answers it; `None` at the end of the connection.
async fn serve(
    socket: &mut BufReader<TcpStream>,
    taken: &Mutex<Taken>,
    mood: &(dyn Fn(usize) -> Mood + Send + Sync),
    tell: &watch::Sender<usize>,
) -> Option<()> {
    let (first, headers) = head(socket).await?;
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str());
    let mut body = vec![0; header("content-length").parse().ok()?];
    socket.read_exact(&mut body).await.ok()?;
    assert_eq!(first, "POST /hook HTTP/1.1");
    assert_eq!(header("content-type"), "application/json");
    let id = header("webhook-id").to_owned();
    let signature = sign(&id, header("webhook-timestamp"), &body);
    assert_eq!(header("webhook-signature"), format!("v1,{signature}"));
    let number = {
        let mut taken = taken.lock();
        taken.seen.push(id.clone());
        taken.seen.len() - 1
    };
    let mood = mood(number);
    if let Mood::Slow(time) = mood {
        clock::sleep(time).await;
    }
    if matches!(mood, Mood::Well | Mood::Slow(_) | Mood::HalfAnswer) {
        take(taken, id, &body, tell);
    }
    let answer: &[u8] = match mood {
        Mood::Well | Mood::Slow(_) => b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok",
        Mood::TooMany => b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
        Mood::Broken => b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\noops",
        Mood::Garbage => b"\x00\xff\xfehello\r\n\r\n",
        Mood::HalfAnswer => b"HTTP/1.1 20",
        Mood::HangsUp => b"",
    };
    socket.write_all(answer).await.ok()?;
    socket.flush().await.ok()?;
    matches!(mood, Mood::Well | Mood::Slow(_) | Mood::TooMany | Mood::Broken).then_some(())
}

/// The request line and the headers, their names in small letters.
async fn head(socket: &mut BufReader<TcpStream>) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let headers = lines.iter().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Some((lines.first()?.clone(), headers))
}

fn sign(id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn take(taken: &Mutex<Taken>, id: String, body: &[u8], tell: &watch::Sender<usize>) {
    let body: Value = serde_json::from_slice(body).unwrap();
    let data = &body["data"];
    let events = data["events"].as_array().map_or_else(|| vec![data.clone()], Clone::clone);
    let events = events.into_iter().filter_map(|event| serde_json::from_value(event).ok());
    let mut taken = taken.lock();
    taken.events.extend(events);
    taken.messages.push(Message { id, body: body.clone() });
    let count = taken.events.len();
    drop(taken);
    tell.send_replace(count);
}
