//! Standings: one, all that are in force, and those that ran out.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    link::Reply,
    packing::{self, STANDING_BYTES},
    respond::encode,
    scripts::{Call, EXPIRE},
};
use crate::{
    domain::{
        Millis,
        decision::{Action, Would},
        event::{Event, EventType, format_millis},
        finding::Severity,
        standing::{Standing, StandingDetail, StandingState},
        subject::Subject,
    },
    store::{StandingRecord, StoreError},
};

/// Subjects whose standing is read with one trip.
const CHUNK: usize = 500;

impl RedisStore {
    /// The standing of one subject.
    pub(super) async fn standing_of(&self, subject: &Subject) -> Result<Option<StandingRecord>, StoreError> {
        Ok(self.standings(std::slice::from_ref(subject)).await?.pop())
    }

    /// Every standing that throttles or bans, newest first.
    pub(super) async fn all_in_force(&self, now: Millis) -> Result<Vec<StandingRecord>, StoreError> {
        let listed = |partition| {
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(self.keys.in_force(partition)).arg(format!("({now}")).arg("+inf");
            vec![command]
        };
        let lists = self.link.send((0..self.keys.partitions()).map(listed).collect()).await?;
        let mut subjects = Vec::new();
        for list in lists.into_iter().flatten() {
            let members: Vec<String> = self.read(list)?;
            subjects.extend(members.iter().filter_map(|member| Subject::stored(member).ok()));
        }
        let mut records = Vec::with_capacity(subjects.len());
        for chunk in subjects.chunks(CHUNK) {
            records.extend(self.standings(chunk).await?);
        }
        records.retain(|record| record.standing.state_at(now) != StandingState::Clear);
        records.sort_by(|a, b| b.standing.since.cmp(&a.standing.since).then(a.subject.cmp(&b.subject)));
        Ok(records)
    }

    /// Takes what ran out off the lists; returns how many bans that were. Also lets go of events past their age.
    pub(super) async fn expire_due(&self, now: Millis) -> Result<usize, StoreError> {
        let due = |partition| {
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(self.keys.in_force(partition)).arg("-inf").arg(now).arg("LIMIT").arg(0).arg(CHUNK);
            vec![command]
        };
        let mut expired = 0;
        loop {
            let lists = self.link.send((0..self.keys.partitions()).map(due).collect()).await?;
            let (mut subjects, mut more) = (Vec::new(), false);
            for list in lists.into_iter().flatten() {
                let members: Vec<String> = self.read(list)?;
                more |= members.len() >= CHUNK;
                subjects.extend(members.iter().filter_map(|member| Subject::stored(member).ok()));
            }
            let mut removed = 0;
            for chunk in subjects.chunks(CHUNK) {
                let done = self.expire_chunk(chunk, now).await?;
                removed += done.len();
                expired += done.into_iter().filter(|was_ban| *was_ban).count();
            }
            if !more || removed == 0 {
                break;
            }
        }
        self.drop_old_events(now).await?;
        Ok(expired)
    }

    /// Takes those of `subjects` off the lists that are still due; says of each whether it was banned.
    async fn expire_chunk(&self, subjects: &[Subject], now: Millis) -> Result<Vec<bool>, StoreError> {
        let reads = subjects.iter().map(|subject| {
            let mut score = redis::cmd("ZSCORE");
            score.arg(self.keys.in_force(self.keys.partition(Some(subject)))).arg(subject.as_str());
            vec![score, self.standing_command(subject)]
        });
        let (mut were_bans, mut calls) = (Vec::new(), Vec::new());
        for (subject, replies) in subjects.iter().zip(self.link.send(reads.collect()).await?) {
            let [score, state]: [Reply; 2] = replies.try_into().map_err(|_| unreadable("a standing"))?;
            let (score, state): (Option<f64>, Vec<u8>) = (self.read(score)?, self.read(state)?);
            let Some(score) = score.filter(|score| *score <= now as f64) else { continue };
            let standing = if state.is_empty() { None } else { Some(packing::read_standing(&state)?) };
            let event = standing.and_then(|standing| ban_expired(subject, &standing, now));
            were_bans.push(event.is_some());
            calls.push(vec![self.expire_call(subject, score, &state, event.as_ref())?]);
        }
        let mut done = Vec::new();
        for (was_ban, reply) in
            were_bans.into_iter().zip(self.link.call_all(&calls).await?.into_iter().flatten())
        {
            if self.read(reply)? {
                done.push(was_ban);
            }
        }
        Ok(done)
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

    /// The standings of those among `subjects` that have one.
    async fn standings(&self, subjects: &[Subject]) -> Result<Vec<StandingRecord>, StoreError> {
        let reads = subjects.iter().map(|subject| {
            let mut detail = redis::cmd("GET");
            detail.arg(self.keys.subject(subject).detail);
            vec![self.standing_command(subject), detail]
        });
        let mut records = Vec::new();
        for (subject, replies) in subjects.iter().zip(self.link.send(reads.collect()).await?) {
            let [state, detail]: [Reply; 2] = replies.try_into().map_err(|_| unreadable("a standing"))?;
            let (state, detail): (Vec<u8>, Option<Vec<u8>>) = (self.read(state)?, self.read(detail)?);
            if state.is_empty() {
                continue;
            }
            let standing = packing::read_standing(&state)?;
            if standing.version > 0 {
                records.push(StandingRecord {
                    subject: subject.clone(),
                    standing,
                    detail: read_detail(detail)?,
                });
            }
        }
        Ok(records)
    }

    fn standing_command(&self, subject: &Subject) -> redis::Cmd {
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.keys.state(subject)).arg(0).arg(STANDING_BYTES - 1);
        command
    }

    /// A reply as what it should be.
    pub(super) fn read<T: redis::FromRedisValue>(&self, reply: Reply) -> Result<T, StoreError> {
        self.read_value(reply.map_err(|e| self.link.translate(&e))?)
    }

    /// A value as what it should be.
    pub(super) fn read_value<T: redis::FromRedisValue>(&self, value: Value) -> Result<T, StoreError> {
        redis::from_redis_value(value).map_err(|_| unreadable("a reply"))
    }
}

fn read_detail(json: Option<Vec<u8>>) -> Result<StandingDetail, StoreError> {
    let Some(json) = json else { return Ok(StandingDetail::default()) };
    serde_json::from_slice(&json).map_err(|_| unreadable("the detail of a standing"))
}

/// The event for a ban that ran out; throttles end in silence.
fn ban_expired(subject: &Subject, standing: &Standing, now: Millis) -> Option<Event> {
    let until = standing.until.filter(|until| *until <= now)?;
    if standing.state != StandingState::TemporarilyBanned {
        return None;
    }
    let evidence =
        serde_json::json!({ "since": format_millis(standing.since), "until": format_millis(until) });
    Some(Event {
        detector: Some("ladder".into()),
        evidence,
        would: standing.unenforced.then(|| Would::go_on(Action::None)),
        ..Event::new(now, EventType::BanExpired, Severity::Low, Some(subject.clone()))
    })
}
