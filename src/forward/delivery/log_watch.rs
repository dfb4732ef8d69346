//! When to look at the log again. Whoever follows the log for the whole instance says that something came, so that
//! idle sinks cost the store next to nothing, and what comes leaves at once.

use std::{future::pending, time::Duration};

use tokio::sync::watch;

/// How long a sender has nothing to do at most while somebody says when events come.
const POLL_WHEN_NOTIFIED: Duration = Duration::from_secs(1);
/// The same while nobody does.
const POLL: Duration = Duration::from_millis(200);

/// What one sender knows of changes of the log.
pub(super) struct LogWatch {
    changes: Option<watch::Receiver<u64>>,
}

impl LogWatch {
    /// Follows `changes`; without them, or after their end, the log is polled more often.
    pub(super) fn new(changes: Option<watch::Receiver<u64>>) -> Self {
        Self { changes }
    }

    /// Notes that the log is about to be read: every change until now will be seen.
    pub(super) fn mark_seen(&mut self) {
        if let Some(changes) = &mut self.changes {
            changes.mark_unchanged();
        }
    }

    /// How long to wait for a change at most.
    pub(super) fn poll_interval(&self) -> Duration {
        if self.changes.is_some() { POLL_WHEN_NOTIFIED } else { POLL }
    }

    /// Waits until something came into the log since [`LogWatch::mark_seen`].
    pub(super) async fn changed(&mut self) {
        if let Some(changes) = &mut self.changes {
            if changes.changed().await.is_ok() {
                return;
            }
            self.changes = None;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[tokio::test(start_paused = true)]
    async fn what_came_before_the_look_is_no_change_and_what_came_after_is() {
        let (log, changes) = watch::channel(0);
        let mut watch = LogWatch::new(Some(changes));
        log.send_modify(|count| *count += 1);
        watch.mark_seen();
        assert!(clock::timeout(POLL_WHEN_NOTIFIED, watch.changed()).await.is_err());
        // Also while the log is being read.
        log.send_modify(|count| *count += 1);
        assert!(clock::timeout(POLL_WHEN_NOTIFIED, watch.changed()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_follows_the_log_any_more_it_is_polled() {
        let (log, changes) = watch::channel(0);
        let mut watch = LogWatch::new(Some(changes));
        drop(log);
        assert!(clock::timeout(POLL_WHEN_NOTIFIED, watch.changed()).await.is_err());
        assert_eq!(watch.poll_interval(), POLL);
    }
}
