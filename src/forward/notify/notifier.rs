//! The sink that notifies: events go into groups at once, and what is due is sent when time is told.
//!
//! One message at a time, and at most one a second. The groups are written down with the cursor after each one, so that
//! a restart repeats the last message at most. A message that fails stays due, and is tried again with growing waits; one
//! that is refused for good is given up, and that is logged, counted, and shown until another one is taken.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;

use super::{Channel, Nature, Notice, Told, groups::Groups, settings::Grouping};
use crate::{
    domain::{Millis, event::Event},
    forward::{
        Common, Failure, Sent, Sink,
        backoff::{random, wait},
    },
};

/// Sends what is due by one channel.
pub struct Notifier {
    sink: String,
    groups: Groups,
    nature: Nature,
    channel: Box<dyn Channel>,
    now: Arc<dyn Fn() -> Millis + Send + Sync>,
    max_backoff: Duration,
    failures: u32,
    /// Nothing is sent before.
    not_before: Millis,
    /// When what is active was told again.
    renewed: Option<Millis>,
    /// Why the last message was not taken.
    trouble: Option<String>,
}

impl Notifier {
    /// For one sink.
    pub fn new(
        grouping: Grouping,
        nature: Nature,
        channel: Box<dyn Channel>,
        common: &Common,
        now: Arc<dyn Fn() -> Millis + Send + Sync>,
    ) -> Self {
        let labels = [("sink", common.name.clone())];
        metrics::counter!("keyward_notices_sent_total", &labels).increment(0);
        metrics::counter!("keyward_notices_held_back_total", &labels).increment(0);
        metrics::counter!("keyward_notices_refused_total", &labels).increment(0);
        metrics::gauge!("keyward_notice_groups", &labels).set(0.0);
        Self {
            sink: common.name.clone(),
            groups: Groups::new(grouping, nature.clone()),
            nature,
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
    async fn tell(&mut self, notices: &[Notice], now: Millis) -> Result<String, Failure> {
        self.failures += 1;
        self.wait_for(None, now);
        self.trouble = Some("no answer in time".to_owned());
        let told = self.channel.tell(notices, now).await;
        self.trouble = match &told {
            Ok(_) => None,
            Err(Failure::Refused(why)) => Some(format!("refused a notice, which is given up: {why}")),
            Err(failure) => Some(failure.to_string()),
        };
        match &told {
            Ok(_) | Err(Failure::Refused(_)) => (self.failures, self.not_before) = (0, Millis::MIN),
            Err(Failure::Busy { after, .. }) => self.wait_for(*after, (self.now)()),
            Err(_) => self.wait_for(None, (self.now)()),
        }
        told
    }

    fn wait_for(&mut self, asked: Option<Duration>, now: Millis) {
        let wait = wait(self.failures, self.max_backoff, asked, random());
        self.not_before = now.saturating_add(wait.as_millis().try_into().unwrap_or(Millis::MAX));
    }

    /// Sends what is due; says whether the groups have changed.
    async fn send_due(&mut self, now: Millis) -> Result<bool, Failure> {
        if now < self.not_before {
            return Ok(false);
        }
        let notices = self.groups.next(now);
        metrics::gauge!("keyward_notice_groups", "sink" => self.sink.clone()).set(self.groups.len() as f64);
        if notices.is_empty() {
            return self.renew(now).await;
        }
        match self.tell(&notices, now).await {
            Ok(_) => self.count(&notices),
            Err(Failure::Refused(why)) => self.refused(notices.len(), &why),
            Err(failure) => return Err(failure),
        }
        self.groups.done(&notices, now);
        Ok(true)
    }

    /// Tells again what goes on, where that is wanted; says whether it did.
    async fn renew(&mut self, now: Millis) -> Result<bool, Failure> {
        let Some(often) = self.nature.renew else { return Ok(false) };
        if self.renewed.is_some_and(|last| now < last + often) {
            return Ok(false);
        }
        let active = self.groups.active();
        if !active.is_empty() {
            match self.tell(&active, now).await {
                Err(Failure::Refused(why)) => self.refused(active.len(), &why),
                told => drop(told?),
            }
        }
        self.renewed = Some(now);
        Ok(!active.is_empty())
    }

    fn count(&self, notices: &[Notice]) {
        let held = notices.iter().filter(|notice| notice.told == Told::HeldBack);
        let held: usize = held.map(|notice| notice.parts.len()).sum();
        metrics::counter!("keyward_notices_sent_total", "sink" => self.sink.clone()).increment(1);
        metrics::counter!("keyward_notices_held_back_total", "sink" => self.sink.clone())
            .increment(held as u64);
    }

    fn refused(&self, count: usize, why: &str) {
        tracing::warn!(sink = self.sink, count, why, "notices that the channel will not take are given up");
        metrics::counter!("keyward_notices_refused_total", "sink" => self.sink.clone())
            .increment(count as u64);
    }
}

impl Sink for Notifier {
    fn send<'a>(&'a mut self, events: &'a [Event]) -> BoxFuture<'a, Result<Sent, Failure>> {
        let now = (self.now)();
        for event in events {
            self.groups.take(event, now);
        }
        Box::pin(async { Ok(Sent::default()) })
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

    fn tick(&mut self, now: Millis) -> BoxFuture<'_, Result<bool, Failure>> {
        Box::pin(self.send_due(now))
    }

    fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// A notice of its own, past all groups; where it would stay open it is over at once.
    fn test<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Sent, Failure>> {
        Box::pin(async move {
            let (now, mut notice) = ((self.now)(), Notice::alone(event));
            let answer = self.channel.tell(std::slice::from_ref(&notice), now).await?;
            if self.nature.closes {
                (notice.told, notice.end, notice.events) = (Told::Resolved, Some(super::End::Quiet), 0);
                self.channel.tell(std::slice::from_ref(&notice), now).await?;
            }
            Ok(Sent { refused: Vec::new(), answer })
        })
    }
}
