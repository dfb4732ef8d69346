//! The accept loop: bounded connections, bounded waits, and an orderly end.
//!
//! It is written out because `axum::serve` sets no timer, without which hyper waits for a request's head for ever.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    http::{Request, Response, Version},
};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{
    authorize::client::Peer,
    connections::{self, Admission, Connections, Slot},
    write_timeout::WriteTimeout,
};
use crate::{clock, config};

/// A pause after the system could not accept (out of file descriptors, say), so that trying again is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// HTTP/2: a silent client is asked for a sign of life this often, and has as long to give it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// Between two looks at what clients take of their answers, at least.
const LEAST_LOOK: Duration = Duration::from_millis(10);
/// HTTP/2: requests at once on one connection.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: most bytes of an answer that are given out at once, so that the last of them are soon taken or seen to wait.
const PIECE: usize = 16 * 1024;
/// HTTP/1: the largest head.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What connections are accepted from.
pub trait Listener: Send {
    /// What is read from and written to, such as a TCP stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next connection, and who is at its other end.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;

    /// Where it listens, for the log.
    ///
    /// # Errors
    /// When the system does not tell.
    fn place(&self) -> io::Result<String>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = Self::accept(self).await?;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY cannot be set");
        }
        Ok((stream, Peer::Address(address.ip())))
    }

    fn place(&self) -> io::Result<String> {
        self.local_addr().map(|address| address.to_string())
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, Peer::Socket))
    }

    fn place(&self) -> io::Result<String> {
        let address = self.local_addr()?;
        Ok(address
            .as_pathname()
            .map_or_else(|| "a socket".to_owned(), |path| format!("unix:{}", path.display())))
    }
}

/// Serves until `shutdown`, then lets requests in flight end within the grace period.
///
/// # Errors
/// When the listener's address cannot be read; single connections that fail are not errors.
pub async fn serve(
    listener: impl Listener,
    router: Router,
    settings: &config::Server,
    shutdown: CancellationToken,
) -> io::Result<()> {
    tracing::info!(address = listener.place()?, "listening");
    let end = CancellationToken::new();
    let server = Server {
        builder: builder(settings),
        router,
        head_timeout: Duration::from_millis(settings.header_timeout_ms),
        write_timeout: Duration::from_millis(settings.write_timeout_ms),
        graceful: GracefulShutdown::new(),
        end: end.clone(),
    };
    let connections = Connections::new(settings.max_connections, settings.max_connections_per_address);
    let watching = tokio::spawn(close_stalled(connections.clone(), server.write_timeout));
    while let Some((stream, peer)) = accept(&listener, &shutdown).await {
        match admit(&connections, peer, &shutdown).await {
            Some(slot) => server.spawn(stream, peer, slot),
            None => drop(stream),
        }
    }
    drop(listener);
    let grace = Duration::from_secs(settings.shutdown_grace_seconds);
    if clock::timeout(grace, server.graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = grace.as_secs(), "requests were still in flight after the grace period");
    }
    end.cancel();
    watching.abort();
    Ok(())
}

/// Closes connections whose client takes nothing of its answers, for as long as it runs: of HTTP/2, where a client that
/// lets nothing be sent keeps the connection itself busy.
async fn close_stalled(connections: Arc<Connections>, timeout: Duration) {
    let mut ticks = clock::ticks((timeout / 4).max(LEAST_LOOK));
    loop {
        ticks.tick().await;
        connections.close_stalled(timeout);
    }
}

fn builder(settings: &config::Server) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.header_timeout_ms))
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

/// The next connection, and who is at its other end; `None` at shutdown.
async fn accept<L: Listener>(listener: &L, shutdown: &CancellationToken) -> Option<(L::Stream, Peer)> {
    let next = async {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return (stream, peer),
                Err(error) => pause_after(&error).await,
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        connection = next => Some(connection),
    }
}

/// Room for a connection, once there is some; `None` where it is to be closed.
async fn admit(connections: &Arc<Connections>, peer: Peer, shutdown: &CancellationToken) -> Option<Slot> {
    // Who has the socket is one program that the folder lets in: there is no other to keep out.
    let address = match peer {
        Peer::Address(address) => Some(address),
        Peer::Socket => None,
    };
    loop {
        match connections.admit(address) {
            Admission::Admitted(slot) => return Some(slot),
            Admission::Refused => return None,
            Admission::Full => {}
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return None,
            () = connections.changed() => {}
        }
    }
}

/// A client that went away before it was accepted is no reason to wait.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::warn!(%error, "cannot accept a connection");
        clock::sleep(ACCEPT_PAUSE).await;
    }
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    head_timeout: Duration,
    write_timeout: Duration,
    graceful: GracefulShutdown,
    /// Cancelled when even the grace period is over.
    end: CancellationToken,
}

impl Server {
    fn spawn<S>(&self, stream: S, peer: Peer, slot: Slot)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let spoke = Arc::new(AtomicBool::new(false));
        let slot = Arc::new(slot);
        let (router, seen, room) = (self.router.clone(), spoke.clone(), slot.clone());
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            seen.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            answer(router.clone(), request, room.request())
        });
        let stream = WriteTimeout::new(stream, self.write_timeout);
        let connection = self.builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = self.graceful.watch(connection);
        let (end, head_timeout) = (self.end.clone(), self.head_timeout);
        tokio::spawn(async move {
            tokio::select! {
                result = connection => if let Err(error) = result {
                    tracing::debug!(error = %error, "a connection ended badly");
                },
                () = silence(&spoke, head_timeout) => tracing::debug!("a client connected and asked nothing"),
                () = slot.end.cancelled() => tracing::debug!("an idle connection made room for another"),
                () = end.cancelled() => {}
            }
        });
    }
}

/// Answers a request, which is over when its answer is sent.
async fn answer(
    router: Router,
    request: Request<Incoming>,
    under_way: connections::Request,
) -> Result<Response<Counted>, std::convert::Infallible> {
    // Over HTTP/1 the connection itself shows whether anything is taken of an answer, however slowly.
    let is_watched = request.version() == Version::HTTP_2;
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| Counted { body, rest: Bytes::new(), is_watched, under_way }))
}

/// The body of an answer, for whose length the request counts as under way. What it has given out waits for the client
/// until more is asked for, or the body is dropped. Given out at once, an answer would be dropped before it is taken:
/// so one that is watched is given out in pieces of at most [`PIECE`] bytes.
struct Counted {
    body: Body,
    /// What has come of the body and is not given out yet.
    rest: Bytes,
    is_watched: bool,
    under_way: connections::Request,
}

impl Counted {
    /// The next piece: of what is left, or of what comes.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.is_watched {
            return Pin::new(&mut self.body).poll_frame(context);
        }
        let polled = self.poll_piece(context);
        self.under_way.waits(polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

/// Ends when a client has sent no first request in time. Hyper's own timer starts only once it is known which
/// version of HTTP the client speaks, which a client that sends nothing never tells.
async fn silence(spoke: &AtomicBool, head_timeout: Duration) {
    clock::sleep(head_timeout).await;
    if spoke.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}
