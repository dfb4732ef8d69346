//! After a request: what it used is charged in place of what was held, in one step, exactly once.

use super::{
    super::dialect::usage::{Tier, Usage},
    admit::Hold,
    call::Call,
};
use crate::{
    domain::{decision::Decision, record::Record},
    intake::{WireCost, WireRecord, WireServiceTier},
};

/// What is known of what a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    /// What the provider said of the whole answer.
    Exactly(Usage),
    /// What was metered until it was cancelled, at a provider that stops billing then: in part an estimate, so that
    /// nothing is learned from it.
    Metered(Usage),
    /// The provider answered with an error, or was never asked: it bills nothing.
    Nothing,
    /// Nobody said: what was held is charged.
    Unknown,
}

impl Call {
    /// Reports a request and settles what was held for it. `status` is what the client was answered, `model` what was
    /// asked for in the end.
    pub(super) async fn settle(&self, mut hold: Hold, used: Used, status: u16) -> Option<Decision> {
        hold.release();
        let parts = std::mem::take(&mut hold.parts);
        let used = if self.surface.billed { used } else { Used::Nothing };
        let now = self.gateway.engine.now();
        let report = self.report(&hold, used, status);
        let record = match self.record(report, now) {
            Ok(record) => record,
            // What the provider said is out of all bounds: what was held is charged.
            Err(_) => self.record(self.report(&hold, Used::Unknown, status), now).ok()?,
        };
        if let Used::Exactly(usage) = used {
            self.gateway.ratios.learn(&self.key_id, &hold.model, &self.measured, usage.prompt());
        }
        metrics::counter!(
            "keyward_gateway_requests_total", "surface" => self.surface.name, "status" => status.to_string()
        )
        .increment(1);
        // Without a first reservation what is unknown was said in the record.
        let are_unknown = record.reservation_id.is_some() && !record.usage_known;
        let record = Record { has_parts: !parts.is_empty(), ..record };
        let decision = self.gateway.engine.record(&[record], now).await.pop();
        self.end_parts(parts, are_unknown).await;
        decision
    }

    fn report(&self, hold: &Hold, used: Used, status: u16) -> WireRecord {
        let mut wire = self.wire(&hold.model);
        wire.response_status = Some(status);
        wire.latency_ms = Some(self.started.elapsed().as_secs_f64() * 1000.0);
        wire.reservation_id = hold.reservation().map(|id| id.to_string());
        match used {
            Used::Exactly(usage) | Used::Metered(usage) => put(&mut wire, usage),
            Used::Nothing => {
                (wire.prompt_tokens, wire.completion_tokens) = (Some(0), Some(0));
                wire.cost_usd = Some(WireCost::NOTHING);
            }
            Used::Unknown if hold.reservation().is_none() => {
                (wire.prompt_tokens, wire.completion_tokens) =
                    (Some(hold.prompt.reserved), Some(hold.output));
            }
            Used::Unknown => {}
        }
        wire
    }
}

/// Writes what was used into a record.
pub(super) fn put(wire: &mut WireRecord, usage: Usage) {
    wire.prompt_tokens = Some(usage.prompt());
    wire.completion_tokens = Some(usage.output.unwrap_or(0));
    wire.cached_tokens = usage.cached;
    wire.cache_write_tokens = usage.cache_write_5m();
    wire.cache_write_1h_tokens = usage.cache_write_1h;
    wire.reasoning_tokens = usage.reasoning;
    wire.service_tier = usage.tier.map(|tier| match tier {
        Tier::Batch => WireServiceTier::Batch,
        Tier::Flex => WireServiceTier::Flex,
        Tier::Priority => WireServiceTier::Priority,
        Tier::Ordinary => WireServiceTier::Default,
    });
}
