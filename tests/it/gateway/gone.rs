//! A client that has gone before a provider is asked: nobody is asked for it any more, and it pays nothing.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use keyward::clock;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::watch,
    task::JoinHandle,
};

use super::scene::{EVERYWHERE, Scene, VIRTUAL, chat};
use crate::{redis_server::Server, support::eventually};

/// A way to a Redis on which what is sent there can be held up, and seen.
struct Gate {
    url: String,
    is_open: watch::Sender<bool>,
    held: Arc<Mutex<Vec<u8>>>,
    serving: JoinHandle<()>,
}

impl Gate {
    async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (is_open, open) = watch::channel(true);
        let (held, port) = (Arc::<Mutex<Vec<u8>>>::default(), server.port);
        let seen = held.clone();
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_server, mut to_server) = server.into_split();
                let (from_client, mut to_client) = client.into_split();
                let (open, seen) = (open.clone(), seen.clone());
                tokio::spawn(async move { pass(from_client, &mut to_server, open, &seen).await });
                tokio::spawn(async move { drop(tokio::io::copy(&mut from_server, &mut to_client).await) });
            }
        });
        Self { url, is_open, held, serving }
    }

    /// Whether anything that is held up speaks of this.
    fn holds(&self, text: &str) -> bool {
        self.held.lock().unwrap().windows(text.len()).any(|part| part == text.as_bytes())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes on what comes, once the gate is open; until then it is kept, and seen.
async fn pass(
    mut from: OwnedReadHalf,
    to: &mut (impl AsyncWriteExt + Unpin),
    mut open: watch::Receiver<bool>,
    held: &Mutex<Vec<u8>>,
) {
    let (mut bytes, mut kept) = (vec![0; 64 * 1024], Vec::new());
    loop {
        tokio::select! {
            read = from.read(&mut bytes) => {
                let Ok(length @ 1..) = read else { return };
                kept.extend_from_slice(&bytes[..length]);
                if !*open.borrow() {
                    held.lock().unwrap().extend_from_slice(&bytes[..length]);
                }
            }
            changed = open.changed() => if changed.is_err() { return },
        }
        if *open.borrow() && to.write_all(&std::mem::take(&mut kept)).await.is_err() {
            return;
        }
    }
}

/// Sends a request as it stands.
async fn ask(scene: &Scene, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(scene.url.strip_prefix("http://").unwrap()).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {VIRTUAL}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    stream
}

/// Leaves; at the end the service has noticed it.
async fn leave(mut stream: TcpStream) {
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let ended = clock::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    assert_eq!((ended.is_ok(), rest.as_slice()), (true, &b""[..]));
}

#[tokio::test]
async fn who_leaves_while_the_reservation_is_made_pays_nothing_and_no_provider_is_asked() {
    let server = Server::start(&[]);
    let gate = Gate::before(&server).await;
    let scene = Scene::over(Some(&gate.url), "", |_| EVERYWHERE.to_owned()).await;
    gate.is_open.send_replace(false);
    let stream = ask(&scene, &chat("hi", json!({ "max_tokens": 50 }))).await;
    eventually("the reservation is on its way", async || gate.holds(&scene.key_id)).await;
    leave(stream).await;
    gate.is_open.send_replace(true);
    let url = format!("http://{}/v1/subjects/key:{}", scene.running.address, scene.key_id);
    eventually("the request is reported", async || {
        let subject: Value = scene.client.get(&url).send().await.unwrap().json().await.unwrap();
        subject["windows"][0]["requests"] == 1 && scene.held().await == 0
    })
    .await;
    assert_eq!((scene.spent().await, scene.provider.bill.seen().len()), (0, 0));
    scene.stop().await;
}
