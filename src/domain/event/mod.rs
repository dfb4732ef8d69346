//! Entries of the security-event log.
//!
//! What an event says beside whom and when is its evidence: one struct for each type of event, in the file of those who
//! write it. On the wire and in stores it is a JSON object. Only this room knows its members by name.
//! - `entry`: the event itself.
//! - `request`: of one request: refusals, and what was noticed.
//! - `standing`: bans and throttles, and their end.
//! - `people`: what people did.
//! - `spending`: limits as they are used up, alert rules, unusual days.
//! - `service`: Keyward's own trouble, and what its sinks did.
//! - `trouble`: its surroundings: clock, data, background, answers without the store.
//! - `finding`: what all evidence of findings has.
//! - `tally`: how many there were, by the hour.

mod amount;
mod call;
mod entry;
mod evidence;
mod finding;
#[cfg(test)]
pub(crate) mod golden;
mod kind;
mod people;
mod request;
pub mod rfc3339_millis;
mod service;
mod spending;
mod standing;
mod tally;
mod trouble;

pub use self::{
    amount::EvidenceAmount,
    call::Call,
    entry::Event,
    evidence::{Details, EventEvidence, wire_name},
    finding::{FindingEvidence, RequestFeatures},
    kind::EventType,
    people::{
        DeadLetterAct, DeadLettersChanged, FeedbackGiven, PolicyChanged, SinkTest, SubjectForgotten, Verdict,
    },
    request::{BannedRequestBlocked, HighSeverityAnomaly, KeyNotAllowed, ProjectMismatch, RateLimitExceeded},
    service::{
        EmergencyHookCalled, EventGap, HookOutcome, ProviderCredentialRefused, StoreDegraded, StoreRecovered,
    },
    spending::{
        AlertRuleFired, BudgetUsed, KeyCutOff, LimitUsed, SpendAnomaly, SpendCheck, SpendSign, UsageMismatch,
    },
    standing::{BanExpired, BanLifted, Cause, Hold, KeySpared, StandingChanged},
    tally::{EventTally, TallyBucket, TallyBy},
    trouble::{AnswersDegraded, ClockJumped, ClockSource, DataMissing, JumpStage, UpkeepFailed},
};
pub use super::calendar::{format_millis, parse_millis, to_minute};
