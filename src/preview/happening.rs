//! What an event tells of that two policies may answer otherwise.

use crate::domain::{
    Millis,
    event::{BanLifted, Event, EventType, StandingChanged, Verdict},
    finding::{AnomalyKind, Severity},
    stable_hash,
    subject::Subject,
};

/// Something that happened to a subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Happening {
    /// When it was, in milliseconds.
    pub at: Millis,
    /// The subject that it is about.
    pub subject: Subject,
    /// A digest of the id of the request; 0 where there was none.
    pub request: u64,
    /// How many equal events it stands for.
    pub count: u64,
    /// What it was, as far as policies differ about it.
    pub what: What,
}

/// What happened to a subject, as far as policies differ about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A detector found something, whatever was done about it.
    Found(AnomalyKind, Severity),
    /// A request was refused for a ban.
    Blocked,
    /// Somebody, or what a key spends, brought a ban that no ladder makes; until when, `None` for good.
    Banned(Option<Millis>),
    /// A person lifted a ban or throttle; whether as a mistake of the detector.
    Lifted { benign: bool },
}

impl Happening {
    /// What an event tells of; `None`: nothing that a policy has a say in.
    pub(super) fn of(event: &Event) -> Option<Self> {
        let what = match event.kind {
            EventType::Anomaly(kind) => What::Found(kind, event.severity),
            EventType::BannedRequestBlocked => What::Blocked,
            EventType::TemporaryBan | EventType::PermanentBan => {
                let ban = event.read::<StandingChanged>()?;
                // A ban that a finding led to follows from that finding.
                let by_ladder = ban.cause.is_some_and(|cause| matches!(cause.anomaly, EventType::Anomaly(_)));
                (!by_ladder).then_some(What::Banned(ban.hold.until))?
            }
            EventType::BanLifted => {
                let benign = event.read::<BanLifted>()?.verdict == Some(Verdict::Benign);
                What::Lifted { benign }
            }
            _ => return None,
        };
        Some(Self {
            at: event.time,
            subject: event.subject.clone()?,
            request: event.request_id.as_ref().map_or(0, |id| stable_hash(id.as_bytes())),
            count: event.count,
            what,
        })
    }

    /// Whether both are findings of one request about one subject: they are answered together.
    pub(super) fn is_found_with(&self, other: &Self) -> bool {
        let both = [self, other].iter().all(|one| matches!(one.what, What::Found(..)));
        both && self.request != 0
            && (self.request, self.at, &self.subject) == (other.request, other.at, &other.subject)
    }
}
