//! A service over HTTP that remembers what it was sent, checks it as the real one would, and can be made to fail.

use std::{collections::VecDeque, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinHandle;

/// A request that was taken.
#[derive(Debug, Clone)]
pub(super) struct Taken {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

/// What is answered when it is right, or why it is not.
pub(super) type Check = fn(&str, &Value) -> Result<(u16, String), String>;

#[derive(Default)]
struct Known {
    taken: Mutex<Vec<Taken>>,
    /// Answers before it does as it should: the status and `Retry-After`.
    troubles: Mutex<VecDeque<(u16, Option<u32>)>>,
    asked: Mutex<usize>,
}

pub(super) struct Fake {
    pub url: String,
    known: Arc<Known>,
    server: JoinHandle<()>,
}

impl Fake {
    pub(super) async fn start(check: Check) -> Self {
        let known = Arc::new(Known::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = known.clone();
        let answer = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let known = shared.clone();
            async move { known.answer(&uri, headers, &body, check) }
        };
        let app = Router::new().fallback(answer);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, known, server }
    }

    /// Answers so once, before it does as it should.
    pub(super) fn trouble(&self, status: u16, retry_after: Option<u32>) {
        self.known.troubles.lock().push_back((status, retry_after));
    }

    pub(super) fn taken(&self) -> Vec<Taken> {
        self.known.taken.lock().clone()
    }

    /// How often it was asked, whatever it answered.
    pub(super) fn asked(&self) -> usize {
        *self.known.asked.lock()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Known {
    fn answer(&self, uri: &Uri, headers: HeaderMap, body: &[u8], check: Check) -> Response {
        *self.asked.lock() += 1;
        if let Some((status, after)) = self.troubles.lock().pop_front() {
            let mut response = (StatusCode::from_u16(status).unwrap(), "trouble").into_response();
            if let Some(after) = after {
                response.headers_mut().insert("retry-after", after.into());
            }
            return response;
        }
        let is_json = headers.get("content-type").is_some_and(|kind| kind == "application/json");
        let body: Value = match serde_json::from_slice(body) {
            Ok(body) if is_json => body,
            _ => return (StatusCode::BAD_REQUEST, "no JSON").into_response(),
        };
        match check(uri.path(), &body) {
            Ok((status, text)) => {
                self.taken.lock().push(Taken { path: uri.path().to_owned(), headers, body });
                (StatusCode::from_u16(status).unwrap(), text).into_response()
            }
            Err(why) => (StatusCode::BAD_REQUEST, why).into_response(),
        }
    }
}

/// Takes anything.
pub(super) fn anything(_path: &str, _body: &Value) -> Result<(u16, String), String> {
    Ok((200, "ok".to_owned()))
}
