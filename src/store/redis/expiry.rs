//! What runs out: bans and throttles, taken off the lists of those in force, and events past their age.

use super::{
    RedisStore,
    error::unreadable,
    events::encode,
    link::Reply,
    packing,
    scripts::{Call, EXPIRE},
    standings::{CHUNK, subjects_of},
};
use crate::{
    domain::{Millis, event::Event, subject::Subject},
    store::{StoreError, expired::ban_expired},
};

/// What became of the standings that are due in one look at all partitions.
#[derive(Default)]
pub(super) struct Round {
    /// How many were taken off the lists by this instance.
    pub(super) removed: usize,
    /// How many of those were bans.
    pub(super) bans: usize,
    /// Whether a partition may have more of them.
    pub(super) more: bool,
}

/// A standing that is due, and the call that takes it off its list.
struct Due {
    was_ban: bool,
    call: Vec<Call>,
}

impl RedisStore {
    /// Takes standings that ran out by `now` off the lists, some of each partition.
    pub(super) async fn expire_round(&self, now: Millis) -> Result<Round, StoreError> {
        let due = |partition| {
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(self.keys.in_force(partition)).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(CHUNK);
            vec![command]
        };
        let lists = self.link.send((0..self.keys.partitions()).map(due).collect()).await?;
        let (mut subjects, mut round) = (Vec::new(), Round::default());
        for list in lists.into_iter().flatten() {
            let members: Vec<String> = self.read(list)?;
            round.more |= members.len() >= CHUNK;
            subjects.extend(subjects_of(&members));
        }
        for chunk in subjects.chunks(CHUNK) {
            let due = self.still_due(chunk, now).await?;
            let (were_bans, calls): (Vec<bool>, Vec<Vec<Call>>) =
                due.into_iter().map(|due| (due.was_ban, due.call)).unzip();
            let replies = self.link.call_all(&calls).await?;
            for (was_ban, reply) in were_bans.into_iter().zip(replies.into_iter().flatten()) {
                let removed: bool = self.read(reply)?;
                round.removed += usize::from(removed);
                round.bans += usize::from(removed && was_ban);
            }
        }
        Ok(round)
    }

    /// Those of `subjects` that are on the list still, and are due.
    async fn still_due(&self, subjects: &[Subject], now: Millis) -> Result<Vec<Due>, StoreError> {
        let reads = subjects.iter().map(|subject| {
            let mut score = redis::cmd("ZSCORE");
            score.arg(self.keys.in_force(self.keys.partition(Some(subject)))).arg(subject.as_str());
            vec![score, self.standing_command(subject)]
        });
        let mut all = Vec::new();
        for (subject, replies) in subjects.iter().zip(self.link.send(reads.collect()).await?) {
            let [score, state]: [Reply; 2] = replies.try_into().map_err(|_| unreadable("a standing"))?;
            let (score, state): (Option<f64>, Vec<u8>) = (self.read(score)?, self.read(state)?);
            let Some(score) = score.filter(|score| *score <= now as f64) else { continue };
            let standing = if state.is_empty() { None } else { Some(packing::read_standing(&state)?) };
            let event = standing.and_then(|standing| ban_expired(subject, &standing, now));
            let call = vec![self.expire_call(subject, score, &state, event.as_ref())?];
            all.push(Due { was_ban: event.is_some(), call });
        }
        Ok(all)
    }

    fn expire_call(
        &self,
        subject: &Subject,
        score: f64,
        state: &[u8],
        event: Option<&Event>,
    ) -> Result<Call, StoreError> {
        let partition = self.keys.partition(Some(subject));
        Ok(Call::new(&EXPIRE)
            .key(self.keys.state(subject))
            .key(self.keys.in_force(partition))
            .key(self.keys.events(partition))
            .arg(subject.as_str())
            .arg(score.to_string())
            .arg(&state[..state.len().min(8)])
            .arg(self.event_cap())
            .arg(event.map(encode).transpose()?.unwrap_or_default()))
    }

    /// Lets go of events past their age. Whole nodes of a stream at a time: cheap, and a little late.
    pub(super) async fn drop_old_events(&self, now: Millis) -> Result<(), StoreError> {
        let age = Millis::try_from(self.options.event_retention.as_millis()).unwrap_or(Millis::MAX);
        let oldest = now.saturating_sub(age).max(0);
        let trim = |partition| {
            let mut command = redis::cmd("XTRIM");
            command.arg(self.keys.events(partition)).arg("MINID").arg("~").arg(oldest);
            vec![command]
        };
        let replies = self.link.send((0..self.keys.partitions()).map(trim).collect()).await?;
        replies.into_iter().flatten().try_for_each(|reply| self.read::<i64>(reply).map(drop))
    }
}
