//! Sinks: who sends for each, how far it has come, and its dead letters. One script acts on one sink; what a sink has
//! lies in the slot of its name.

use std::collections::{BTreeMap, HashSet};

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    respond::json,
    scripts::{Call, SINK},
};
use crate::{
    domain::Millis,
    store::{
        DeadLetter, DeadLetterAct, SinkHealth, SinkLead, SinkRecord, SinkStep, Stepped, StoreError,
        sinks::{MAX_DEAD_LETTERS, health_from_text, position_from_text, position_to_text},
    },
};

impl RedisStore {
    /// See [`crate::store::Store::lead_sink`].
    pub(super) async fn lead_one(
        &self,
        sink: &str,
        owner: &str,
        now: Millis,
        until: Millis,
    ) -> Result<Option<SinkLead>, StoreError> {
        let call = self.sink_call(sink).arg("lead").arg(owner).arg(now.to_string()).arg(until.to_string());
        let Value::Array(reply) = self.aside.call(call).await? else { return Err(unreadable("a lease")) };
        match reply.as_slice() {
            [Value::Int(0)] => Ok(None),
            [Value::Int(epoch), Value::BulkString(position), Value::BulkString(state), Value::Int(again)] => {
                Ok(Some(SinkLead {
                    epoch: u64::try_from(*epoch).map_err(|_| unreadable("a lease"))?,
                    position: position_of(std::str::from_utf8(position).ok())?,
                    state: state.clone(),
                    again: *again > 0,
                }))
            }
            _ => Err(unreadable("a lease")),
        }
    }

    /// See [`crate::store::Store::renew_sink`].
    pub(super) async fn renew_one(
        &self,
        sink: &str,
        epoch: u64,
        until: Millis,
        health: &SinkHealth,
    ) -> Result<Option<bool>, StoreError> {
        let call = self.sink_call(sink).arg("renew").arg(epoch.to_string()).arg(until.to_string());
        let call = call.arg(json(health)?);
        match self.aside.call(call).await? {
            Value::Int(0) => Ok(None),
            Value::Int(reply) => Ok(Some(reply > 1)),
            _ => Err(unreadable("a lease")),
        }
    }

    /// See [`crate::store::Store::leave_sink`].
    pub(super) async fn leave_one(&self, sink: &str, owner: &str) -> Result<(), StoreError> {
        self.aside.call(self.sink_call(sink).arg("leave").arg(owner)).await.map(drop)
    }

    /// See [`crate::store::Store::step_sink`].
    pub(super) async fn step_one(&self, step: &SinkStep) -> Result<Stepped, StoreError> {
        let mut call = self
            .sink_call(&step.sink)
            .arg("step")
            .arg(step.epoch.to_string())
            .arg(position_to_text(&step.position))
            .arg(step.state.clone())
            .arg(MAX_DEAD_LETTERS.to_string())
            .arg(step.done.len().to_string());
        for id in &step.done {
            call = call.arg(id.as_str());
        }
        for letter in &step.parked {
            call = call.arg(letter.event.id.as_str()).arg(json(letter)?);
        }
        match self.aside.call(call).await? {
            Value::Int(1) => Ok(Stepped::Done),
            Value::Int(0) => Ok(Stepped::NotLeading),
            Value::Int(2) => Ok(Stepped::Full),
            _ => Err(unreadable("a step")),
        }
    }

    /// Every dead letter of a sink, those that were parked first first.
    pub(super) async fn letters_of(&self, sink: &str) -> Result<Vec<DeadLetter>, StoreError> {
        let [_, dead, again] = self.keys.sink(sink);
        let (mut letters, mut marks) = (redis::cmd("HGETALL"), redis::cmd("SMEMBERS"));
        letters.arg(dead);
        marks.arg(again);
        let mut replies = self.aside.send(vec![vec![letters, marks]]).await?.into_iter().flatten();
        let mut next = || replies.next().ok_or_else(|| unreadable("dead letters"));
        let letters: BTreeMap<String, Vec<u8>> = self.read(next()?)?;
        let marks: HashSet<String> = self.read(next()?)?;
        let mut all = Vec::with_capacity(letters.len());
        for (id, json) in letters {
            match serde_json::from_slice::<DeadLetter>(&json) {
                Ok(letter) => all.push(DeadLetter { again: marks.contains(&id), ..letter }),
                // Written by a newer version.
                Err(error) => tracing::warn!(id, %error, "a dead letter cannot be read and is passed over"),
            }
        }
        Ok(all)
    }

    /// See [`crate::store::Store::act_on_dead_letters`].
    pub(super) async fn act_on_letters(
        &self,
        sink: &str,
        act: DeadLetterAct,
        ids: &[String],
    ) -> Result<usize, StoreError> {
        let act = match act {
            DeadLetterAct::Redeliver => "again",
            DeadLetterAct::Discard => "discard",
        };
        let call = ids.iter().fold(self.sink_call(sink).arg(act), |call, id| call.arg(id.as_str()));
        match self.aside.call(call).await? {
            Value::Int(count) => usize::try_from(count).map_err(|_| unreadable("a count")),
            _ => Err(unreadable("a count")),
        }
    }

    /// See [`crate::store::Store::sink`].
    pub(super) async fn sink_record(&self, sink: &str) -> Result<Option<SinkRecord>, StoreError> {
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
    }

    fn sink_call(&self, sink: &str) -> Call {
        Call::new(&SINK).keys(self.keys.sink(sink))
    }
}

/// An empty one is none.
fn position_of(text: Option<&str>) -> Result<Option<crate::store::LogPosition>, StoreError> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| position_from_text(text).ok_or_else(|| unreadable("a position"))).transpose()
}
