//! Before a request leaves: what it may use is estimated, and held in every limit that applies.

use std::{sync::Arc, time::Duration};

use super::{
    super::{
        dialect::failure::{Failure, Kind},
        estimate::Estimated,
        route::Candidate,
        settings::Dialect,
    },
    call::Call,
    lease::{Lease, Part},
};
use crate::domain::{
    decision::{Decision, Reason},
    price::{Quantities, ServiceTier, Tokens},
    record::Record,
    reservation::{HoldTerms, ReservationChange, ReservationId},
};

/// What is held for a request.
pub(super) struct Hold {
    /// The model that it is held for.
    pub model: Arc<str>,
    /// The record of the estimate: by it the request is stopped, should its key be banned meanwhile.
    pub record: Record,
    /// The decision that admitted it.
    pub decision: Decision,
    /// How many tokens its prompt has.
    pub prompt: Estimated,
    /// Tokens of the answer that are held.
    pub output: u64,
    /// Most tokens that are asked for at once when a stream outgrows that: less, once so many were refused.
    pub step: u64,
    lease: Option<Lease>,
    /// What is held beyond that for a stream that has outgrown it.
    pub parts: Vec<Part>,
}

/// Why nothing is held for a request.
pub(super) struct Refused {
    pub failure: Failure,
    /// How limits stand, where these were asked.
    pub decision: Option<Box<Decision>>,
}

impl Hold {
    /// The id of the reservation; none where the store did not answer.
    pub(super) fn reservation(&self) -> Option<&Arc<str>> {
        self.decision.reserved.as_ref().map(|reserved| &reserved.id)
    }

    /// Ends the lease's extension: from now on the reservation is settled, or ends by itself.
    pub(super) fn release(&mut self) {
        self.lease = None;
    }
}

impl Call {
    /// Candidates in which prompt and answer fit, as far as that is known.
    ///
    /// # Errors
    /// They fit in none.
    pub(super) fn fitting(&self, chain: Vec<Candidate>) -> Result<Vec<Candidate>, Failure> {
        // Each of several answers has the window for itself.
        let needed = |model: &Arc<str>| self.prompt(model).likely.saturating_add(self.asked.cap.unwrap_or(0));
        let window = |model: &str| self.gateway.routes.room(model).context_window.unwrap_or(u64::MAX);
        let fits = |candidate: &Candidate| needed(&candidate.model) <= window(&candidate.model);
        let fitting: Vec<Candidate> = chain.iter().filter(|candidate| fits(candidate)).cloned().collect();
        let largest = chain.iter().map(|candidate| (window(&candidate.model), &candidate.model)).max();
        match largest {
            Some((window, model)) if fitting.is_empty() => {
                let words = too_long(self.surface.dialect, needed(model), window);
                Err(Failure::new(Kind::ContextLength, words))
            }
            _ => Ok(fitting),
        }
    }

    /// Holds what the request may use of the model of `first`, at the dearest price of the whole chain; nothing of what
    /// `is_free`.
    ///
    /// # Errors
    /// Why nothing is held: a ban, a limit or the registry refuses the request, or it has more tokens than records can
    /// hold.
    pub(super) async fn admit(
        &self,
        first: &Candidate,
        chain: &[Candidate],
        is_free: bool,
    ) -> Result<Hold, Refused> {
        let engine = &self.gateway.engine;
        let (prompt, output, now) = (self.prompt(&first.model), self.output(&first.model), engine.now());
        let is_billed = self.surface.billed && !is_free;
        let mut wire = self.wire(&first.model);
        if is_billed {
            (wire.prompt_tokens, wire.completion_tokens) = (Some(prompt.reserved), Some(output));
        }
        let unreadable = |_| Refused { failure: unreadable(), decision: None };
        let mut record = self.record(wire, now).map_err(unreadable)?;
        let decision = if is_billed {
            let models = chain.iter().map(|candidate| &*candidate.model);
            record.cost_nanos = Some(self.dearest(models, prompt.reserved, output));
            engine.reserve(&record, HoldTerms { lease: None, dispatched: true }, now).await
        } else {
            engine.check(&record, false, now).await
        };
        if !decision.allowed {
            return Err(Refused { failure: refusal(&decision), decision: Some(Box::new(decision)) });
        }
        let lease = decision.reserved.as_ref().and_then(|reserved| {
            let lease = Duration::from_secs(reserved.lease_seconds);
            Some(Lease::keep(engine.clone(), ReservationId::parse(&reserved.id)?, lease))
        });
        let parts = Vec::new();
        Ok(Hold {
            model: first.model.clone(),
            record,
            decision,
            prompt,
            output,
            step: u64::MAX,
            lease,
            parts,
        })
    }

