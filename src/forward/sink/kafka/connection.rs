//! One connection to a broker: a request, its response, the next request. Responses are bounded in size and time.

use std::{future::poll_fn, io, pin::Pin, task::Poll, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};

use super::{
    bytes::{MalformedResponse, Reader},
    messages::{RequestKind, SupportedVersions, frame},
};
use crate::{
    clock::{self, Instant},
    forward::error::SendError,
    outbound::{ByteStream, OutboundError},
};

/// The longest metadata, in bytes: those of a topic with a hundred thousand partitions.
const MAX_METADATA: usize = 16 * 1024 * 1024;
/// The longest response of any other kind, in bytes.
const MAX_RESPONSE: usize = 1024 * 1024;

/// A connection to a broker. When an exchange was broken off, nothing more may be asked over it: drop it.
pub(super) struct BrokerConnection {
    stream: Box<dyn ByteStream>,
    /// The host and the port of the broker, for people.
    name: String,
    client_id: String,
    /// The number of the last request.
    correlation: i32,
    /// The versions that the broker supports.
    pub supported: SupportedVersions,
    /// How long a response may take.
    pub timeout: Duration,
    /// When the broker will hang up unless we log in again.
    pub session_ends: Option<Instant>,
    /// Until when the broker wants to be left alone.
    pub throttled_until: Option<Instant>,
}

impl BrokerConnection {
    /// A connection on which nothing has been asked yet.
    pub(super) fn new(
        stream: Box<dyn ByteStream>,
        name: String,
        client_id: String,
        timeout: Duration,
    ) -> Self {
        Self {
            stream,
            name,
            client_id,
            correlation: 0,
            supported: SupportedVersions::default(),
            timeout,
            session_ends: None,
            throttled_until: None,
        }
    }

    /// The newest version of a request that both sides support.
    ///
    /// # Errors
    /// What the broker supports, if there is none.
    pub(super) fn version(&self, kind: &RequestKind) -> Result<i16, SendError> {
        self.supported.newest(kind).map_err(|range| {
            let range = range
                .map_or("nothing of the kind".to_owned(), |(from, to)| format!("versions {from} to {to}"));
            let (name, oldest, newest) = (kind.name, kind.oldest, kind.newest);
            let why = format!("it speaks {range} of {name}, and Keyward {oldest} to {newest}");
            self.named(SendError::denied(why).detail("it must be a Kafka from 0.11 to 4.x"))
        })
    }

    /// Sends a request, and waits for the body of its response.
    ///
    /// # Errors
    /// Why there is none: it came late, was too long, or was not to this request.
    pub(super) async fn request(
        &mut self,
        kind: &RequestKind,
        version: i16,
        body: &[u8],
    ) -> Result<Vec<u8>, SendError> {
        let limit = self.timeout;
        let response = clock::timeout(limit, self.exchange(kind, version, body)).await;
        response.unwrap_or_else(|_| Err(SendError::timed_out(limit))).map_err(|error| self.named(error))
    }

    async fn exchange(
        &mut self,
        kind: &RequestKind,
        version: i16,
        body: &[u8],
    ) -> Result<Vec<u8>, SendError> {
        let broken = |error: io::Error| SendError::from(OutboundError::of_connection(error));
        self.correlation = self.correlation.wrapping_add(1);
        let request = frame(kind, version, self.correlation, &self.client_id, body);
        self.stream.write_all(&request).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let announced = self.stream.read_i32().await.map_err(broken)?;
        let most = if kind.name == "Metadata" { MAX_METADATA } else { MAX_RESPONSE };
        let length = usize::try_from(announced).ok().filter(|length| (4..=most).contains(length));
        let length = length.ok_or_else(|| {
            let why = format!("its answer of {announced} bytes is none, or more than {most} bytes");
            SendError::unreachable(why).detail("is it Kafka, and TLS as tls says?")
        })?;
        // Grows with what arrives.
        let mut response = Vec::new();
        let mut rest = (&mut self.stream).take(length as u64);
        rest.read_to_end(&mut response).await.map_err(broken)?;
        if response.len() < length {
            return Err(SendError::unreachable("it hung up in the middle of its answer"));
        }
        if Reader::new(&response).i32() != Ok(self.correlation) {
            return Err(SendError::unreachable("it answered another question"));
        }
        Ok(response.split_off(4))
    }

    /// Whether it can still be used: not ended by the broker, not about to be, and nothing unasked was said.
    pub(super) async fn is_usable(&mut self) -> bool {
        if self.session_ends.is_some_and(|ends| ends <= clock::instant()) {
            return false;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        poll_fn(|context| {
            Poll::Ready(Pin::new(&mut self.stream).poll_read(context, &mut buffer).is_pending())
        })
        .await
    }

    /// Notes that the broker wants to be left alone for so many milliseconds; 0 or less: not at all.
    pub(super) fn throttle(&mut self, milliseconds: i32) {
        let time = u64::try_from(milliseconds).unwrap_or(0);
        self.throttled_until = (time > 0).then(|| clock::instant() + Duration::from_millis(time));
    }

    /// The error about a response that cannot be read.
    pub(super) fn malformed(&self, kind: &RequestKind, error: MalformedResponse) -> SendError {
        self.named(SendError::unreachable(format!("its answer to {}", kind.name)).because(error))
    }

    /// An error with the broker's name in front.
    pub(super) fn named(&self, error: SendError) -> SendError {
        error.about(format!("broker {}", self.name))
    }
}
