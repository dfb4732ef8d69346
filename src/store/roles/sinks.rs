//! What is kept of a sink: how far it has come in the log, who sends for it, and what it would not take.

use serde::{Deserialize, Serialize};

use super::LogPosition;
pub use crate::domain::event::DeadLetterAct;
use crate::{
    domain::{
        Millis,
        event::{Event, rfc3339_millis},
    },
    store::StoreResult,
};

/// Dead letters kept per sink. Beyond it nothing is parked: sending waits until somebody has looked at them.
pub const MAX_DEAD_LETTERS: usize = 10_000;

/// What an instance gets that sends for a sink from now on, until somebody else does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkLead {
    /// Counts who led the sink: what an earlier one writes is refused.
    pub epoch: u64,
    /// Behind the last event that is done with; `None` for a sink that is new.
    pub position: Option<LogPosition>,
    /// What the sender wants to know again, its own business.
    pub state: Vec<u8>,
    /// Whether dead letters wait to be sent again.
    pub again: bool,
}

/// How a sink is doing, as who sends for it says with each renewal of the lease: so every instance knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SinkHealth {
    /// When the oldest event that waits was made; `None`: none waits.
    pub waiting_since: Option<Millis>,
    /// Why it does not take events; `None` when it does.
    pub error: Option<String>,
    /// Since when, seen by who says so.
    pub failing_since: Option<Millis>,
    /// When it last took something from who says so.
    pub last_sent: Option<Millis>,
}

/// A sink has come further.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkStep {
    /// The name of the sink.
    pub sink: String,
    /// [`SinkLead::epoch`] of the one who says so.
    pub epoch: u64,
    /// Behind the last event that is done with.
    pub position: LogPosition,
    /// [`SinkLead::state`] from now on.
    pub state: Vec<u8>,
    /// Events that the sink would not take.
    pub parked: Vec<DeadLetter>,
    /// Event ids of dead letters that are done with.
    pub done: Vec<String>,
}

/// How a [`SinkStep`] went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// Everything of the step was written.
    Done,
    /// Somebody else leads the sink: nothing was written.
    NotLeading,
    /// The sink has too many dead letters for these: nothing was written.
    Full,
}

/// An event that a sink would not take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeadLetter {
    /// The name of the sink that would not take it.
    pub sink: String,
    /// The event, with its id.
    pub event: Event,
    /// Why, in the sink's words.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was put aside.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub parked_at: Millis,
    /// Whether it is to be sent again.
    #[serde(default)]
    pub again: bool,
}

/// What is known of a sink, whoever sends for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkRecord {
    /// The name of the sink.
    pub sink: String,
    /// The instance that sends for it, or did last; empty when it has left.
    pub owner: String,
    /// Until when it leads the sink, unless it renews that.
    pub until: Millis,
    /// Behind the last event that is done with.
    pub position: Option<LogPosition>,
    /// How many dead letters it has.
    pub dead_letters: usize,
    /// How it was doing last; `None`: nobody has said.
    pub health: Option<SinkHealth>,
}

impl SinkRecord {
    /// Who sends for it now.
    pub fn sender(&self, now: Millis) -> Option<&str> {
        Some(self.owner.as_str()).filter(|owner| self.until > now && !owner.is_empty())
    }
}

/// Keeps how far each sink has come, who sends for it, and its dead letters. Times are milliseconds since 1970, by the
/// caller's clock.
pub trait SinkStore: Send + Sync + 'static {
    /// Becomes the one that sends for a sink until `until`; `None` while somebody else is.
    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>>;

    /// Stays the one that sends for a sink until `until`, and says how it is doing. Returns whether dead letters wait
    /// to be sent again; `None` if somebody else leads it since.
    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>>;

    /// Lets a sink go, if `owner` leads it.
    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()>;

    /// Notes that a sink has come further, and what it would not take; all of it or nothing.
    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped>;

    /// What is known of a sink; `None` if nobody ever sent for it.
    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>>;

    /// Every dead letter of a sink, by event id, at most [`MAX_DEAD_LETTERS`].
    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>>;

    /// Marks dead letters to be sent again, or gives them up: those with these event ids; all, if none is given.
    /// Says how many.
    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize>;
}

/// Reads a [`SinkHealth`] as it is stored. One that a newer version wrote otherwise is one that nobody has said.
pub(in crate::store) fn health_from_text(text: &str) -> Option<SinkHealth> {
    serde_json::from_str(text).ok()
}

/// A position as it is stored: pairs such as `7-0`, with commas between them.
pub(in crate::store) fn position_to_text(position: &LogPosition) -> String {
    let pairs: Vec<String> = position.0.iter().map(|(a, b)| format!("{a}-{b}")).collect();
    pairs.join(",")
}

/// Reads what [`position_to_text`] wrote; `None` for any other text.
pub(in crate::store) fn position_from_text(text: &str) -> Option<LogPosition> {
    let pair = |pair: &str| {
        let (a, b) = pair.split_once('-')?;
        Some((a.parse().ok()?, b.parse().ok()?))
    };
    text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect::<Option<_>>().map(LogPosition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_were_written() {
        for position in
            [LogPosition(vec![]), LogPosition(vec![(0, 7)]), LogPosition(vec![(1, 2), (u64::MAX, 0)])]
        {
            assert_eq!(position_from_text(&position_to_text(&position)), Some(position));
        }
        assert_eq!(position_from_text("1-x"), None);
    }
}
