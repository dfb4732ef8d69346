//! Where a subject is on the ladder now, until when, and with how many strikes.

use serde::{Deserialize, Serialize};

use super::Millis;

/// Numbers of a packed standing.
pub const PACKED_NUMBERS: usize = 12;
/// Ten bits are kept for the number of bans that were only observed.
const MOST_UNENFORCED_BANS: u32 = 1023;

/// The rung of the ladder a subject stands on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StandingState {
    /// Nothing held against it.
    #[default]
    Clear,
    /// Limits at a share of themselves for a while.
    Throttled,
    /// Refused until a moment.
    TemporarilyBanned,
    /// Refused until a person lifts it.
    PermanentlyBanned,
}

/// Who put a subject where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A detector's finding, by the ladder.
    #[default]
    Detector,
    /// A person, over the API.
    Operator,
}

/// A subject's standing: fixed size, kept with its windows so that one trip reads both.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Goes up by one with each change; a change names the version it was made from.
    pub version: u64,
    /// The rung of the ladder that it is on.
    pub state: StandingState,
    /// Since when it stands there, in milliseconds.
    pub since: Millis,
    /// Until when; `None` for a permanent ban (and when clear).
    pub until: Option<Millis>,
    /// While throttled: the share of each limit that is left, in thousandths.
    pub share_permille: u16,
    /// Strikes as of `strikes_at`; they decay by half-life.
    pub strikes: f64,
    /// When `strikes` was last brought up to date.
    pub strikes_at: Millis,
    /// Temporary bans since `bans_since`.
    pub bans: u32,
    /// Start of the span in which `bans` are counted.
    pub bans_since: Millis,
    /// Until when findings of the detectors in `grace_detectors` are not acted on (an operator's unban).
    pub grace_until: Millis,
    /// Bit mask of detectors under grace, by their index in `AnomalyKind`.
    pub grace_detectors: u32,
    /// Who put it there.
    pub origin: Origin,
    /// Made while the policy only observed: it refuses and slows down in theory alone, now and after the policy
    /// enforces.
    pub unenforced: bool,
    /// Those of `strikes` that were only observed, decayed alike; in whole thousandths.
    pub unenforced_strikes: f64,
    /// Those of `bans` that were only observed; packed, at most 1,023.
    pub unenforced_bans: u32,
}

impl Standing {
    /// The rung in force at `now`: an expired throttle or ban no longer holds.
    pub fn state_at(&self, now: Millis) -> StandingState {
        match self.until {
            Some(until) if until <= now => StandingState::Clear,
            _ => self.state,
        }
    }

    /// Whether requests are refused at `now`.
    pub fn is_banned_at(&self, now: Millis) -> bool {
        self.state_at(now) >= StandingState::TemporarilyBanned
    }

    /// Thousandths of each limit that are left at `now`.
    pub fn share_at(&self, now: Millis) -> u16 {
        if self.state_at(now) == StandingState::Throttled { self.share_permille } else { 1000 }
    }

    /// The standing as it counts. While `observing` all of it does, in theory; else what was only observed does not: no
    /// throttle, ban, strike or count of bans of it.
    pub fn counting(&self, observing: bool) -> Self {
        if observing || !self.unenforced && self.unenforced_bans == 0 && self.unenforced_strikes == 0.0 {
            return *self;
        }
        let (state, until) =
            if self.unenforced { (StandingState::Clear, None) } else { (self.state, self.until) };
        Self {
            state,
            until,
            strikes: (self.strikes - self.unenforced_strikes).max(0.0),
            bans: self.bans.saturating_sub(self.unenforced_bans),
            unenforced: false,
            unenforced_strikes: 0.0,
            unenforced_bans: 0,
            ..*self
        }
    }

    /// Strikes at `now`, decayed with `half_life` (milliseconds).
    pub fn strikes_at(&self, now: Millis, half_life: Millis) -> f64 {
        let age = (now - self.strikes_at).max(0) as f64;
        self.strikes * (-age / half_life.max(1) as f64).exp2()
    }

