//! Sends over UDP: a message, a datagram. Nothing says whether one arrives; a burst is more than a receiver's buffer
//! holds, so they are sent evenly. That nobody listens is noticed when the other machine says so.

use std::{net::UdpSocket as Plain, time::Duration};

use futures::future::BoxFuture;
use tokio::net::UdpSocket;

use super::encoder::MessageEncoder;
use crate::{
    clock::{self, Instant},
    domain::event::Event,
    forward::{
        contract::{SendReport, Sink},
        error::SendError,
    },
    outbound::Endpoint,
};

/// How many datagrams may follow each other at once.
const BURST: u32 = 20;
/// How long a resolved address is used: a receiver that has moved is not noticed otherwise.
const MAX_ADDRESS_AGE: Duration = Duration::from_secs(60);

/// Sends each event as a datagram.
pub(super) struct DatagramSink {
    endpoint: Endpoint,
    encoder: MessageEncoder,
    per_second: u32,
    socket: Option<(UdpSocket, Instant)>,
}

impl DatagramSink {
    /// A sink that sends at most `per_second` datagrams in a second.
    pub(super) fn new(endpoint: Endpoint, encoder: MessageEncoder, per_second: u32) -> Self {
        Self { endpoint, encoder, per_second: per_second.max(1), socket: None }
    }

    async fn send_evenly(&mut self, messages: &[Vec<u8>]) -> Result<(), SendError> {
        if self.socket.as_ref().is_none_or(|(_, since)| since.elapsed() >= MAX_ADDRESS_AGE) {
            self.socket = Some((self.connect().await?, clock::instant()));
        }
        let Some((socket, _)) = &self.socket else { return Ok(()) };
        let pause = Duration::from_secs(1) * BURST / self.per_second;
        for burst in messages.chunks(BURST as usize) {
            let next = clock::instant() + pause;
            for message in burst {
                socket.send(message).await.map_err(unreachable)?;
            }
            clock::sleep_until(next).await;
            // The other machine says that nobody listens there.
            if let Some(error) = socket.take_error().map_err(unreachable)? {
                return Err(unreachable(error));
            }
        }
        Ok(())
    }

    /// Connected to one address, so that the system hands us what the other machine says about it.
    async fn connect(&self) -> Result<UdpSocket, SendError> {
        let mut failed = SendError::unreachable("it has no address");
        for address in self.endpoint.addresses().await? {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let bound = Plain::bind(any).and_then(|socket| {
                socket.connect(address)?;
                socket.set_nonblocking(true)?;
                UdpSocket::from_std(socket)
            });
            match bound {
                Ok(socket) => return Ok(socket),
                Err(error) => failed = unreachable(error),
            }
        }
        Err(failed)
    }
}

fn unreachable(error: std::io::Error) -> SendError {
    SendError::unreachable("a datagram could not be sent").because(error)
}

impl Sink for DatagramSink {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let (mut messages, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
            for (index, event) in events.iter().enumerate() {
                match self.encoder.message(event) {
                    Ok(message) => messages.push(message),
                    Err(why) => refused.push((index, why)),
                }
            }
            let sent = self.send_evenly(&messages).await;
            if sent.is_err() {
                self.socket = None;
            }
            sent?;
            Ok(SendReport { refused, answer: format!("{} datagrams sent; nobody answers", messages.len()) })
        })
    }
}
