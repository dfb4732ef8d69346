//! The sink that notifies: events go into groups at once, and what is due is sent at each tick.
//!
//! One message at a time, and at most one a second. The groups are written down with the cursor after each one, so
//! that a restart repeats the last message at most. A message that fails stays due, and is tried again with growing
//! waits; one that is refused for good is given up, and that is logged, counted, and shown until another one is taken.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{
    channel::{Channel, ChannelTraits},
    grouping::Grouping,
    groups::AlertGroups,
    notice::{Notice, NoticeKind},
    rule::EndReason,
};
use crate::{
    domain::{Millis, event::Event},
    forward::{
        common::CommonSettings,
        contract::{SendReport, Sink},
        error::{Problem, SendError, SendErrorKind},
        retry::{backoff, random},
    },
};

/// Sends what is due by one channel.
pub(super) struct Notifier {
    sink: String,
    groups: AlertGroups,
    traits: ChannelTraits,
    channel: Box<dyn Channel>,
    now: Arc<dyn Fn() -> Millis + Send + Sync>,
    max_backoff: Duration,
    failures: u32,
    /// Nothing is sent before.
    not_before: Millis,
    /// When what is active was sent again.
    renewed: Option<Millis>,
    /// Why the last message was not taken.
    trouble: Option<Problem>,
}

impl Notifier {
    /// The notifier of a sink by an open channel. Makes the sink's metrics.
    pub(super) fn new(
        grouping: Grouping,
        traits: ChannelTraits,
        channel: Box<dyn Channel>,
        common: &CommonSettings,
        now: Arc<dyn Fn() -> Millis + Send + Sync>,
    ) -> Self {
        let labels = [("sink", common.name.clone())];
        metrics::counter!("keyward_notices_sent_total", &labels).increment(0);
        metrics::counter!("keyward_notices_held_back_total", &labels).increment(0);
        metrics::counter!("keyward_notices_refused_total", &labels).increment(0);
        metrics::gauge!("keyward_notice_groups", &labels).set(0.0);
        Self {
            sink: common.name.clone(),
            groups: AlertGroups::new(grouping, traits.clone()),
            traits,
            channel,
            now,
            max_backoff: common.max_backoff,
            failures: 0,
            not_before: Millis::MIN,
            renewed: None,
            trouble: None,
        }
    }

    /// Sends, and counts a failure before it is one: whoever calls may not wait for the end.
    async fn send_notices(&mut self, notices: &[Notice], now: Millis) -> Result<String, SendError> {
        self.failures += 1;
        self.wait_for(None, now);
        self.trouble = Some(Problem::new("no answer in time"));
        let sent = self.channel.send(notices, now).await;
        self.trouble = match &sent {
            Ok(_) => None,
            Err(error) if error.kind == SendErrorKind::Refused => {
                Some(Problem::because("refused a notice, which is given up", error))
            }
            Err(error) => Some(Problem::from(error)),
        };
        match &sent {
            Err(error) if error.kind != SendErrorKind::Refused => {
                self.wait_for(error.kind.retry_after(), (self.now)());
            }
            _ => (self.failures, self.not_before) = (0, Millis::MIN),
        }
        sent
    }

    fn wait_for(&mut self, retry_after: Option<Duration>, now: Millis) {
        let wait = backoff(self.failures, self.max_backoff, retry_after, random());
        self.not_before = now.saturating_add(wait.as_millis().try_into().unwrap_or(Millis::MAX));
    }

    /// Sends what is due; says whether the groups have changed.
    async fn send_due(&mut self, now: Millis) -> Result<bool, SendError> {
        if now < self.not_before {
            return Ok(false);
        }
        let notices = self.groups.next(now);
        metrics::gauge!("keyward_notice_groups", "sink" => self.sink.clone()).set(self.groups.len() as f64);
        if notices.is_empty() {
            return self.renew(now).await;
        }
        match self.send_notices(&notices, now).await {
            Ok(_) => self.count(&notices),
            Err(error) if error.kind == SendErrorKind::Refused => self.refused(notices.len(), &error),
            Err(error) => return Err(error),
        }
        self.groups.done(&notices, now);
        Ok(true)
    }

    /// Sends again what goes on, where the channel must hear of it; says whether it did.
    async fn renew(&mut self, now: Millis) -> Result<bool, SendError> {
        let Some(often) = self.traits.renew_every else { return Ok(false) };
        if self.renewed.is_some_and(|last| now < last + often) {
            return Ok(false);
        }
        let active = self.groups.active();
        if !active.is_empty() {
            match self.send_notices(&active, now).await {
                Err(error) if error.kind == SendErrorKind::Refused => self.refused(active.len(), &error),
                sent => drop(sent?),
            }
        }
        self.renewed = Some(now);
        Ok(!active.is_empty())
    }

    fn count(&self, notices: &[Notice]) {
        let held = notices.iter().filter(|notice| notice.kind == NoticeKind::HeldBack);
        let held: usize = held.map(|notice| notice.parts.len()).sum();
        metrics::counter!("keyward_notices_sent_total", "sink" => self.sink.clone()).increment(1);
        metrics::counter!("keyward_notices_held_back_total", "sink" => self.sink.clone())
            .increment(held as u64);
    }

    fn refused(&self, count: usize, error: &SendError) {
        tracing::warn!(sink = self.sink, count, why = %error, "notices that the channel will not take are given up");
        metrics::counter!("keyward_notices_refused_total", "sink" => self.sink.clone())
            .increment(count as u64);
    }
}

impl Sink for Notifier {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<SendReport, SendError>> {
        let now = (self.now)();
        for event in events {
            self.groups.take(event, now);
        }
        Box::pin(async { Ok(SendReport::default()) })
    }

    fn restore(&mut self, state: &[u8]) {
        (self.renewed, self.trouble) = (None, None);
        if let Err(error) = self.groups.restore(state) {
            tracing::warn!(sink = self.sink, %error, "the sink's groups cannot be read; they begin anew");
        }
    }

    fn state(&self) -> Vec<u8> {
        self.groups.save()
    }

    fn tick(&mut self, now: Millis) -> BoxFuture<'_, Result<bool, SendError>> {
        Box::pin(self.send_due(now))
    }

    fn trouble(&self) -> Option<&Problem> {
        self.trouble.as_ref()
    }

    /// A notice of its own, past all groups; where it would stay open it is over at once.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<SendReport, SendError>> {
        Box::pin(async move {
            let (now, mut notice) = ((self.now)(), Notice::alone(event));
            let answer = self.channel.send(std::slice::from_ref(&notice), now).await?;
            if self.traits.closes {
                (notice.kind, notice.end, notice.events) = (NoticeKind::Resolved, Some(EndReason::Quiet), 0);
                self.channel.send(std::slice::from_ref(&notice), now).await?;
            }
            Ok(SendReport::all_taken(answer))
        })
    }
}
