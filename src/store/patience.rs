//! How long a call of the store may take that nobody waits for: one made in the background.

use std::time::Duration;

use super::StoreError;

use crate::clock;

/// More than any store takes that is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bounds a background call.
///
/// # Errors
/// The call's own, and [`StoreError::Deadline`] when it took longer than five seconds.
pub async fn patient<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    clock::timeout(PATIENCE, call).await.unwrap_or(Err(StoreError::Deadline(PATIENCE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_answers_misses_its_deadline() {
        let late = patient(std::future::pending::<Result<(), _>>()).await;
        assert!(matches!(late, Err(StoreError::Deadline(PATIENCE))), "{late:?}");
    }

    #[tokio::test]
    async fn an_error_in_time_stays_what_it_is() {
        let failed = patient(async { Err::<(), _>(StoreError::BadCursor) }).await;
        assert!(matches!(failed, Err(StoreError::BadCursor)), "{failed:?}");
    }
}