    /// Packs into numbers, all exact in a double: version, state, since, until (-1: none), share, strikes,
    /// strikes_at, bans, bans_since, grace_until, grace_detectors, and in one the origin (bit 0), `unenforced` (bit 1),
    /// `unenforced_bans` (bits 2 to 11) and thousandths of `unenforced_strikes` (from bit 12, at most 2^32).
    pub fn pack(&self) -> [f64; PACKED_NUMBERS] {
        [
            self.version as f64,
            f64::from(self.state as u8),
            self.since as f64,
            self.until.unwrap_or(-1) as f64,
            f64::from(self.share_permille),
            self.strikes,
            self.strikes_at as f64,
            f64::from(self.bans),
            self.bans_since as f64,
            self.grace_until as f64,
            f64::from(self.grace_detectors),
            self.marks() as f64,
        ]
    }

    fn marks(&self) -> u64 {
        let strikes = ((self.unenforced_strikes * 1000.0).round() as u64).min(u64::from(u32::MAX));
        let bans = u64::from(self.unenforced_bans.min(MOST_UNENFORCED_BANS));
        self.origin as u64 | u64::from(self.unenforced) << 1 | bans << 2 | strikes << 12
    }

    /// Reads what [`Standing::pack`] wrote.
    pub fn unpack(numbers: &[f64; PACKED_NUMBERS]) -> Self {
        let marks = numbers[11] as u64;
        Self {
            version: numbers[0] as u64,
            state: match numbers[1] as u8 {
                0 => StandingState::Clear,
                1 => StandingState::Throttled,
                2 => StandingState::TemporarilyBanned,
                _ => StandingState::PermanentlyBanned,
            },
            since: numbers[2] as Millis,
            until: (numbers[3] >= 0.0).then_some(numbers[3] as Millis),
            share_permille: numbers[4] as u16,
            strikes: numbers[5],
            strikes_at: numbers[6] as Millis,
            bans: numbers[7] as u32,
            bans_since: numbers[8] as Millis,
            grace_until: numbers[9] as Millis,
            grace_detectors: numbers[10] as u32,
            origin: if marks & 1 == 0 { Origin::Detector } else { Origin::Operator },
            unenforced: marks & 2 != 0,
            unenforced_strikes: (marks >> 12) as f64 / 1000.0,
            unenforced_bans: (marks >> 2) as u32 & MOST_UNENFORCED_BANS,
        }
    }
}

/// What a person wants to know of a standing beside its numbers; kept apart, off the hot path.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StandingDetail {
    /// Why, in a sentence or as the operator wrote it.
    pub reason: String,
    /// The detector that led to it, when one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    /// The finding's evidence; null when an operator acted.
    #[serde(default)]
    pub evidence: serde_json::Value,
    /// The request that led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_loses_nothing() {
        let standing = Standing {
            version: 7,
            state: StandingState::TemporarilyBanned,
            since: 1_700_000_000_000,
            until: Some(1_700_001_800_000),
            share_permille: 250,
            strikes: 1.5,
            strikes_at: 1_700_000_000_001,
            bans: 2,
            bans_since: 3,
            grace_until: 4,
            grace_detectors: 0b101,
            origin: Origin::Operator,
            unenforced: true,
            unenforced_strikes: 1.234,
            unenforced_bans: 1,
        };
        assert_eq!(Standing::unpack(&standing.pack()), standing);
        let enforced =
            Standing { unenforced: false, unenforced_strikes: 0.0, unenforced_bans: 0, ..standing };
        assert_eq!(Standing::unpack(&enforced.pack()), enforced);
        assert_eq!(Standing::unpack(&Standing::default().pack()), Standing::default());
    }

    #[test]
    fn a_ban_ends_on_time_and_a_permanent_one_does_not() {
        let temporary =
            Standing { state: StandingState::TemporarilyBanned, until: Some(100), ..Standing::default() };
        assert!(temporary.is_banned_at(99));
        assert!(!temporary.is_banned_at(100));
        let permanent = Standing { state: StandingState::PermanentlyBanned, ..Standing::default() };
        assert!(permanent.is_banned_at(Millis::MAX));
    }

    #[test]
    fn strikes_halve_with_each_half_life() {
        let standing = Standing { strikes: 4.0, strikes_at: 1_000, ..Standing::default() };
        assert!((standing.strikes_at(1_000 + 2 * 500, 500) - 1.0).abs() < 1e-9);
        assert!((standing.strikes_at(0, 500) - 4.0).abs() < 1e-9);
    }
}
