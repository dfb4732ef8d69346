//! What a stream has cost so far: held in the limits as it grows beyond what was held at first, and shown to who asks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{
    super::{dialect::usage::Usage, meter::Meter},
    call::Call,
    hold::{Hold, Lease, Part},
    settle::put,
};
use crate::{
    clock::{self, Instant},
    domain::{
        decision::{Decision, Reason},
        money::Usd,
        reservation::{HoldTerms, ReservationChange, ReservationId},
    },
};

/// Tokens of an answer that are held at once where more is refused.
const LEAST: u64 = 64;
/// How often at most the cost so far is shown.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

impl Call {
    /// Tokens of the answer so far. Where a cap holds them anyway, events are not taken for tokens: some have none.
    fn output_so_far(&self, meter: &Meter) -> u64 {
        let by_events = if self.asked.cap.is_none() { meter.events } else { 0 };
        meter.usage.output.unwrap_or(0).max(by_events)
    }

    /// Holds more where the stream has used more than is held: as much again, or a little where that is refused.
    /// Returns why not even that is held: then the stream must end.
    pub(super) async fn hold_more(&self, hold: &mut Hold, meter: &Meter) -> Option<Reason> {
        if !self.surface.billed || meter.is_final {
            return None;
        }
        let (prompt, output) = (meter.usage.prompt(), self.output_so_far(meter));
        let more_prompt = prompt.saturating_sub(hold.prompt.reserved);
        if more_prompt == 0 && output <= hold.output {
            return None;
        }
        let missing = output.saturating_sub(hold.output);
        let least = missing.next_multiple_of(LEAST);
        let first = least.max(hold.output);
        let mut decision = self.hold_part(hold, more_prompt, first).await?;
        let mut held = first;
        if !decision.allowed && least < first {
            decision = self.hold_part(hold, more_prompt, least).await?;
            held = least;
        }
        if !decision.allowed {
            return decision.reason.or(Some(Reason::BudgetExceeded));
        }
        hold.prompt.reserved += more_prompt;
        hold.output = hold.output.saturating_add(held);
        let part = decision.reserved.and_then(|reserved| {
            let lease = Duration::from_secs(reserved.lease_seconds);
            let id = ReservationId::parse(&reserved.id)?;
            Some(Part { _lease: Lease::keep(self.gateway.engine.clone(), id.clone(), lease), id })
        });
        hold.parts.extend(part);
        None
    }

    /// Asks for so many tokens more; `None` where they are beyond all bounds.
    async fn hold_part(&self, hold: &Hold, prompt: u64, output: u64) -> Option<Decision> {
        let engine = &self.gateway.engine;
        let now = engine.now();
        let mut wire = self.wire(&hold.model);
        (wire.prompt_tokens, wire.completion_tokens) = (Some(prompt), Some(output));
        let mut record = self.record(wire, now).ok()?;
        record.cost_nanos = Some(self.dearest([&*hold.model], prompt, output));
        record.is_part = true;
        Some(engine.reserve(&record, HoldTerms { lease: None, dispatched: true }, now).await)
    }

    /// Ends what is held beyond the first reservation: given back where what was used is charged, else charged when
    /// the lease ends, as nobody knows what was used.
    pub(super) async fn end_parts(&self, parts: Vec<Part>, are_unknown: bool) {
        let engine = &self.gateway.engine;
        for part in parts.into_iter().filter(|_| !are_unknown) {
            let given =
                engine.reservations().change(&part.id, ReservationChange::GiveBack, engine.now()).await;
            if let Err(error) = given {
                tracing::warn!(%error, "a reservation could not be given back; it is charged at its end");
            }
        }
    }

    /// What the stream has cost so far: by what the provider said, else by the estimate of the prompt and a token for
    /// each event.
    fn cost_so_far(&self, hold: &Hold, meter: &Meter) -> Usd {
        let output = Some(meter.usage.output.unwrap_or(0).max(meter.events));
        let input = meter.usage.input.or(Some(hold.prompt.likely));
        let used = Usage { input, output, ..meter.usage };
        let mut wire = self.wire(&hold.model);
        put(&mut wire, used);
        let now = self.gateway.engine.now();
        let record = self.record(wire, now).ok();
        Usd(record.map_or(0, |record| record.cost().nanos))
    }

    /// Puts the cost so far behind whole events, at most once a second, for a client that asked for it. `shown` is when
    /// it was shown last.
    pub(super) fn with_cost(&self, bytes: Bytes, shown: &mut Instant, hold: &Hold, meter: &Meter) -> Bytes {
        let is_due = self.shows_cost && !bytes.is_empty() && shown.elapsed() >= SHOWN_EVERY;
        if !is_due || meter.has_ended || !meter.is_between_events() {
            return bytes;
        }
        let cost = self.cost_so_far(hold, meter);
        *shown = clock::instant();
        let mut all = BytesMut::from(&bytes[..]);
        all.extend_from_slice(comment(&cost.to_string()).as_bytes());
        all.freeze()
    }
}

/// A comment of server-sent events with a cost in US dollars, which clients pass over.
pub(super) fn comment(cost: &str) -> String {
    format!(": keyward cost_usd={cost}\n\n")
}
