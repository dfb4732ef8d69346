//! One client holds all the connections that it can, and others want to be answered.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::process::Process;
use crate::{
    app::{Served, client},
    redis_server::{Server, free_port},
    support::{eventually, within},
};

const CROWD: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const AT_ONCE: Duration = Duration::from_secs(2);

async fn connect(url: &str, from: IpAddr) -> std::io::Result<TcpStream> {
    let to: SocketAddr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await
}

/// Whether somebody who connects from there is answered.
async fn answered(url: &str, from: IpAddr) -> bool {
    let ask = async {
        let mut stream = connect(url, from).await?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, std::io::Error>(text.starts_with("HTTP/1.1 200"))
    };
    keyward::clock::timeout(AT_ONCE, ask).await.is_ok_and(|done| done.unwrap_or(false))
}

async fn silent(url: &str, from: IpAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.extend(connect(url, from).await);
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_of_one_client_keep_nobody_out() {
    let data = tempfile::tempdir().unwrap();
    let caps =
        [("KEYWARD__SERVER__MAX_CONNECTIONS", "64"), ("KEYWARD__SERVER__MAX_CONNECTIONS_PER_ADDRESS", "32")];
    let service = Process::embedded(data.path(), &caps);
    let _crowd = silent(service.url(), CROWD, 200).await;
    for from in [OTHER, CROWD, OTHER] {
        assert!(answered(service.url(), from).await, "{from}");
    }
    // At work, and many: the address has its cap, and others have room.
    let mut streams = Vec::new();
    for mut stream in silent(service.url(), CROWD, 100).await {
        let _ = stream.write_all(b"GET /v1/events/stream HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        streams.push(stream);
    }
    within(AT_ONCE * 5, "others are answered", async || answered(service.url(), OTHER).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_few_files_may_be_open_connections_leave_some_to_the_store() {
    redis_is_connected_to_again_where_few_files_may_be_open("", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_few_files_may_be_open_the_gateway_and_proxies_share_them_with_callers() {
    let (gateway, proxies) = (free_port(), free_port());
    let settings = format!(
        "[server]\nauthorize_listen = \"127.0.0.1:{proxies}\"\n[gateway]\nlisten = \"127.0.0.1:{gateway}\"\n\
         [[gateway.upstreams]]\nname = \"one\"\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         api_key = \"env:PROVIDER\"\nallow_networks = [\"127.0.0.0/8\"]\n"
    );
    let more = [gateway, proxies].map(|port| format!("http://127.0.0.1:{port}"));
    redis_is_connected_to_again_where_few_files_may_be_open(&settings, &more).await;
}

/// A service that may open 256 files, and a crowd at each of its listeners.
async fn redis_is_connected_to_again_where_few_files_may_be_open(settings: &str, more: &[String]) {
    let mut server = Server::start(&[]);
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("keyward.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_keyward"), "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--store", &server.url(), "--config"]).arg(&file);
    command.env("KEYWARD__SECRETS__DATA_DIRECTORY", data.path()).env("PROVIDER", "sk-provider");
    let service = Served::start_with(&mut command);
    let mut crowds = vec![silent(&service.url, CROWD, 400).await];
    for url in more {
        crowds.push(silent(url, CROWD, 400).await);
    }
    assert!(answered(&service.url, OTHER).await);
    server.kill();
    let ready = async || {
        let reply = client().get(format!("{}/readyz", service.url)).send().await.unwrap();
        reply.json::<serde_json::Value>().await.unwrap()["status"].clone()
    };
    let record = json!({ "key_id": "a", "endpoint": "/x", "source_ip": "203.0.113.7" });
    eventually("the outage is noticed", async || {
        let url = format!("{}/v1/record", service.url);
        assert!(client().post(url).json(&record).send().await.unwrap().status().is_success());
        ready().await == "degraded"
    })
    .await;
    server.start_again(&[]);
    eventually("Redis is connected to again", async || ready().await == "ready").await;
    assert_eq!(service.terminate().code(), Some(0));
}
