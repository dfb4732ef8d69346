//! How long a call of the store may take that nobody waits for: one made in the background.

use std::time::Duration;

use tokio::time::timeout;

use super::StoreError;

/// More than any store takes that is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bounds a background call.
///
/// # Errors
/// The call's own, and [`StoreError::Unavailable`] when it took longer than five seconds.
pub async fn patient<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::Unavailable(format!("no answer within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(late()))
}
