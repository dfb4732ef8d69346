//! How the engine words its events about its own surroundings: the clock, the data, the background, its answers.

use crate::domain::{
    Millis,
    event::{
        AnswersDegraded, ClockJumped, ClockSource, DataMissing, Event, EventType, JumpStage,
        SettingsReloadFailed, SettingsReloaded, UpkeepFailed,
    },
    finding::Severity,
};

/// The clock that is followed jumped by so many ms, and what was made of it.
pub(super) fn clock_jumped(clock: ClockSource, jump_ms: Millis, stage: JumpStage, now: Millis) -> Event {
    let whose = match clock {
        ClockSource::Store => "The clock of the store",
        ClockSource::Machine => "The clock of this machine",
    };
    let (way, by) = (if jump_ms < 0 { "back" } else { "forward" }, jump_ms.abs() / 1000);
    let summary = match stage {
        JumpStage::Held => {
            format!("{whose} jumped {way} by {by} s; decisions do not follow it unless it lasts.")
        }
        JumpStage::Over => {
            format!("{whose} had jumped {way} by {by} s and is right again; nothing was decided by it.")
        }
        JumpStage::Followed => format!("{whose} jumped {way} by {by} s; decisions follow it from now on."),
    };
    let severity = if stage == JumpStage::Over { Severity::Medium } else { Severity::High };
    of_service(now, EventType::ClockJumped, severity).with(&ClockJumped { summary, clock, jump_ms, stage })
}

/// What the store must hold is not there: so many bans, or all of it.
pub(super) fn data_missing(summary: String, missing_bans: Option<u64>, now: Millis) -> Event {
    of_service(now, EventType::DataMissing, Severity::Critical).with(&DataMissing { summary, missing_bans })
}

/// So many of a minute's answers were degraded while the store answered.
pub(super) fn answers_degraded(degraded: u64, answers: u64, now: Millis) -> Event {
    let summary = format!("{degraded} of {answers} answers within a minute were given without the store.");
    of_service(now, EventType::AnswersDegraded, Severity::High).with(&AnswersDegraded {
        summary,
        degraded,
        answers,
    })
}

/// Work beside the decisions does not get done.
pub(super) fn upkeep_failed(error: String, since: Millis, now: Millis) -> Event {
    let summary = "Work beside the decisions does not get done, although the store answers.".to_owned();
    of_service(now, EventType::UpkeepFailed, Severity::High).with(&UpkeepFailed { summary, error, since })
}

/// Settings were read again: those that have changed, and those of them that hold from the next start only.
pub(super) fn settings_reloaded(changed: Vec<String>, wants_restart: Vec<String>, now: Millis) -> Event {
    let mut summary = match changed.len() {
        0 => "No setting that holds without a restart has changed.".to_owned(),
        1 => "1 setting has changed and is in force.".to_owned(),
        many => format!("{many} settings have changed and are in force."),
    };
    if !wants_restart.is_empty() {
        summary = format!("{summary} A restart is wanted for {}.", wants_restart.join(", "));
    }
    of_service(now, EventType::SettingsReloaded, Severity::Medium).with(&SettingsReloaded {
        summary,
        changed,
        wants_restart,
    })
}

/// Settings were read again and are wrong.
pub(super) fn reload_failed(mistakes: Vec<String>, now: Millis) -> Event {
    let summary = "The settings are wrong; those before stay in force.".to_owned();
    of_service(now, EventType::SettingsReloadFailed, Severity::High)
        .with(&SettingsReloadFailed { summary, mistakes })
}

fn of_service(now: Millis, kind: EventType, severity: Severity) -> Event {
    Event { detector: Some("service".to_owned()), ..Event::new(now, kind, severity, None) }
}
