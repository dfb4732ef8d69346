//! Sends over TCP and TLS: one connection that is kept, and what it may have lost again over the next one.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{
    connection::{PeerState, StreamConnection, StreamConnector},
    encoder::MessageEncoder,
    unconfirmed::UnconfirmedWrites,
};
use crate::{
    clock,
    domain::{Millis, event::Event},
    forward::{
        contract::{SendReport, Sink},
        error::SendError,
    },
};

/// How long a new connection must live on for what was written over it to count: longer than a refusal takes to come.
const PROBATION: Duration = Duration::from_millis(500);
/// A connection without news for so long is ended, which confirms everything.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the other side may take to end a connection that we have ended, when something waits for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends over TCP or TLS.
pub(super) struct StreamSink {
    connector: StreamConnector,
    encoder: MessageEncoder,
    /// How long one attempt may take.
    timeout: Duration,
    connection: Option<StreamConnection>,
    unconfirmed: UnconfirmedWrites,
}

impl StreamSink {
    /// Over connections that `connector` makes; an attempt may take `timeout`.
    pub(super) fn new(connector: StreamConnector, encoder: MessageEncoder, timeout: Duration) -> Self {
        Self { connector, encoder, timeout, connection: None, unconfirmed: UnconfirmedWrites::default() }
    }

    /// A connection over which everything was written again that the one before may have lost.
    async fn ready(&mut self) -> Result<&mut StreamConnection, SendError> {
        if let Some(connection) = &mut self.connection {
            let peer = if connection.closing {
                connection.wait_for_close(CLOSE_TIMEOUT).await
            } else {
                connection.peer_state().await
            };
            self.handle(peer);
            // It has not read to the end in time: what it has not confirmed goes over another one.
            self.connection.take_if(|connection| connection.closing);
        }
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.connector.connect().await?;
                connection.to_retransmit = self.unconfirmed.to_retransmit();
                if !self.unconfirmed.is_empty() {
                    tracing::info!(
                        bytes = self.unconfirmed.bytes(),
                        "sends again what a connection to syslog may have lost"
                    );
                }
                connection
            }
        };
        // Kept here, so that it goes on where it was if time runs out.
        let connection = self.connection.insert(connection);
        if !connection.to_retransmit.is_empty() {
            match clock::timeout(self.timeout / 3, connection.retransmit()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.connection = None;
                    return Err(error);
                }
                Err(_) => {
                    let why = "it is slow to take again what a broken connection may have lost";
                    return Err(SendError::busy(why));
                }
            }
        }
        self.connection.as_mut().ok_or_else(|| SendError::unreachable("the connection is gone"))
    }

    /// Drops a connection that is over, and of what is not confirmed what is known to have arrived.
    fn handle(&mut self, peer: PeerState) {
        let Some(connection) = &self.connection else { return };
        match peer {
            PeerState::Open => return,
            PeerState::Closed if connection.closing => self.unconfirmed.clear(),
            // What must be written again was never written whole.
            PeerState::Closed if connection.to_retransmit.is_empty() => {
                self.unconfirmed.received_until(clock::instant())
            }
            PeerState::Closed => {}
            PeerState::Broken(why) => tracing::debug!(%why, "a connection to syslog broke"),
        }
        self.connection = None;
    }

    async fn deliver(&mut self, frames: Vec<u8>) -> Result<(), SendError> {
        self.ready().await?;
        // Only put back when all went well: over a connection with half a message nothing more can be sent.
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let limit = self.timeout / 2;
        let slow = || SendError::broken(format!("the batch was not taken within {} s", limit.as_secs()));
        clock::timeout(limit, connection.write(&frames)).await.unwrap_or_else(|_| Err(slow()))?;
        self.check_written(&mut connection).await?;
        self.connection = Some(connection);
        self.unconfirmed.push(Bytes::from(frames), clock::instant());
        Ok(())
    }

    /// Does what is due though no batch came.
    async fn keep_alive(&mut self) -> Result<(), SendError> {
        if let Some(connection) = &mut self.connection {
            let peer = connection.peer_state().await;
            self.handle(peer);
        }
        let is_behind = self
            .connection
            .as_ref()
            .map_or(!self.unconfirmed.is_empty(), |connection| !connection.to_retransmit.is_empty());
        if is_behind {
            self.ready().await?;
            let Some(mut connection) = self.connection.take() else { return Ok(()) };
            self.check_written(&mut connection).await?;
            self.connection = Some(connection);
        } else if let Some(connection) = &mut self.connection
            && !connection.closing
            && connection.written.elapsed() >= IDLE_TIMEOUT
            && connection.close().await.is_err()
        {
            self.connection = None;
        }
        Ok(())
    }

    /// Sees whether what was just written over a connection counts.
    async fn check_written(&mut self, connection: &mut StreamConnection) -> Result<(), SendError> {
        let peer = if connection.on_probation {
            connection.wait_for_close(PROBATION).await
        } else {
            connection.peer_state().await
        };
        match peer {
            PeerState::Open => {}
            PeerState::Closed => {
                return Err(SendError::unreachable("the other side has ended the connection"));
            }
            PeerState::Broken(why) => return Err(why),
        }
        connection.on_probation = false;
        if std::mem::take(&mut connection.retransmitted) {
            self.unconfirmed.retransmitted(clock::instant());
        }
        Ok(())
    }

    /// Ends the connection, so that the other side confirms everything.
    async fn confirm(&mut self) -> Result<(), SendError> {
        let connection = self.ready().await?;
        connection.close().await?;
        let peer = connection.wait_for_close(CLOSE_TIMEOUT).await;
        self.handle(peer);
        Ok(())
    }
}

impl Sink for StreamSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let (frames, refused) = self.encoder.frames(events);
            let answer = format!("{} bytes written; syslog does not answer", frames.len());
            if !frames.is_empty() {
                self.deliver(frames).await?;
            }
            Ok(SendReport { refused, answer })
        })
    }

    fn tick(&mut self, _now: Millis) -> BoxFuture<'_, Result<bool, SendError>> {
        Box::pin(async move { self.keep_alive().await.map(|()| false) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A second time over another connection, should this one have broken.
            for _ in 0..2 {
                if self.unconfirmed.is_empty() {
                    break;
                }
                if let Err(why) = self.confirm().await {
                    tracing::debug!(%why, "a connection to syslog was not ended in order");
                }
            }
            if !self.unconfirmed.is_empty() {
                let bytes = self.unconfirmed.bytes();
                tracing::warn!(
                    bytes,
                    "the syslog receiver has not confirmed that it read what was sent last"
                );
            }
            self.connection = None;
        })
    }
}
