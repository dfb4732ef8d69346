//! When to look at the log again: when whoever follows it for the whole instance says that something came, so that idle
//! sinks cost the store next to nothing, and what comes leaves at once.

use std::{future::pending, time::Duration};

use tokio::sync::watch;

/// Looks at the log without anybody saying so: the longest that a sender has nothing to do.
const WITH_WORD: Duration = Duration::from_secs(1);
const WITHOUT: Duration = Duration::from_millis(200);

/// What one sender has heard.
pub(super) struct News {
    heard: Option<watch::Receiver<u64>>,
}

impl News {
    /// From whoever follows the log; without it, or after its end, the log is looked at more often.
    pub fn new(heard: Option<watch::Receiver<u64>>) -> Self {
        Self { heard }
    }

    /// The log is about to be read: what was told of until now will be in it.
    pub fn looks(&mut self) {
        if let Some(heard) = &mut self.heard {
            heard.mark_unchanged();
        }
    }

    /// The longest to wait for news.
    pub fn patience(&self) -> Duration {
        if self.heard.is_some() { WITH_WORD } else { WITHOUT }
    }

    /// Something came into the log since [`News::looks`].
    pub async fn come(&mut self) {
        if let Some(heard) = &mut self.heard {
            if heard.changed().await.is_ok() {
                return;
            }
            self.heard = None;
        }
        pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_came_before_the_look_is_no_news_and_what_came_after_is() {
        let (tell, heard) = watch::channel(0);
        let mut news = News::new(Some(heard));
        tell.send_modify(|count| *count += 1);
        news.looks();
        assert!(tokio::time::timeout(WITH_WORD, news.come()).await.is_err());
        // Also while the log is being read.
        tell.send_modify(|count| *count += 1);
        assert!(tokio::time::timeout(WITH_WORD, news.come()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_tells_any_more_it_looks_by_itself() {
        let (tell, heard) = watch::channel(0);
        let mut news = News::new(Some(heard));
        drop(tell);
        assert!(tokio::time::timeout(WITH_WORD, news.come()).await.is_err());
        assert_eq!(news.patience(), WITHOUT);
    }
}
