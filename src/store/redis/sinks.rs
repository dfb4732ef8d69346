//! Sinks: who sends for each, how far it has come, and its dead letters. One script acts on one sink; what a sink has
//! lies in the slot of its name.

use std::collections::{BTreeMap, HashSet};

use redis::Value;

use super::{
    RedisStore,
    error::{unreadable, unreadable_because},
    packing::json,
    scripts::{Call, SINK},
};
use crate::{
    domain::Millis,
    store::{
        DeadLetter, DeadLetterAct, LogPosition, MAX_DEAD_LETTERS, SinkHealth, SinkLead, SinkRecord, SinkStep,
        SinkStore, Stepped, StoreError, StoreResult,
        roles::{health_from_text, position_from_text, position_to_text},
    },
};

impl SinkStore for RedisStore {
    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>> {
        Box::pin(async move {
            let call =
                self.sink_call(sink).arg("lead").arg(owner).arg(now.to_string()).arg(until.to_string());
            read_lead(self.aside.call(call).await?)
        })
    }

    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>> {
        Box::pin(async move {
            let call = self.sink_call(sink).arg("renew").arg(epoch.to_string()).arg(until.to_string());
            match self.aside.call(call.arg(json(health)?)).await? {
                Value::Int(0) => Ok(None),
                Value::Int(reply) => Ok(Some(reply > 1)),
                _ => Err(unreadable("a lease")),
            }
        })
    }

    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()> {
        Box::pin(async move { self.aside.call(self.sink_call(sink).arg("leave").arg(owner)).await.map(drop) })
    }

    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped> {
        Box::pin(async move {
            let call = self
                .sink_call(&step.sink)
                .arg("step")
                .arg(step.epoch.to_string())
                .arg(position_to_text(&step.position))
                .arg(step.state.clone())
                .arg(MAX_DEAD_LETTERS.to_string())
                .arg(step.done.len().to_string());
            let mut call = step.done.iter().fold(call, |call, id| call.arg(id.as_str()));
            for letter in &step.parked {
                call = call.arg(letter.event.id.as_str()).arg(json(letter)?);
            }
            match self.aside.call(call).await? {
                Value::Int(1) => Ok(Stepped::Done),
                Value::Int(0) => Ok(Stepped::NotLeading),
                Value::Int(2) => Ok(Stepped::Full),
                _ => Err(unreadable("a step")),
            }
        })
    }

    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>> {
        Box::pin(async move {
            let [key, dead, _] = self.keys.sink(sink);
            let (mut fields, mut count) = (redis::cmd("HMGET"), redis::cmd("HLEN"));
            fields.arg(key).arg("owner").arg("until").arg("position").arg("health");
            count.arg(dead);
            let mut replies = self.aside.send(vec![vec![fields, count]]).await?.into_iter().flatten();
            let mut next = || replies.next().ok_or_else(|| unreadable("a sink"));
            type Fields = (Option<String>, Option<Millis>, Option<String>, Option<String>);
            let (owner, until, position, health): Fields = self.read(next()?)?;
            let dead_letters = self.read(next()?)?;
            let (Some(owner), Some(until)) = (owner, until) else { return Ok(None) };
            let position = position_of(position.as_deref())?;
            let health = health.as_deref().and_then(health_from_text);
            Ok(Some(SinkRecord { sink: sink.to_owned(), owner, until, position, dead_letters, health }))
        })
    }

    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>> {
        Box::pin(async move {
            let [_, dead, again] = self.keys.sink(sink);
            let (mut letters, mut marks) = (redis::cmd("HGETALL"), redis::cmd("SMEMBERS"));
            letters.arg(dead);
            marks.arg(again);
            let mut replies = self.aside.send(vec![vec![letters, marks]]).await?.into_iter().flatten();
            let mut next = || replies.next().ok_or_else(|| unreadable("dead letters"));
            let letters: BTreeMap<String, Vec<u8>> = self.read(next()?)?;
            let marks: HashSet<String> = self.read(next()?)?;
            let letter = |(id, json): (String, Vec<u8>)| {
                let letter = read_letter(&id, &json)?;
                Some(DeadLetter { again: marks.contains(&id), ..letter })
            };
            Ok(letters.into_iter().filter_map(letter).collect())
        })
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize> {
        Box::pin(async move {
            let act = match act {
                DeadLetterAct::Redeliver => "again",
                DeadLetterAct::Discard => "discard",
            };
            let call = ids.iter().fold(self.sink_call(sink).arg(act), |call, id| call.arg(id.as_str()));
            match self.aside.call(call).await? {
                Value::Int(count) => usize::try_from(count).map_err(unreadable_because("a count")),
                _ => Err(unreadable("a count")),
            }
        })
    }
}

impl RedisStore {
    fn sink_call(&self, sink: &str) -> Call {
        Call::new(&SINK).keys(self.keys.sink(sink))
    }
}

/// What the script replied to who asks to lead: nothing to lead, or the epoch with what the former left.
fn read_lead(reply: Value) -> Result<Option<SinkLead>, StoreError> {
    let Value::Array(reply) = reply else { return Err(unreadable("a lease")) };
    match reply.as_slice() {
        [Value::Int(0)] => Ok(None),
        [Value::Int(epoch), Value::BulkString(position), Value::BulkString(state), Value::Int(again)] => {
            Ok(Some(SinkLead {
                epoch: u64::try_from(*epoch).map_err(unreadable_because("a lease"))?,
                position: position_of(std::str::from_utf8(position).ok())?,
                state: state.clone(),
                again: *again > 0,
            }))
        }
        _ => Err(unreadable("a lease")),
    }
}

/// A dead letter; one that a newer version wrote is passed over.
fn read_letter(id: &str, json: &[u8]) -> Option<DeadLetter> {
    let letter = serde_json::from_slice(json);
    letter
        .inspect_err(|error| tracing::warn!(id, %error, "a dead letter cannot be read and is passed over"))
        .ok()
}

/// An empty text is no position.
fn position_of(text: Option<&str>) -> Result<Option<LogPosition>, StoreError> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| position_from_text(text).ok_or_else(|| unreadable("a position"))).transpose()
}
