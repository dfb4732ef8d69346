//! One connection to a broker: a question, its answer, the next question. Answers are bounded in size and time.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout},
};

use super::{
    bytes::{Garbled, Reader},
    messages::{Api, Spoken, frame},
};
use crate::forward::{
    Failure,
    reach::{Io, failure},
};

/// The longest answer, in bytes: the metadata of a topic with a hundred thousand partitions.
const MOST_ANSWER: usize = 16 * 1024 * 1024;
/// Any other is shorter.
const MOST_SMALL_ANSWER: usize = 1024 * 1024;

/// A connection. Over one on which an exchange was broken off nothing more may be asked: drop it.
pub struct BrokerConnection {
    io: Box<dyn Io>,
    /// The broker, for people.
    name: String,
    client: String,
    /// Of the next question.
    correlation: i32,
    pub spoken: Spoken,
    /// How long an answer may take.
    pub limit: Duration,
    /// When the broker will hang up unless we log in anew.
    pub ends: Option<Instant>,
    /// Until then the broker wants to be left alone.
    pub rests: Option<Instant>,
}

impl BrokerConnection {
    pub fn new(io: Box<dyn Io>, name: String, client: String, limit: Duration) -> Self {
        let spoken = Spoken::default();
        Self { io, name, client, correlation: 0, spoken, limit, ends: None, rests: None }
    }

    /// The version in which something can be asked here.
    ///
    /// # Errors
    /// When there is none.
    pub fn version(&self, api: &Api) -> Result<i16, Failure> {
        self.spoken.newest(api).map_err(|has| {
            let has =
                has.map_or("nothing of the kind".to_owned(), |(from, to)| format!("versions {from} to {to}"));
            let why =
                format!("it speaks {has} of {}, and Keyward {} to {}", api.name, api.oldest, api.newest);
            self.named(Failure::Denied(format!("{why}: it must be a Kafka from 0.11 to 4.x")))
        })
    }

    /// Asks something, and waits for the answer.
    ///
    /// # Errors
    /// When none came in time, or one that is too long, or not to this question.
    pub async fn ask(&mut self, api: &Api, version: i16, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let limit = self.limit;
        let late = || Failure::Unreachable(format!("no answer within {} s", limit.as_secs()));
        let answer = timeout(limit, self.exchange(api, version, body)).await;
        answer.unwrap_or_else(|_| Err(late())).map_err(|failure| self.named(failure))
    }

    async fn exchange(&mut self, api: &Api, version: i16, body: &[u8]) -> Result<Vec<u8>, Failure> {
        self.correlation = self.correlation.wrapping_add(1);
        let question = frame(api, version, self.correlation, &self.client, body);
        self.io.write_all(&question).await.map_err(|error| failure(&error))?;
        self.io.flush().await.map_err(|error| failure(&error))?;
        let length = self.io.read_i32().await.map_err(|error| failure(&error))?;
        let most = if api.name == "Metadata" { MOST_ANSWER } else { MOST_SMALL_ANSWER };
        let length =
            usize::try_from(length).ok().filter(|length| (4..=most).contains(length)).ok_or_else(|| {
                let hint = "is it Kafka, and TLS as tls says?";
                Failure::Unreachable(format!(
                    "its answer of {length} bytes is none, or more than {most} bytes: {hint}"
                ))
            })?;
        // Grows with what arrives.
        let mut answer = Vec::new();
        let mut rest = (&mut self.io).take(length as u64);
        rest.read_to_end(&mut answer).await.map_err(|error| failure(&error))?;
        if answer.len() < length {
            return Err(Failure::Unreachable("it hung up in the middle of its answer".to_owned()));
        }
        if Reader::new(&answer).i32() != Ok(self.correlation) {
            return Err(Failure::Unreachable("it answered another question".to_owned()));
        }
        Ok(answer.split_off(4))
    }

    /// Whether it can still be used: not ended by the other side, not about to be, and nothing unasked was said.
    pub async fn is_fine(&mut self) -> bool {
        if self.ends.is_some_and(|ends| ends <= Instant::now()) {
            return false;
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        poll_fn(|context| Poll::Ready(Pin::new(&mut self.io).poll_read(context, &mut buffer).is_pending()))
            .await
    }

    /// Heeds that the broker wants to be left alone for so many milliseconds.
    pub fn rest(&mut self, milliseconds: i32) {
        let time = u64::try_from(milliseconds).unwrap_or(0);
        self.rests = (time > 0).then(|| Instant::now() + Duration::from_millis(time));
    }

    /// An answer that cannot be read.
    pub fn garbled(&self, api: &Api, garbled: Garbled) -> Failure {
        self.named(Failure::Unreachable(format!("its answer to {}: {garbled}", api.name)))
    }

    /// A failure with the broker's name.
    pub fn named(&self, failure: Failure) -> Failure {
        about(&format!("broker {}", self.name), failure)
    }
}

/// A failure that says what it is about.
pub fn about(what: &str, failure: Failure) -> Failure {
    let with = |why: String| format!("{what}: {why}");
    match failure {
        Failure::Unreachable(why) => Failure::Unreachable(with(why)),
        Failure::Busy { why, after } => Failure::Busy { why: with(why), after },
        Failure::Broken(why) => Failure::Broken(with(why)),
        Failure::Denied(why) => Failure::Denied(with(why)),
        Failure::Refused(why) => Failure::Refused(with(why)),
    }
}
