//! A server that checks what it is sent and answers as it is told: also with half an answer, garbage, or never.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

/// What it was sent.
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What it answers.
#[derive(Clone)]
pub(super) enum Reply {
    /// A status, headers and a body.
    Full(u16, Vec<(&'static str, &'static str)>, String),
    /// A 200 that breaks off in the middle of its body.
    Half(String),
    /// Something that is no HTTP.
    Garbage,
    /// Nothing, ever.
    Silence,
}

impl Reply {
    pub(super) fn status(status: u16, body: &str) -> Self {
        Self::Full(status, Vec::new(), body.to_owned())
    }

    pub(super) fn after_a_second(status: u16, body: &str) -> Self {
        Self::Full(status, vec![("retry-after", "1")], body.to_owned())
    }
}

/// Listens on a free port until it is dropped.
pub(super) struct Fake {
    pub url: String,
    complaints: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

type Answers = dyn Fn(&Request) -> Result<Reply, String> + Send + Sync;

impl Fake {
    /// `answers` says what is wrong with a request, or the reply.
    pub(super) async fn start(
        answers: impl Fn(&Request) -> Result<Reply, String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let (answers, heard): (Arc<Answers>, _) = (Arc::new(answers), complaints.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, answers.clone(), heard.clone()));
            }
        });
        Self { url, complaints, task }
    }

    /// Whether every request was as it must be.
    pub(super) fn is_content(&self) {
        assert_eq!(*self.complaints.lock().unwrap(), Vec::<String>::new());
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Answers>, complaints: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read(&mut stream).await else { return };
    let reply = answers(&request).unwrap_or_else(|complaint| {
        complaints.lock().unwrap().push(format!("{} {}: {complaint}", request.method, request.path));
        Reply::status(418, "a complaint")
    });
    let bytes = match reply {
        Reply::Full(status, headers, body) => {
            let headers: String =
                headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
        }
        Reply::Half(body) => {
            let (length, half) = (body.len(), &body[..body.len() / 2]);
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{half}")
        }
        Reply::Garbage => "\u{1}\u{2} what?\r\n\r\n".to_owned(),
        Reply::Silence => std::future::pending().await,
    };
    let _ = stream.write_all(bytes.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// One request; `None` when the other side left.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    };
    let headers: HashMap<String, String> = lines.map(header).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(head + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}
