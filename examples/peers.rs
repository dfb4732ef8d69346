//! What a record is measured against: the least that a service in the same language and with the same libraries could
//! do in its place. It parses the body of a record as JSON and answers static JSON; with `--redis` it waits for one
//! `PING` before that, which is the shortest way to another process and back. `scripts/bench` drives it; on its own:
//!
//! `cargo run --release --example peers -- --listen 127.0.0.1:8081 --redis redis://127.0.0.1:6379`

use std::net::SocketAddr;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use clap::Parser;
use redis::aio::MultiplexedConnection;

// As the service that it is compared with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An answer of about the length of a decision.
const ANSWER: &str = concat!(
    r#"{"request_id":"00000000-0000-4000-8000-000000000000","key_id":"k1:0000000000000000","allowed":true,"#,
    r#""action":"allow","enforcement":"enforce","reason":null,"retry_after":null,"anomalies":[],"#,
    r#""usage":{"1min":{"requests":1,"tokens":10},"5min":{"requests":1,"tokens":10}},"degraded":false}"#
);

/// Answer records with static JSON.
#[derive(Debug, Parser)]
struct Options {
    /// Where it listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A Redis that is asked for a `PONG` before each answer.
    #[arg(long)]
    redis: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let redis = match &options.redis {
        Some(url) => Some(redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?),
        None => None,
    };
    let routes = Router::new()
        .route("/livez", get(|| async { StatusCode::OK }))
        .route("/v1/record", post(record))
        .with_state(redis);
    let listener = tokio::net::TcpListener::bind(options.listen).await?;
    eprintln!("the peer listens on http://{}", listener.local_addr()?);
    axum::serve(listener, routes).await?;
    Ok(())
}

async fn record(State(redis): State<Option<MultiplexedConnection>>, body: Bytes) -> Response {
    let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    if !parsed.get("api_key").is_some_and(serde_json::Value::is_string) {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    if let Some(mut redis) = redis {
        let pong: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut redis).await;
        if pong.is_err() {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    }
    ([(header::CONTENT_TYPE, "application/json")], ANSWER).into_response()
}
