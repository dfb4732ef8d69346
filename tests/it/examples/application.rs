//! The application behind nginx and Envoy. The query of a request says how it goes, as in `application.py` and
//! `routes.mjs`: `count` says what was used, `invalid` and `fail` are errors that say nothing, `hang` leaves the file
//! `hanging` and never answers, `stream` begins to answer and never ends.

use std::path::{Path, PathBuf};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use tokio::{net::TcpListener, task::JoinHandle};

/// A running application; it ends when this is dropped.
pub(super) struct Application {
    pub port: u16,
    server: JoinHandle<()>,
}

impl Application {
    /// Starts one that leaves its file in `directory`.
    pub(super) async fn start(directory: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state(directory.join("hanging"));
        let server = tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        Self { port, server }
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(hanging): State<PathBuf>, RawQuery(mood): RawQuery) -> Response {
    match mood.as_deref() {
        Some("count") => ([("x-tokens-used", "7")], "hello").into_response(),
        Some("invalid") => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
        Some("fail") => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some("hang") => {
            std::fs::write(hanging, "").unwrap();
            std::future::pending().await
        }
        Some("stream") => {
            let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"hello"))]);
            // nginx passes on at once what it is told not to keep back.
            ([("x-accel-buffering", "no")], Body::from_stream(first.chain(stream::pending()))).into_response()
        }
        _ => "hello".into_response(),
    }
}
