//! What the registry says about a request before the store is asked: its project, the limits that apply, a refusal.

use std::borrow::Cow;

use super::{decider::Decider, frame::Frame, stages::Purpose};
use crate::{
    domain::{
        Millis,
        decision::{Decision, Reason},
        record::Record,
        registry::{NotAllowed, Terms},
    },
    engine::policy::ActivePolicy,
};

impl Decider {
    /// What the registry says about each record, and the records as it sees them: with the project that their key is
    /// registered to. Nothing is copied, and no terms are made, where it says nothing.
    pub(in crate::engine) fn terms<'r>(
        &self,
        records: &'r [Record],
        active: &ActivePolicy,
        now: Millis,
    ) -> (Cow<'r, [Record]>, Vec<Terms>) {
        let mut placed = Cow::Borrowed(records);
        if active.registry.is_idle() {
            return (placed, Vec::new());
        }
        let mut all = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            let terms = self.terms_of(record, active, now);
            if terms.mismatch {
                let place = self.geo.lookup(record.source_ip);
                let frame = Frame::new(record, place.as_deref(), active, Purpose::Record, now);
                self.shared.outbox.tell(|| frame.mismatch(terms.project.as_ref()));
            }
            let moves = terms.project.is_some() && terms.project != record.project;
            if moves && let Some(record) = placed.to_mut().get_mut(index) {
                record.project.clone_from(&terms.project);
            }
            all.push(terms);
        }
        (placed, all)
    }

    /// What the registry says about one record.
    pub(super) fn terms_of(&self, record: &Record, active: &ActivePolicy, now: Millis) -> Terms {
        active.registry.terms(record, || self.geo.place_core(record.source_ip).country, now)
    }

    /// The decision about a request that its key may not make. It teaches nothing; a report of one is counted apart.
    pub(super) fn refuse_by_registry(
        &self,
        record: &Record,
        refusal: NotAllowed,
        active: &ActivePolicy,
        now: Millis,
        purpose: Purpose,
    ) -> Decision {
        let place = self.geo.lookup(record.source_ip);
        let frame = Frame::new(record, place.as_deref(), active, purpose, now);
        self.shared.outbox.tell(|| frame.not_allowed(refusal));
        let reason = match refusal {
            NotAllowed::UnknownKey => Reason::UnknownKey,
            _ => Reason::KeyNotAllowed,
        };
        Decision { allowed: false, reason: Some(reason), ..self.plain_decision(record, active, now) }
    }
}
