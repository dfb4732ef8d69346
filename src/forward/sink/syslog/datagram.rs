//! Sends over UDP: a message, a datagram. Nothing says whether one arrives; a burst is more than a receiver's buffer holds,
//! so they are sent evenly. That nobody listens is noticed when the other machine says so.

use std::{net::UdpSocket as Plain, time::Duration};

use futures::future::BoxFuture;
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

use super::shape::Shape;
use crate::{
    domain::event::Event,
    forward::{Failure, Sent, Sink, reach::Route},
};

/// Datagrams that may follow each other at once.
const BURST: u32 = 20;
/// The name is asked for again after this time: a receiver that has moved is not noticed otherwise.
const KNOWN: Duration = Duration::from_secs(60);

/// Sends datagrams.
pub struct Datagrams {
    route: Route,
    shape: Shape,
    per_second: u32,
    socket: Option<(UdpSocket, Instant)>,
}

impl Datagrams {
    /// At most so many in a second.
    pub fn new(route: Route, shape: Shape, per_second: u32) -> Self {
        Self { route, shape, per_second: per_second.max(1), socket: None }
    }

    async fn send_evenly(&mut self, messages: &[Vec<u8>]) -> Result<(), Failure> {
        if self.socket.as_ref().is_none_or(|(_, since)| since.elapsed() >= KNOWN) {
            self.socket = Some((self.connect().await?, Instant::now()));
        }
        let Some((socket, _)) = &self.socket else { return Ok(()) };
        let pause = Duration::from_secs(1) * BURST / self.per_second;
        for burst in messages.chunks(BURST as usize) {
            let next = Instant::now() + pause;
            for message in burst {
                socket.send(message).await.map_err(unreachable)?;
            }
            sleep_until(next).await;
            // The other machine says that nobody listens there.
            if let Some(error) = socket.take_error().map_err(unreachable)? {
                return Err(unreachable(error));
            }
        }
        Ok(())
    }

    /// Connected to one address, so that the system hands us what the other machine says about it.
    async fn connect(&self) -> Result<UdpSocket, Failure> {
        let mut failed = Failure::Unreachable("it has no address".to_owned());
        for address in self.route.addresses().await? {
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

fn unreachable(error: std::io::Error) -> Failure {
    Failure::Unreachable(format!("a datagram could not be sent: {error}"))
}

impl Sink for Datagrams {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let (mut messages, mut refused) = (Vec::with_capacity(events.len()), Vec::new());
            for (place, event) in events.iter().enumerate() {
                match self.shape.message(event) {
                    Ok(message) => messages.push(message),
                    Err(why) => refused.push((place, why)),
                }
            }
            let sent = self.send_evenly(&messages).await;
            if sent.is_err() {
                self.socket = None;
            }
            sent?;
            Ok(Sent { refused, answer: format!("{} datagrams sent; nobody answers", messages.len()) })
        })
    }
}
