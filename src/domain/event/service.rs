//! What is told of Keyward's own trouble, and of what its sinks did.

use serde::{Deserialize, Serialize};

use super::{evidence::Details, kind::EventType, rfc3339_millis};
use crate::domain::Millis;

/// Events were lost before they could be kept, or were deleted before a sink had taken them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EventGap {
    /// How many events were lost; absent where a sink missed them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_events: Option<u64>,
    /// The sink that missed them; absent where they are in no log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// What happened, in a sentence; absent where no sink is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

impl Details for EventGap {
    const TYPES: &'static [EventType] = &[EventType::EventGap];
}

/// The store does not answer; each instance decides by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreDegraded {
    /// Why the store is given up for now.
    pub error: String,
}

impl Details for StoreDegraded {
    const TYPES: &'static [EventType] = &[EventType::StoreDegraded];
}

/// The store answers again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreRecovered {
    /// Since when it did not answer.
    #[serde(with = "rfc3339_millis")]
    pub since: Millis,
    /// For how long that was, in whole seconds.
    pub seconds: i64,
    /// Of how many subjects there was usage to add to it.
    #[serde(default)]
    pub subjects_reconciled: usize,
}

impl Details for StoreRecovered {
    const TYPES: &'static [EventType] = &[EventType::StoreRecovered];
}

/// A provider refuses the key that the gateway sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderCredentialRefused {
    /// What happened, in a sentence.
    pub summary: String,
    /// The upstream, by its name in the settings.
    pub upstream: String,
    /// The status that it answered: 401 or 403.
    pub status: u16,
}

impl Details for ProviderCredentialRefused {
    const TYPES: &'static [EventType] = &[EventType::ProviderCredentialRefused];
}

/// What came of the call of an emergency hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookOutcome {
    /// The other side took the request.
    Taken,
    /// Nobody was called: the ban had been lifted.
    Withdrawn,
    /// The call failed.
    Failed,
}

/// An emergency hook was called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmergencyHookCalled {
    /// What happened, in a sentence.
    pub summary: String,
    /// What came of it.
    pub outcome: HookOutcome,
    /// What the other side is to do with the key: `disable` or `rotate`.
    pub request: String,
    /// The name of the sink.
    pub sink: String,
    /// The id of the event that it was called for.
    pub event: String,
    /// The type of that event.
    pub cause: EventType,
    /// The rule of notices that both events belong to.
    pub rule: String,
    /// The key that the hook gave back, in the place of the old one; `summary` says what of project, plan and past it
    /// has. Absent where it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_key_id: Option<String>,
}

impl Details for EmergencyHookCalled {
    const TYPES: &'static [EventType] = &[EventType::EmergencyHook];
}
