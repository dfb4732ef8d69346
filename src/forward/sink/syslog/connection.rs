//! One connection to a receiver, TCP with or without TLS, and what can be seen of its other end.

use std::{
    collections::VecDeque, future::poll_fn, io, mem::MaybeUninit, net::SocketAddr, pin::Pin, task::Poll,
    time::Duration,
};

use bytes::Bytes;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use crate::{
    clock::{self, Instant},
    forward::error::{SendError, SendErrorKind},
    outbound::{ByteStream, Endpoint, OutboundError, TlsClient, connect},
};

/// How long one address has to answer and to make the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How many written bytes may wait here for the network: few, as they are lost with the connection.
const SEND_BUFFER: u32 = 256 * 1024;

/// Connects to a receiver.
pub(super) struct StreamConnector {
    endpoint: Endpoint,
    tls: Option<TlsClient>,
}

/// What is known of the other end of a connection.
#[derive(Debug)]
pub(super) enum PeerState {
    /// Nothing: the connection is open.
    Open,
    /// It has ended the connection, having read all that had arrived.
    Closed,
    /// The connection is gone, and what it held with it.
    Broken(SendError),
}

/// A connection to a receiver.
pub(super) struct StreamConnection {
    stream: Box<dyn ByteStream>,
    /// The same connection, for what only the system knows of it.
    socket: Socket,
    /// What must be written again before anything new.
    pub to_retransmit: VecDeque<Bytes>,
    /// Whether everything that had to be written again is written now.
    pub retransmitted: bool,
    /// Whether it is still to be seen that the other side does not hang up at once.
    pub on_probation: bool,
    /// Whether our side is ended.
    pub closing: bool,
    /// When something was last written.
    pub written: Instant,
}

impl StreamConnector {
    /// Connects to an endpoint, with TLS if `tls` is there.
    pub(super) fn new(endpoint: Endpoint, tls: Option<TlsClient>) -> Self {
        Self { endpoint, tls }
    }

    /// Connects to the first allowed address that answers.
    ///
    /// # Errors
    /// Why the last address does not.
    pub(super) async fn connect(&self) -> Result<StreamConnection, SendError> {
        let mut failed = SendError::unreachable("it has no address");
        for address in self.endpoint.addresses().await? {
            let late = || Err(OutboundError::TimedOut { address, limit: CONNECT_TIMEOUT });
            match clock::timeout(CONNECT_TIMEOUT, self.open(address)).await.unwrap_or_else(|_| late()) {
                Ok(connection) => return Ok(connection),
                Err(error) => failed = error.into(),
            }
        }
        Err(failed)
    }

    async fn open(&self, address: SocketAddr) -> Result<StreamConnection, OutboundError> {
        let failed = |source: io::Error| OutboundError::NotConnected { address, source };
        let stream = connect(address, Some(SEND_BUFFER)).await.map_err(failed)?;
        let socket = SockRef::from(&stream).try_clone().map_err(failed)?;
        let stream: Box<dyn ByteStream> = match &self.tls {
            Some(tls) => Box::new(tls.connect(stream).await?),
            None => Box::new(stream),
        };
        Ok(StreamConnection {
            stream,
            socket,
            to_retransmit: VecDeque::new(),
            retransmitted: false,
            on_probation: true,
            closing: false,
            written: clock::instant(),
        })
    }
}

impl StreamConnection {
    /// Writes all of it, and everything behind it that TLS holds back.
    ///
    /// # Errors
    /// When the connection is gone. How much has arrived is not known then.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let written = match self.stream.write_all(bytes).await {
            Ok(()) => self.stream.flush().await,
            failed => failed,
        };
        self.written = clock::instant();
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(self.write_error(error).await),
        }
    }

    /// Writes what must be written again. Goes on where it was when it is called again after it was dropped.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn retransmit(&mut self) -> Result<(), SendError> {
        while let Some(first) = self.to_retransmit.front_mut() {
            if first.is_empty() {
                self.to_retransmit.pop_front();
                continue;
            }
            if let Err(error) = self.stream.write_buf(first).await {
                return Err(self.write_error(error).await);
            }
        }
        (self.retransmitted, self.written) = (true, clock::instant());
        self.stream.flush().await.map_err(broken)
    }

    /// Why it cannot be written to: the other side may have said so before it hung up.
    async fn write_error(&mut self, error: io::Error) -> SendError {
        match self.peer_state().await {
            PeerState::Broken(said) if said.kind == SendErrorKind::Denied => said,
            _ => broken(error),
        }
    }

    /// What is known of the other end now, without waiting. What it says means nothing in syslog.
    pub(super) async fn peer_state(&mut self) -> PeerState {
        let mut bytes = [MaybeUninit::uninit(); 4_096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let read = poll_fn(|context| match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                // The system may know what the runtime does not know yet.
                Poll::Pending => match self.socket.peek(&mut [MaybeUninit::uninit()]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(None),
                    Err(error) => Poll::Ready(Some(Err(error))),
                    Ok(_) => Poll::Pending,
                },
            });
            match read.await {
                None => return PeerState::Open,
                Some(Ok(())) if !buffer.filled().is_empty() => {}
                Some(end) => return self.state_after(end),
            }
        }
    }

    /// Waits for the other side to end the connection, for `time` at most.
    pub(super) async fn wait_for_close(&mut self, time: Duration) -> PeerState {
        let until = clock::instant() + time;
        let mut bytes = [0; 4_096];
        loop {
            match clock::timeout_at(until, self.stream.read(&mut bytes)).await {
                Err(_) => return self.peer_state().await,
                Ok(Ok(0)) => return self.state_after(Ok(())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.state_after(Err(error)),
            }
        }
    }

    /// Ends our side: the other side reads to the end and then ends its own.
    ///
    /// # Errors
    /// When the connection is gone.
    pub(super) async fn close(&mut self) -> Result<(), SendError> {
        self.closing = true;
        self.stream.shutdown().await.map_err(broken)
    }

    fn state_after(&self, end: io::Result<()>) -> PeerState {
        let failed = match end {
            Ok(()) => None,
            // Many end TLS without a word. That is good enough once we have ended our side.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.closing => None,
            Err(error) => Some(broken(error)),
        };
        match (failed, self.socket.take_error()) {
            (Some(why), _) => PeerState::Broken(why),
            // Data that came after the other side had ended is refused, which only this tells.
            (None, Ok(Some(error)) | Err(error)) => PeerState::Broken(broken(error)),
            (None, Ok(None)) => PeerState::Closed,
        }
    }
}

/// An error on a connection that was made.
fn broken(error: io::Error) -> SendError {
    OutboundError::of_connection(error).into()
}
