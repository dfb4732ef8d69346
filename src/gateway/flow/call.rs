//! One request on its way: what is known of it, and the record that is made of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use axum::http::HeaderMap;
use bytes::Bytes;

use super::{
    super::{
        dialect::{request::Asked, surface::Surface},
        measure::Measured,
    },
    cache::{self, Place},
    door::Caller,
    gateway::Gateway,
};
use crate::{
    clock::Instant,
    domain::{Millis, record::Record, subject::Subject},
    intake::{InputError, WireRecord},
};

/// A request on its way.
pub(super) struct Call {
    pub gateway: Arc<Gateway>,
    pub surface: &'static Surface,
    /// What it asks for.
    pub asked: Asked,
    /// The model that is meant: an alias and the default are resolved.
    pub model: Arc<str>,
    /// What goes to the provider, with the memory that it takes; empty once nobody is asked any more.
    pub body: Bytes,
    /// What was measured of the body.
    pub measured: Measured,
    /// The headers that go on to the provider.
    pub headers: HeaderMap,
    /// The parameters that go on to the provider.
    pub query: Option<String>,
    pub caller: Caller,
    /// The public id of its key.
    pub key_id: Arc<str>,
    /// The project that its key is registered to.
    pub project: Option<Subject>,
    pub request_id: Arc<str>,
    pub started: Instant,
    /// Whether the attempt that is made has left: from then on it may be billed.
    pub is_sent: Arc<AtomicBool>,
    /// What earlier attempts are charged, in nano-dollars.
    pub billed: AtomicU64,
    /// Whether its client wants no answer that is kept.
    pub wants_fresh: bool,
    /// Where its answer is kept, if it is.
    pub place: Option<Place>,
    /// Whether its client asked for the cost within the stream.
    pub shows_cost: bool,
}

impl Call {
    /// What a record of it says, whatever it used.
    pub(super) fn wire(&self, model: &str) -> WireRecord {
        let mut wire = wire(self.surface.endpoint, &self.caller);
        wire.request_id = Some(self.request_id.to_string());
        wire.model = Some(model.to_owned());
        wire.user.clone_from(&self.asked.user);
        wire
    }

    /// The record of it.
    pub(super) fn record(&self, wire: WireRecord, now: Millis) -> Result<Record, InputError> {
        let mut record = take(&self.gateway, wire, now)?;
        record.project.clone_from(&self.project);
        Ok(record)
    }
}

impl Call {
    /// Where an answer to it is kept; none where its project does not ask for that, its client wants a fresh one, or it
    /// has no whole answer.
    pub(super) fn place_of_answer(&self) -> Option<Place> {
        let project = self.project.as_ref().map(|project| project.id())?;
        // A conversation that the provider keeps goes on with each answer.
        let is_stateful = [&b"\"conversation\""[..], b"\"previous_response_id\""]
            .iter()
            .any(|name| self.body.windows(name.len()).any(|part| part == *name));
        let may_be_kept = self.surface.billed && !self.asked.stream && !self.wants_fresh && !is_stateful;
        if !may_be_kept || !self.gateway.cache.is_for(project) {
            return None;
        }
        let query = self.query.as_deref().unwrap_or_default();
        let parts = [project, self.surface.endpoint, &*self.model, query].map(str::as_bytes);
        Some(cache::place(parts.into_iter().chain([&self.body[..]]), &self.headers))
    }
}

/// What a record says of a caller, of whose request nothing else is known.
pub(super) fn wire(endpoint: &str, caller: &Caller) -> WireRecord {
    let mut wire = WireRecord::new(endpoint.to_owned(), caller.address.to_string());
    wire.api_key = Some(caller.secret.to_string());
    wire.user_agent.clone_from(&caller.user_agent);
    wire
}

/// Makes a record. Its id was made here: nobody sends it again, so nothing is kept for a retry.
pub(super) fn take(gateway: &Gateway, wire: WireRecord, now: Millis) -> Result<Record, InputError> {
    let mut record = gateway.intake.record(wire, now)?;
    record.request_id_given = false;
    Ok(record)
}
