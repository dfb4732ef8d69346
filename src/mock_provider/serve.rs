//! The routes of the mock provider, and how an answer goes out: late, in pieces, and not always whole.

use std::{io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures::{StreamExt, stream};
use serde_json::Value;

use super::{
    anthropic,
    asked::Asked,
    bill::{Bill, Seen, Totals},
    directives::Directives,
    openai,
};
use crate::clock;

/// How long a connection stands after its last part, before it breaks.
const BEFORE_CUT: Duration = Duration::from_millis(50);
/// Most bytes of a request's body.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// How one interface answers.
#[derive(Clone, Copy)]
struct Interface {
    plain: fn(&Asked) -> Value,
    /// The events of a stream; none where there are no streams.
    events: Option<fn(&Asked) -> Vec<String>>,
    error: fn(u16) -> Value,
    /// Whether its answers are billed.
    billed: bool,
}

/// The routes of a mock provider: OpenAI's below `/v1`, Anthropic's beside them, and `GET /mock/bill`.
pub fn router(bill: Arc<Bill>) -> Router {
    let openai = |plain, events| Interface { plain, events, error: openai::error, billed: true };
    let message = Interface {
        plain: anthropic::message,
        events: Some(anthropic::events),
        error: anthropic::error,
        billed: true,
    };
    let count = Interface { plain: anthropic::count_tokens, events: None, billed: false, ..message };
    let on = |interface: Interface| {
        post(move |State(bill): State<Arc<Bill>>, request: Request| answer(bill, interface, request))
    };
    Router::new()
        .route("/v1/chat/completions", on(openai(openai::chat, Some(openai::chat_events))))
        .route("/v1/completions", on(openai(openai::completion, Some(openai::completion_events))))
        .route("/v1/responses", on(openai(openai::responses, Some(openai::response_events))))
        .route("/v1/embeddings", on(openai(openai::embeddings, None)))
        .route("/v1/messages", on(message))
        .route("/v1/messages/count_tokens", on(count))
        .route("/v1/models", get(|| async { Json(openai::models()) }))
        .route("/mock/bill", get(|State(bill): State<Arc<Bill>>| async move { Json(bill.totals()) }))
        .layer(DefaultBodyLimit::disable())
        .with_state(bill)
}

async fn answer(bill: Arc<Bill>, interface: Interface, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return failure(&interface, 413, &Directives::default());
    };
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    bill.see(Seen {
        line: format!("{} {}", head.method, head.uri),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.clone(),
    });
    let open = Open::new(bill, interface.billed);
    let Some(asked) = Asked::read(&body) else {
        open.fail();
        return failure(&interface, 400, &Directives::default());
    };
    // Dropped here, where the client leaves before the answer begins.
    clock::sleep(Duration::from_millis(asked.directives.delay_ms)).await;
    if let Some(status) = asked.directives.status {
        open.fail();
        return failure(&interface, status, &asked.directives);
    }
    match interface.events.filter(|_| asked.stream) {
        Some(events) => streamed(open, &interface, events(&asked), asked),
        None => whole(open, (interface.plain)(&asked), &asked),
    }
}

fn failure(interface: &Interface, status: u16, directives: &Directives) -> Response {
    let mut response = Json((interface.error)(status)).into_response();
    if let Ok(status) = status.try_into() {
        *response.status_mut() = status;
    }
    if let Some(seconds) = directives.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn whole(mut open: Open, answer: Value, asked: &Asked) -> Response {
    let mut parts = split(answer.to_string(), asked.directives.split);
    open.whole = asked.used;
    open.sent = asked.used;
    let is_cut = asked.directives.cut.is_some();
    if is_cut {
        let half = parts.len().div_ceil(2);
        parts.truncate(half);
        if let Some(last) = parts.last_mut() {
            last.truncate(last.len() / 2);
        }
    }
    let length = answer.to_string().len();
    let mut response = body(open, parts, Duration::ZERO, is_cut).into_response();
    if asked.directives.split.is_none() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn streamed(mut open: Open, interface: &Interface, mut events: Vec<String>, asked: Asked) -> Response {
    let directives = &asked.directives;
    if let Some(after) = directives.error_after {
        events.truncate(after);
        events.push(error_event(interface));
    }
    if let Some(after) = directives.cut {
        events.truncate(after);
    }
    open.whole = asked.used;
    open.of_event = asked.used.output_tokens.div_ceil(events.len().max(1) as u64);
    open.bills_full = directives.bills_full;
    open.sent = Totals { output_tokens: 0, ..asked.used };
    let lines = |event: String| if directives.crlf { event.replace('\n', "\r\n") } else { event };
    let parts = events.into_iter().flat_map(|event| split(lines(event), directives.split)).collect();
    let pause = Duration::from_millis(directives.event_delay_ms);
    let mut response = body(open, parts, pause, directives.cut.is_some()).into_response();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn error_event(interface: &Interface) -> String {
    let error = (interface.error)(529);
    let name = if error.get("type").is_some() { "event: error\n" } else { "" };
    format!("{name}data: {error}\n\n")
}

fn split(text: String, bytes: Option<usize>) -> Vec<Vec<u8>> {
    match bytes {
        Some(bytes) => text.as_bytes().chunks(bytes).map(<[u8]>::to_vec).collect(),
        None => vec![text.into_bytes()],
    }
}

/// A body of `parts`, with a pause before each but the first; cut, it ends with a broken connection.
fn body(open: Open, parts: Vec<Vec<u8>>, pause: Duration, is_cut: bool) -> Body {
    let end = if is_cut { vec![Err(io::Error::from(io::ErrorKind::ConnectionReset))] } else { Vec::new() };
    let items = parts.into_iter().map(|part| Ok(Bytes::from(part))).chain(end).enumerate();
    let last = items.size_hint().0;
    let sent = stream::iter(items).scan(open, move |open, (n, item)| {
        open.step(n + 1 == last && !is_cut);
        std::future::ready(Some((n, item)))
    });
    Body::from_stream(sent.then(move |(n, item)| async move {
        if n > 0 && !pause.is_zero() {
            clock::sleep(pause).await;
        }
        if item.is_err() {
            // What was written before would be lost with the connection.
            clock::sleep(BEFORE_CUT).await;
        }
        item
    }))
}

/// An answer that goes out; dropped before its end, its client left.
struct Open {
    bill: Arc<Bill>,
    billed: bool,
    is_over: bool,
    bills_full: bool,
    whole: Totals,
    sent: Totals,
    /// Tokens of the answer in each event.
    of_event: u64,
}

impl Open {
    fn new(bill: Arc<Bill>, billed: bool) -> Self {
        bill.change(|totals| totals.open += 1);
        let (whole, sent) = (Totals::default(), Totals::default());
        Self { bill, billed, is_over: false, bills_full: false, whole, sent, of_event: 0 }
    }

    fn step(&mut self, is_last: bool) {
        let output = (self.sent.output_tokens + self.of_event).min(self.whole.output_tokens);
        self.sent.output_tokens = output;
        if is_last {
            self.sent = self.whole;
            self.is_over = true;
        }
    }

    fn fail(mut self) {
        self.is_over = true;
        self.billed = false;
        self.bill.change(|totals| totals.errors += 1);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let used = if self.bills_full { self.whole } else { self.sent };
        self.bill.change(|totals| {
            totals.open -= 1;
            totals.cancelled += u64::from(!self.is_over);
            if self.billed {
                totals.requests += 1;
                totals.input_tokens += used.input_tokens;
                totals.output_tokens += used.output_tokens;
            }
        });
    }
}
