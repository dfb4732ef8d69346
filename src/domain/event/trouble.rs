//! What is told of the surroundings of the service: a clock that jumps, data that is gone, a background that fails,
//! answers that were given without the store, and settings that were read again.

use serde::{Deserialize, Serialize};

use super::{evidence::Details, kind::EventType, rfc3339_millis};
use crate::domain::Millis;

/// Whose clock it is that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// That of Redis, which all instances follow.
    Store,
    /// That of this machine, where the store has none of its own.
    Machine,
}

/// How far a jump has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JumpStage {
    /// It was seen and is not followed: it may be over in a moment.
    Held,
    /// It is over, and nothing was decided by it.
    Over,
    /// It has lasted, and decisions follow it from now on.
    Followed,
}

/// A clock jumped by 5 s or more: it is held, followed, or back where it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClockJumped {
    /// What happened, in a sentence.
    pub summary: String,
    /// Whose clock it is.
    pub clock: ClockSource,
    /// By how much, in milliseconds; less than 0: backwards.
    pub jump_ms: i64,
    /// What was made of it.
    pub stage: JumpStage,
}

impl Details for ClockJumped {
    const TYPES: &'static [EventType] = &[EventType::ClockJumped];
}

/// What the store must hold is not there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataMissing {
    /// What is missing, in a sentence.
    pub summary: String,
    /// Bans in force that were known and are not in the database; absent where the whole database is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_bans: Option<u64>,
}

impl Details for DataMissing {
    const TYPES: &'static [EventType] = &[EventType::DataMissing];
}

/// More of the answers of a minute were given without the store than is usual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswersDegraded {
    /// What happened, in a sentence.
    pub summary: String,
    /// How many answers of the minute were degraded.
    pub degraded: u64,
    /// How many answers the minute had.
    pub answers: u64,
}

impl Details for AnswersDegraded {
    const TYPES: &'static [EventType] = &[EventType::AnswersDegraded];
}

/// Work beside the decisions does not get done, while the store answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpkeepFailed {
    /// What does not get done, in a sentence.
    pub summary: String,
    /// Why it does not.
    pub error: String,
    /// Since when it does not.
    #[serde(with = "rfc3339_millis")]
    pub since: Millis,
}

impl Details for UpkeepFailed {
    const TYPES: &'static [EventType] = &[EventType::UpkeepFailed];
}

/// Settings were read again and are in force, but for those that want a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsReloaded {
    /// What came of it, in a sentence.
    pub summary: String,
    /// The settings that have changed and hold now, by their dotted names.
    pub changed: Vec<String>,
    /// The settings that have changed and hold from the next start on.
    pub wants_restart: Vec<String>,
}

impl Details for SettingsReloaded {
    const TYPES: &'static [EventType] = &[EventType::SettingsReloaded];
}

/// Settings were read again and are wrong: those before stay in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SettingsReloadFailed {
    /// What came of it, in a sentence.
    pub summary: String,
    /// Each mistake: its place, the setting, and what it must be.
    pub mistakes: Vec<String>,
}

impl Details for SettingsReloadFailed {
    const TYPES: &'static [EventType] = &[EventType::SettingsReloadFailed];
}
