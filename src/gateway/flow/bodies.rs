//! Bodies within the bounds of memory: one has its limit, and so have all of them together.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    super::dialect::failure::{Failure, Kind},
    gateway::PIECE,
};

/// Most bytes of a body, of a request or of an answer that is no stream.
pub(super) const MAX_BODY: usize = 32 * 1024 * 1024;

/// Bytes that are held, with the memory that is set aside for them.
#[derive(Default)]
pub(super) struct Held {
    bytes: BytesMut,
    memory: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Takes more bytes in.
    ///
    /// # Errors
    /// The body is too large, or there is no memory left for it.
    pub(super) fn push(&mut self, more: &[u8], memory: &Arc<Semaphore>) -> Result<(), Failure> {
        let length = self.bytes.len() + more.len();
        if length > MAX_BODY {
            let words = format!("The body has more than {MAX_BODY} bytes.");
            return Err(Failure::new(Kind::TooLarge, words));
        }
        let held = self.memory.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = u32::try_from(length.div_ceil(PIECE).saturating_sub(held)).unwrap_or(u32::MAX);
        if missing > 0 {
            let permit = memory.clone().try_acquire_many_owned(missing).map_err(|_| no_memory())?;
            match &mut self.memory {
                Some(memory) => memory.merge(permit),
                None => self.memory = Some(permit),
            }
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    /// The bytes, with the memory that is set aside for them: it is given back when the last of them is dropped,
    /// whoever has it then.
    pub(super) fn finish(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn no_memory() -> Failure {
    let words = "The gateway holds as many bodies as it may (gateway.body_memory_mib): try again.";
    Failure { retry_after: Some(1), may_retry: true, ..Failure::new(Kind::Overloaded, words) }
}

/// Reads the body of a request.
///
/// # Errors
/// It is too large, it broke off, or there is no memory left for it.
pub(super) async fn read(body: Body, memory: &Arc<Semaphore>) -> Result<Held, Failure> {
    let (mut held, mut parts) = (Held::default(), body.into_data_stream());
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| Failure::new(Kind::BadRequest, "The body broke off."))?;
        if let Err(failure) = held.push(&part, memory) {
            drop(held);
            drain(&mut parts).await;
            return Err(failure);
        }
    }
    Ok(held)
}

/// Reads a body that nobody wants, and keeps nothing of it.
pub(super) async fn pass_over(body: Body) {
    drain(&mut body.into_data_stream()).await;
}

/// Reads on for a while: a client that still sends does not see an answer.
async fn drain(parts: &mut BodyDataStream) {
    let mut passed = 0;
    while let Some(Ok(part)) = parts.next().await {
        passed += part.len();
        if passed > MAX_BODY {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_set_aside_for_what_is_held_and_given_back_with_it() {
        let memory = Arc::new(Semaphore::new(4));
        let mut first = Held::default();
        first.push(&[0; 2 * PIECE - 1], &memory).unwrap();
        first.push(&[0; 1], &memory).unwrap();
        assert_eq!(memory.available_permits(), 2);
        let mut second = Held::default();
        let failure = second.push(&[0; 3 * PIECE], &memory).unwrap_err();
        assert_eq!((failure.kind, failure.may_retry), (Kind::Overloaded, true));
        let bytes = first.finish();
        assert_eq!((bytes.len(), memory.available_permits()), (2 * PIECE, 2));
        let part = bytes.slice(..1);
        drop(bytes);
        assert_eq!(memory.available_permits(), 2, "a part of it is still held");
        drop(part);
        assert_eq!(memory.available_permits(), 4);
    }

    #[test]
    fn a_body_above_its_limit_is_refused_whatever_memory_there_is() {
        let memory = Arc::new(Semaphore::new(1_000_000));
        let mut held = Held::default();
        held.push(&vec![0; MAX_BODY], &memory).unwrap();
        assert_eq!(held.push(&[0], &memory).unwrap_err().kind, Kind::TooLarge);
    }
}
