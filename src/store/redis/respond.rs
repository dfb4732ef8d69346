//! Changing a standing, and forgetting a subject.

use redis::Value;

use super::{
    RedisStore,
    error::unreadable,
    ids::EventId,
    packing,
    scripts::{Call, FORGET, RESPOND},
};
use crate::{
    domain::{event::Event, subject::Subject},
    store::{Refund, Respond, Responded, StoreError},
};

impl RedisStore {
    /// One script: all of it or nothing.
    pub(super) async fn respond_one(&self, respond: &Respond) -> Result<Responded, StoreError> {
        let reply = self.link.call(self.respond_call(Call::new(&RESPOND), respond)?).await?;
        let Value::Array(parts) = reply else { return Err(unreadable("the reply to a response")) };
        match parts.split_first() {
            Some((Value::Int(1), ids)) => Ok(Responded::Done(self.with_ids(respond, ids)?)),
            Some((Value::Int(0), [Value::BulkString(standing)])) => {
                packing::read_standing(standing).map(Responded::Conflict)
            }
            _ => Err(unreadable("the reply to a response")),
        }
    }

    /// Everything about `subject` goes, but its events.
    pub(super) async fn forget_subject(&self, subject: &Subject, event: &Event) -> Result<(), StoreError> {
        let partition = self.keys.partition(Some(subject));
        let keys = self.keys.subject(subject);
        let call = Call::new(&FORGET)
            .key(self.keys.in_force(partition))
            .key(self.keys.events(partition))
            .keys([keys.state, keys.detail, keys.profile])
            .keys(keys.windows)
            .arg(subject.as_str())
            .arg(self.event_cap())
            .arg(encode(event)?);
        self.link.call(call).await.map(drop)
    }

    /// About how many events a partition keeps, as an argument.
    pub(super) fn event_cap(&self) -> String {
        self.options.max_events_per_partition.to_string()
    }

    /// A call of a script that takes what 0002_respond.lua does, behind what `call` has already.
    pub(super) fn respond_call(&self, call: Call, respond: &Respond) -> Result<Call, StoreError> {
        let partition = self.keys.partition(Some(&respond.subject));
        let keys = self.keys.subject(&respond.subject);
        let (standing, detail) = match &respond.standing {
            Some((standing, detail)) => (packing::standing(standing), json(detail)?),
            None => Default::default(),
        };
        let mut call = call
            .key(keys.state)
            .keys(keys.windows)
            .key(keys.detail)
            .key(self.keys.in_force(partition))
            .key(self.keys.events(partition))
            .arg(respond.now.to_string())
            .arg(respond.subject.as_str())
            .arg(standing)
            .arg(detail)
            .arg(self.event_cap())
            .arg(respond.refunds.len().to_string());
        for refund in &respond.refunds {
            call = call.arg(pack_refund(refund));
        }
        for event in &respond.events {
            call = call.arg(encode(event)?);
        }
        Ok(call)
    }

    fn with_ids(&self, respond: &Respond, ids: &[Value]) -> Result<Vec<Event>, StoreError> {
        let partition = self.keys.partition(Some(&respond.subject));
        let named = respond.events.iter().zip(ids).map(|(event, id)| named(event, partition, id));
        named.collect()
    }
}

/// `event` with the id that its stream gave it.
pub(super) fn named(event: &Event, partition: u16, id: &Value) -> Result<Event, StoreError> {
    let id = EventId::from_stream(partition, id).ok_or_else(|| unreadable("an event's id"))?;
    Ok(Event { id: id.to_string(), ..event.clone() })
}

/// An event as it is stored: its id is that of its stream entry.
pub(super) fn encode(event: &Event) -> Result<Vec<u8>, StoreError> {
    if event.id.is_empty() { json(event) } else { json(&Event { id: String::new(), ..event.clone() }) }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Refused(format!("it cannot be written as JSON: {e}")))
}

fn pack_refund(refund: &Refund) -> Vec<u8> {
    let numbers = std::iter::once(refund.charged_at as f64).chain(packing::counts(&refund.counts));
    let mut bytes = packing::doubles(numbers);
    bytes.extend(refund.peer.iter().flat_map(|id| id.to_le_bytes()));
    bytes
}
