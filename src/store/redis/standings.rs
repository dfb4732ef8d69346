//! Standings: one, all that are in force, and the scripts that change them.

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    events::{encode, named},
    link::Reply,
    packing::{self, STANDING_BYTES},
    scripts::{Call, FORGET, RESPOND},
};
use crate::{
    domain::{
        Millis,
        event::Event,
        standing::{StandingDetail, StandingState},
        subject::Subject,
    },
    store::{Respond, Responded, StandingLookup, StandingRecord, StandingStore, StoreError, StoreResult},
};

/// Subjects whose standing is read with one trip.
pub(super) const CHUNK: usize = 500;

impl StandingLookup for RedisStore {
    fn standing<'a>(&'a self, subject: &'a Subject) -> StoreResult<'a, Option<StandingRecord>> {
        Box::pin(async move { Ok(self.standings(std::slice::from_ref(subject)).await?.pop()) })
    }

    fn standings_in_force(&self, now: Millis) -> StoreResult<'_, Vec<StandingRecord>> {
        Box::pin(async move {
            let listed = |partition| {
                let mut command = redis::cmd("ZRANGEBYSCORE");
                command.arg(self.keys.in_force(partition)).arg(format!("({now}")).arg("+inf");
                vec![command]
            };
            let lists = self.link.send((0..self.keys.partitions()).map(listed).collect()).await?;
            let mut subjects = Vec::new();
            for list in lists.into_iter().flatten() {
                subjects.extend(subjects_of(&self.read::<Vec<String>>(list)?));
            }
            let mut records = Vec::with_capacity(subjects.len());
            for chunk in subjects.chunks(CHUNK) {
                records.extend(self.standings(chunk).await?);
            }
            records.retain(|record| record.standing.state_at(now) != StandingState::Clear);
            records.sort_by(|a, b| b.standing.since.cmp(&a.standing.since).then(a.subject.cmp(&b.subject)));
            Ok(records)
        })
    }
}

impl StandingStore for RedisStore {
    /// One script: all of it or nothing.
    fn respond<'a>(&'a self, respond: &'a Respond) -> StoreResult<'a, Responded> {
        Box::pin(async move {
            let reply = self.link.call(self.respond_call(Call::new(&RESPOND), respond)?).await?;
            let Value::Array(parts) = reply else { return Err(unreadable("the reply to a response")) };
            match parts.split_first() {
                Some((Value::Int(1), ids)) => Ok(Responded::Done(self.with_ids(respond, ids)?)),
                Some((Value::Int(0), [Value::BulkString(standing)])) => {
                    packing::read_standing(standing).map(Responded::Conflict)
                }
                _ => Err(unreadable("the reply to a response")),
            }
        })
    }

    /// Takes what ran out off the lists. Also lets go of events past their age.
    fn expire_bans(&self, now: Millis) -> StoreResult<'_, usize> {
        Box::pin(async move {
            let mut bans = 0;
            loop {
                let round = self.expire_round(now).await?;
                bans += round.bans;
                if !round.more || round.removed == 0 {
                    break;
                }
            }
            self.drop_old_events(now).await?;
            Ok(bans)
        })
    }

    fn forget<'a>(&'a self, subject: &'a Subject, event: &'a Event) -> StoreResult<'a, ()> {
        Box::pin(async move {
            let partition = self.keys.partition(Some(subject));
            let keys = self.keys.subject(subject);
            let call = Call::new(&FORGET)
                .key(self.keys.in_force(partition))
                .key(self.keys.events(partition))
                .key(self.keys.seen(partition))
                .key(self.keys.profile_news(partition))
                .keys([keys.state, keys.detail, keys.profile])
                .keys(keys.windows)
                .arg(subject.as_str())
                .arg(self.event_cap())
                .arg(encode(event)?);
            self.link.call(call).await.map(drop)
        })
    }
}

impl RedisStore {
    fn with_ids(&self, respond: &Respond, ids: &[Value]) -> Result<Vec<Event>, StoreError> {
        let partition = self.keys.partition(Some(&respond.subject));
        respond.events.iter().zip(ids).map(|(event, id)| named(event, partition, id)).collect()
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
                let detail = read_detail(detail)?;
                records.push(StandingRecord { subject: subject.clone(), standing, detail });
            }
        }
        Ok(records)
    }

    /// The command that reads the packed standing at the start of a state.
    pub(super) fn standing_command(&self, subject: &Subject) -> redis::Cmd {
        let mut command = redis::cmd("GETRANGE");
        command.arg(self.keys.state(subject)).arg(0).arg(STANDING_BYTES - 1);
        command
    }
}

/// The subjects that a list of standings names. One that this version does not know is passed over.
pub(super) fn subjects_of(members: &[String]) -> impl Iterator<Item = Subject> {
    members.iter().filter_map(|member| Subject::stored(member).ok())
}

fn read_detail(json: Option<Vec<u8>>) -> Result<StandingDetail, StoreError> {
    let Some(json) = json else { return Ok(StandingDetail::default()) };
    serde_json::from_slice(&json).map_err(unreadable_because("the detail of a standing"))
}
