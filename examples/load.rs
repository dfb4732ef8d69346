//! Keeps a few connections to a running service busy for a number of requests and says how that went: requests and
//! records per second, latency at the median and the 99th percentile. `scripts/bench` drives it; on its own:
//!
//! `cargo run --release --example load -- --address 127.0.0.1:8080 --requests 20000`
//!
//! It speaks HTTP/1.1 by hand over loopback so that the load takes as little as possible of the machine it shares
//! with the service. It is no general client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use keyward::clock::{self, Instant};

/// Drive a running service with a bounded load.
#[derive(Debug, Clone, Parser)]
struct Options {
    /// Where the service listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    address: SocketAddr,
    /// What is called: `record`, `check`, or `livez` (what HTTP alone costs).
    #[arg(long, default_value = "record")]
    route: String,
    /// Connections, each with one request in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1024))]
    connections: u64,
    /// Requests over all connections.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    requests: u64,
    /// API keys that the records are spread over.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    keys: u64,
    /// Records per request; above 1 they go to /v1/record/batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    batch: u64,
    /// No more than this many seconds.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Bearer token.
    #[arg(long, env = "KEYWARD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What the lines that are printed start with.
    #[arg(long, default_value = "load")]
    name: String,
}

/// What one connection has seen.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    refused: u64,
    degraded: u64,
    failed: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let next = Arc::new(AtomicU64::new(0));
    let started = clock::instant();
    let deadline = started + Duration::from_secs(options.seconds);
    let workers =
        (0..options.connections).map(|_| tokio::spawn(work(options.clone(), next.clone(), deadline)));
    let mut all = Seen::default();
    for worker in workers.collect::<Vec<_>>() {
        let seen = worker.await??;
        all.latencies.extend(seen.latencies);
        all.refused += seen.refused;
        all.degraded += seen.degraded;
        all.failed += seen.failed;
    }
    report(&options, &mut all, started.elapsed());
    Ok(())
}

async fn work(options: Options, next: Arc<AtomicU64>, deadline: Instant) -> anyhow::Result<Seen> {
    let mut stream = TcpStream::connect(options.address).await.context("no service answers there")?;
    stream.set_nodelay(true)?;
    let (mut seen, mut buffer) = (Seen::default(), Vec::with_capacity(64 * 1024));
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= options.requests || clock::instant() >= deadline {
            return Ok(seen);
        }
        let request = request(&options, number);
        let asked = clock::instant();
        stream.write_all(&request).await?;
        let (status, body) = answer(&mut stream, &mut buffer).await?;
        seen.latencies.push(asked.elapsed());
        seen.failed += u64::from(status != 200);
        seen.refused += count(body, b"\"allowed\":false");
        seen.degraded += count(body, b"\"degraded\":true");
    }
}

fn request(options: &Options, number: u64) -> Vec<u8> {
    let (method, path, media) = match (options.route.as_str(), options.batch) {
        ("record", 1) => ("POST", "/v1/record", "application/json"),
        ("record", _) => ("POST", "/v1/record/batch", "application/x-ndjson"),
        ("check", _) => ("POST", "/v1/check", "application/json"),
        _ => ("GET", "/livez", "application/json"),
    };
    let body = match path {
        "/livez" => String::new(),
        _ => (0..options.batch).map(|n| record(options, number * options.batch + n)).collect(),
    };
    let token = options.token.as_ref().map(|t| format!("authorization: Bearer {t}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\n{token}content-type: {media}\r\n\
                 content-length: {length}\r\n\r\n{body}",
        options.address
    )
    .into_bytes()
}

/// Each key has a home: one address of the demo database's Singapore network.
fn record(options: &Options, number: u64) -> String {
    let key = number % options.keys;
    let (tokens, home) = (5 + number % 11, 1 + key % 250);
    let amount = if options.route == "check" { "estimated_tokens" } else { "tokens_used" };
    let client = if options.route == "check" { "" } else { ",\"user_agent\":\"openai-python/1.51.0\"" };
    format!(
        "{{\"api_key\":\"sk-load-{key:08}\",\"endpoint\":\"/v1/chat/completions\",\"model\":\"gpt-4.1\",\
         \"{amount}\":{tokens},\"source_ip\":\"203.0.113.{home}\"{client}}}\n"
    )
}

/// Reads one answer whose length its head tells.
async fn answer<'b>(stream: &mut TcpStream, buffer: &'b mut Vec<u8>) -> anyhow::Result<(u16, &'b [u8])> {
    buffer.clear();
    let mut end = None;
    loop {
        if let Some((head, whole)) = end
            && buffer.len() >= whole
        {
            let status = std::str::from_utf8(&buffer[9..12])?.parse()?;
            return Ok((status, &buffer[head..whole]));
        }
        if stream.read_buf(buffer).await? == 0 {
            bail!("the service closed the connection");
        }
        if end.is_none()
            && let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..at])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without content-length")?.trim().parse()?;
            end = Some((at + 4, at + 4 + length));
        }
    }
}

fn count(body: &[u8], what: &[u8]) -> u64 {
    body.windows(what.len()).filter(|window| *window == what).count() as u64
}

fn report(options: &Options, all: &mut Seen, took: Duration) {
    all.latencies.sort_unstable();
    let requests = all.latencies.len() as f64;
    let quantile = |q: f64| {
        let at = ((requests * q) as usize).min(all.latencies.len().saturating_sub(1));
        all.latencies.get(at).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    };
    let per_second = requests / took.as_secs_f64();
    println!(
        "{}: {requests} requests of {} record(s) on {} connections in {:.2} s: {:.0} requests/s, {:.0} records/s, \
         p50 {:.2} ms, p99 {:.2} ms; refused {}, degraded {}, not 200 {}",
        options.name,
        options.batch,
        options.connections,
        took.as_secs_f64(),
        per_second,
        per_second * options.batch as f64,
        quantile(0.5),
        quantile(0.99),
        all.refused,
        all.degraded,
        all.failed,
    );
}
