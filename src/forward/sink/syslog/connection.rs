//! One connection to a receiver, TCP with or without TLS, and what can be seen of its other end.

use std::{
    collections::VecDeque, future::poll_fn, io, mem::MaybeUninit, net::SocketAddr, pin::Pin, task::Poll,
    time::Duration,
};

use bytes::Bytes;
use socket2::{SockRef, Socket};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout, timeout_at},
};

use crate::forward::{
    Failure,
    reach::{Io, Route, Tls, connect, failure},
};

/// What one address gets to answer, and to shake hands.
const CONNECT: Duration = Duration::from_secs(5);
/// Of what was written, so much may wait here for the network: little, as it is lost with the connection.
const SEND_BUFFER: u32 = 256 * 1024;

/// Makes connections.
pub struct Connector {
    route: Route,
    tls: Option<Tls>,
}

/// What was seen of the other end.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: the connection is open.
    Open,
    /// It has ended the connection, having read all that had arrived.
    Ended,
    /// The connection is gone, and what it held with it.
    Broken(Failure),
}

/// A connection.
pub struct Link {
    io: Box<dyn Io>,
    /// The same connection, for what only the system knows of it.
    socket: Socket,
    /// What must be written before anything else.
    pub owed: VecDeque<Bytes>,
    /// Whether something was owed and is written now.
    pub paid: bool,
    /// Whether it is still to be seen that the other side does not hang up at once.
    pub fresh: bool,
    /// Whether our side is ended.
    pub ending: bool,
    pub written: Instant,
}

impl Connector {
    /// Along a route, private if `tls` is there.
    pub fn new(route: Route, tls: Option<Tls>) -> Self {
        Self { route, tls }
    }

    /// Connects to the first allowed address that answers.
    ///
    /// # Errors
    /// Why none does.
    pub async fn connect(&self) -> Result<Link, Failure> {
        let mut failed = None;
        for address in self.route.addresses().await? {
            let late =
                || Failure::Unreachable(format!("{address}: no answer within {} s", CONNECT.as_secs()));
            match timeout(CONNECT, self.link(address)).await.unwrap_or_else(|_| Err(late())) {
                Ok(link) => return Ok(link),
                Err(why) => failed = Some(why),
            }
        }
        Err(failed.unwrap_or_else(|| Failure::Unreachable("it has no address".to_owned())))
    }

    async fn link(&self, address: SocketAddr) -> Result<Link, Failure> {
        let unreachable = |error: io::Error| Failure::Unreachable(format!("{address}: {error}"));
        let stream = connect(address, Some(SEND_BUFFER)).await.map_err(unreachable)?;
        let socket = SockRef::from(&stream).try_clone().map_err(unreachable)?;
        let io: Box<dyn Io> = match &self.tls {
            Some(tls) => Box::new(tls.connect(stream).await?),
            None => Box::new(stream),
        };
        let owed = VecDeque::new();
        Ok(Link { io, socket, owed, paid: false, fresh: true, ending: false, written: Instant::now() })
    }
}

impl Link {
    /// Writes all of it, and everything behind it that TLS holds back.
    ///
    /// # Errors
    /// When the connection is gone. How much has arrived is not known then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match self.io.write_all(bytes).await {
            Ok(()) => self.io.flush().await,
            failed => failed,
        };
        self.written = Instant::now();
        match written {
            Ok(()) => Ok(()),
            Err(error) => Err(self.why(&error).await),
        }
    }

    /// Writes what is owed. Goes on where it was when it is called again after it was dropped.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn pay(&mut self) -> Result<(), Failure> {
        while let Some(first) = self.owed.front_mut() {
            if first.is_empty() {
                self.owed.pop_front();
                continue;
            }
            if let Err(error) = self.io.write_buf(first).await {
                return Err(self.why(&error).await);
            }
        }
        (self.paid, self.written) = (true, Instant::now());
        self.io.flush().await.map_err(|error| failure(&error))
    }

    /// Why it cannot be written to: the other side may have said so before it hung up.
    async fn why(&mut self, error: &io::Error) -> Failure {
        match self.look().await {
            Seen::Broken(said @ Failure::Denied(_)) => said,
            _ => failure(error),
        }
    }

    /// What there is to be seen now, without waiting. What the other side says means nothing in syslog.
    pub async fn look(&mut self) -> Seen {
        let mut bytes = [MaybeUninit::uninit(); 4_096];
        loop {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            let read = poll_fn(|context| match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                // The system may know what the runtime has not been told yet.
                Poll::Pending => match self.socket.peek(&mut [MaybeUninit::uninit()]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Ready(None),
                    Err(error) => Poll::Ready(Some(Err(error))),
                    Ok(_) => Poll::Pending,
                },
            });
            match read.await {
                None => return Seen::Open,
                Some(Ok(())) if !buffer.filled().is_empty() => {}
                Some(end) => return self.ended(end),
            }
        }
    }

    /// Waits for the other side to end the connection, for so long at most.
    pub async fn linger(&mut self, time: Duration) -> Seen {
        let until = Instant::now() + time;
        let mut bytes = [0; 4_096];
        loop {
            match timeout_at(until, self.io.read(&mut bytes)).await {
                Err(_) => return self.look().await,
                Ok(Ok(0)) => return self.ended(Ok(())),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.ended(Err(error)),
            }
        }
    }

    /// Ends our side: the other side reads to the end and then ends its own.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn end(&mut self) -> Result<(), Failure> {
        self.ending = true;
        self.io.shutdown().await.map_err(|error| failure(&error))
    }

    fn ended(&self, end: io::Result<()>) -> Seen {
        let said = match &end {
            Ok(()) => None,
            // Many end TLS without a word. That is good enough once we have ended our side.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.ending => None,
            Err(error) => Some(failure(error)),
        };
        match (said, self.socket.take_error()) {
            (Some(why), _) => Seen::Broken(why),
            // Data that came after the other side had ended is refused, which only this tells.
            (None, Ok(Some(error)) | Err(error)) => Seen::Broken(Failure::Unreachable(error.to_string())),
            (None, Ok(None)) => Seen::Ended,
        }
    }
}