    fn prompt(&self, model: &Arc<str>) -> Estimated {
        let window = self.gateway.routes.room(model).context_window;
        self.gateway.ratios.estimate(&self.key_id, model, &self.measured, window)
    }

    /// Most tokens that all answers together may have.
    fn output(&self, model: &str) -> u64 {
        let of_model = || self.gateway.routes.room(model).max_output_tokens;
        let of_one = self.asked.cap.or_else(of_model).unwrap_or(self.gateway.output_tokens);
        of_one.saturating_mul(self.asked.answers)
    }

    /// What the estimate costs at most, in nano-dollars: whatever part of the prompt is written to a cache, and of the
    /// answer is reasoning. OpenAI writes to caches unasked.
    pub(super) fn dearest<'m>(
        &self,
        models: impl IntoIterator<Item = &'m str>,
        input: u64,
        output: u64,
    ) -> u64 {
        let now = self.gateway.engine.now();
        let for_an_hour = self.measured.marks_caches;
        let is_written = for_an_hour || self.surface.dialect == Dialect::Openai;
        let of_prompt = [
            Tokens { input, ..Tokens::default() },
            Tokens { cache_write_5m: if is_written { input } else { 0 }, ..Tokens::default() },
            Tokens { cache_write_1h: if for_an_hour { input } else { 0 }, ..Tokens::default() },
        ];
        let tier = self.asked.priority.then_some(ServiceTier::Priority);
        let mut dearest = 0;
        for model in models {
            for prompt in of_prompt {
                let kinds = [Tokens { output, ..prompt }, Tokens { reasoning: output, ..prompt }];
                for tokens in kinds {
                    let used = Quantities { service_tier: tier, ..Quantities::from(tokens) };
                    let (cost, _) = self.gateway.intake.prices().cost(model, now, &used);
                    dearest = dearest.max(cost.nanos);
                }
            }
        }
        dearest
    }

    /// Gives back what is held: nobody bills it. What holds nothing is left.
    pub(super) async fn give_back(&self, hold: &mut Hold) {
        hold.release();
        let Some(reserved) = hold.decision.reserved.take() else { return };
        let Some(id) = ReservationId::parse(&reserved.id) else { return };
        let engine = &self.gateway.engine;
        let given = engine.reservations().change(&id, ReservationChange::GiveBack, engine.now()).await;
        if let Err(error) = given {
            tracing::warn!(%error, "a reservation could not be given back; it is charged at its end");
        }
    }
}

fn too_long(dialect: Dialect, needed: u64, window: u64) -> String {
    match dialect {
        Dialect::Openai => format!(
            "This model's maximum context length is {window} tokens. However, prompt and answer need about {needed} \
             tokens: shorten the prompt or lower the cap of the answer."
        ),
        Dialect::Anthropic => format!("prompt is too long: about {needed} tokens > {window} maximum"),
    }
}

fn unreadable() -> Failure {
    Failure::new(Kind::BadRequest, "The request has more tokens than any record holds.")
}

/// The refusal that a decision is.
pub(super) fn refusal(decision: &Decision) -> Failure {
    let retry_after = decision.retry_after_seconds();
    let failure = match decision.reason {
        Some(reason) => stopped(reason),
        None => Failure::new(Kind::Forbidden, "The request is refused."),
    };
    // What is more than a limit as a whole fits at no time.
    let may_retry = failure.may_retry && (failure.kind != Kind::RateLimited || retry_after.is_some());
    Failure { retry_after, may_retry, ..failure }
}

/// The refusal for a reason.
pub(super) fn stopped(reason: Reason) -> Failure {
    let (kind, words) = match reason {
        Reason::ApiKeyBanned => (Kind::Forbidden, "This API key is banned."),
        Reason::IpBanned => (Kind::Forbidden, "Requests from this address are banned."),
        Reason::ProjectBanned => (Kind::Forbidden, "The project of this API key is banned."),
        Reason::CriticalAnomalyDetected => {
            (Kind::Forbidden, "What this API key does is refused as an anomaly.")
        }
        Reason::KeyNotAllowed => {
            (Kind::Forbidden, "This API key may not be used for this model, from here, or any more.")
        }
        Reason::UnknownKey => (Kind::Unauthorized, "This API key is not known."),
        Reason::RateLimitExceeded => {
            (Kind::RateLimited, "A rate limit of this API key or its project is reached.")
        }
        Reason::BudgetExceeded => {
            (Kind::BudgetExceeded, "A budget of this API key or its project is used up.")
        }
        Reason::StoreUnavailable => {
            (Kind::Overloaded, "Limits cannot be checked now, and the policy refuses then.")
        }
    };
    let may_retry = matches!(kind, Kind::RateLimited | Kind::Overloaded);
    Failure { reason: Some(reason.name()), may_retry, ..Failure::new(kind, words) }
}
