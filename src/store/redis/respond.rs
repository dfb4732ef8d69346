//! The arguments of a change of a standing, which more than one script takes.

use super::{RedisStore, events::encode, packing, scripts::Call};
use crate::store::{Refund, Respond, StoreError};

impl RedisStore {
    /// A call of a script that takes what 0002_respond.lua does, behind what `call` has already.
    pub(super) fn respond_call(&self, call: Call, respond: &Respond) -> Result<Call, StoreError> {
        let partition = self.keys.partition(Some(&respond.subject));
        let keys = self.keys.subject(&respond.subject);
        let (standing, detail) = match &respond.standing {
            Some((standing, detail)) => (packing::standing(standing), packing::json(detail)?),
            None => Default::default(),
        };
        let call = call
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
        let call = respond.refunds.iter().fold(call, |call, refund| call.arg(pack_refund(refund)));
        respond.events.iter().try_fold(call, |call, event| Ok(call.arg(encode(event)?)))
    }
}

fn pack_refund(refund: &Refund) -> Vec<u8> {
    let numbers = std::iter::once(refund.charged_at as f64).chain(packing::counts(&refund.counts));
    let mut bytes = packing::doubles(numbers);
    bytes.extend(refund.peer.iter().flat_map(|id| id.to_le_bytes()));
    bytes
}
