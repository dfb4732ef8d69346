//! Sends over TCP and TLS: one connection that is kept, and what it may have lost again over the next one.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::{Instant, timeout};

use super::{
    link::{Connector, Link, Seen},
    shape::Shape,
    tail::Tail,
};
use crate::{
    domain::{Millis, event::Event},
    forward::{Failure, Sent, Sink},
};

/// How long a new connection must live on for what was written over it to count: longer than a refusal takes to come.
const PROBATION: Duration = Duration::from_millis(500);
/// A connection without news for so long is ended, which confirms everything.
pub(super) const IDLE: Duration = Duration::from_secs(30);
/// How long the other side may take to end a connection that we have ended, when something waits for it.
const ENDING: Duration = Duration::from_secs(2);

/// Sends over a stream.
pub struct Stream {
    connector: Connector,
    shape: Shape,
    /// For one attempt.
    limit: Duration,
    link: Option<Link>,
    tail: Tail,
}

impl Stream {
    /// Over connections that `connector` makes; an attempt may take `limit`.
    pub fn new(connector: Connector, shape: Shape, limit: Duration) -> Self {
        Self { connector, shape, limit, link: None, tail: Tail::default() }
    }

    /// A connection over which everything was written again that the one before may have lost.
    async fn ready(&mut self) -> Result<&mut Link, Failure> {
        if let Some(link) = &mut self.link {
            let seen = if link.ending { link.linger(ENDING).await } else { link.look().await };
            self.heed(seen);
            // It has not read to the end in time: what it has not confirmed goes over another one.
            self.link.take_if(|link| link.ending);
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let mut link = self.connector.connect().await?;
                link.owed = self.tail.repeat();
                if !self.tail.is_empty() {
                    tracing::info!(
                        bytes = self.tail.bytes(),
                        "sends again what a connection to syslog may have lost"
                    );
                }
                link
            }
        };
        // Kept here, so that it goes on where it was if time runs out.
        let link = self.link.insert(link);
        if !link.owed.is_empty() {
            match timeout(self.limit / 3, link.pay()).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => {
                    self.link = None;
                    return Err(failure);
                }
                Err(_) => {
                    let why = "it is slow to take again what a broken connection may have lost".to_owned();
                    return Err(Failure::Busy { why, after: None });
                }
            }
        }
        self.link.as_mut().ok_or_else(|| Failure::Unreachable("the connection is gone".to_owned()))
    }

    /// Drops a connection that is over, and of the tail what is known to have arrived.
    fn heed(&mut self, seen: Seen) {
        let Some(link) = &self.link else { return };
        match seen {
            Seen::Open => return,
            Seen::Ended if link.ending => self.tail.clear(),
            // What is owed was never written whole.
            Seen::Ended if link.owed.is_empty() => self.tail.read_by(Instant::now()),
            Seen::Ended => {}
            Seen::Broken(why) => tracing::debug!(%why, "a connection to syslog broke"),
        }
        self.link = None;
    }

    async fn deliver(&mut self, frames: Vec<u8>) -> Result<(), Failure> {
        self.ready().await?;
        // Only put back when all went well: over a connection with half a message nothing more can be sent.
        let Some(mut link) = self.link.take() else { return Ok(()) };
        let limit = self.limit / 2;
        let slow = || Failure::Broken(format!("the batch was not taken within {} s", limit.as_secs()));
        timeout(limit, link.write(&frames)).await.unwrap_or_else(|_| Err(slow()))?;
        self.settle(&mut link).await?;
        self.link = Some(link);
        self.tail.push(Bytes::from(frames), Instant::now());
        Ok(())
    }

    /// Does what is due though no batch came.
    async fn look_after(&mut self) -> Result<(), Failure> {
        if let Some(link) = &mut self.link {
            let seen = link.look().await;
            self.heed(seen);
        }
        let owes = self.link.as_ref().map_or(!self.tail.is_empty(), |link| !link.owed.is_empty());
        if owes {
            self.ready().await?;
            let Some(mut link) = self.link.take() else { return Ok(()) };
            self.settle(&mut link).await?;
            self.link = Some(link);
        } else if let Some(link) = &mut self.link
            && !link.ending
            && link.written.elapsed() >= IDLE
            && link.end().await.is_err()
        {
            self.link = None;
        }
        Ok(())
    }

    /// Sees whether what was just written over a connection counts.
    async fn settle(&mut self, link: &mut Link) -> Result<(), Failure> {
        let seen = if link.fresh { link.linger(PROBATION).await } else { link.look().await };
        match seen {
            Seen::Open => {}
            Seen::Ended => {
                return Err(Failure::Unreachable("the other side has ended the connection".to_owned()));
            }
            Seen::Broken(why) => return Err(why),
        }
        link.fresh = false;
        if std::mem::take(&mut link.paid) {
            self.tail.repeated(Instant::now());
        }
        Ok(())
    }

    /// Has everything confirmed.
    async fn confirm(&mut self) -> Result<(), Failure> {
        let link = self.ready().await?;
        link.end().await?;
        let seen = link.linger(ENDING).await;
        self.heed(seen);
        Ok(())
    }
}

impl Sink for Stream {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let (frames, refused) = self.shape.frames(events);
            let answer = format!("{} bytes written; syslog does not answer", frames.len());
            if !frames.is_empty() {
                self.deliver(frames).await?;
            }
            Ok(Sent { refused, answer })
        })
    }

    fn tick(&mut self, _now: Millis) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(async move { self.look_after().await.map(|()| false) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A second time over another connection, should this one have broken.
            for _ in 0..2 {
                if self.tail.is_empty() {
                    break;
                }
                if let Err(why) = self.confirm().await {
                    tracing::debug!(%why, "a connection to syslog was not ended in order");
                }
            }
            if !self.tail.is_empty() {
                let bytes = self.tail.bytes();
                tracing::warn!(
                    bytes,
                    "the syslog receiver has not confirmed that it read what was sent last"
                );
            }
            self.link = None;
        })
    }
}
