//! The figures of a replay: what its text and its HTML file are both made of.

use std::fmt;

use crate::domain::{Millis, event::format_millis};

/// Rows of the table of subjects; how many more there are is counted.
pub(super) const SUBJECTS: usize = 50;
/// Those who would have been banned that the text names; how many more there are is counted.
const BANNED: usize = 20;

/// What a replay came to, in figures.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// How many records were decided about.
    pub records: u64,
    /// Lines that are no records.
    pub bad_lines: u64,
    /// What is wrong with the first of these.
    pub first_bad: Option<String>,
    /// The times of the first and the last record.
    pub span: Option<(Millis, Millis)>,
    /// Whether some of it was only observed.
    pub observed: bool,
    /// Keys that the records are of.
    pub keys: usize,
    /// Days on which a key was in use, over all keys.
    pub key_days: u64,
    /// Requests that were refused, or would have been.
    pub refused: u64,
    /// The keys that these are of.
    pub keys_refused: usize,
    /// Requests that were admitted while throttled, or would have been.
    pub throttled: u64,
    /// The keys that these are of.
    pub keys_throttled: usize,
    /// Keys that would have been banned.
    pub keys_banned: usize,
    /// Addresses that would have been banned.
    pub addresses_banned: usize,
    /// High or critical findings, once per key, type and hour.
    pub serious: u64,
    /// Requests refused, by the reason.
    pub reasons: Vec<(&'static str, u64)>,
    /// A row for each detector that found anything, by name.
    pub detectors: Vec<DetectorRow>,
    /// A row for each day of UTC with a record, the first day first.
    pub days: Vec<DayRow>,
    /// Keys and addresses that something was done about: who was banned first, then who was refused most.
    pub subjects: Vec<SubjectRow>,
    /// How many more of them there are.
    pub more_subjects: usize,
}

/// What one detector found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetectorRow {
    /// The anomaly type that it finds.
    pub name: &'static str,
    /// Its findings, of any severity.
    pub findings: u64,
    /// Those that are high or critical.
    pub serious: u64,
    /// Keys that it found anything about.
    pub keys: u64,
    /// Those of them that it would have banned, by themselves or by their address.
    pub banned: u64,
}

/// What one day held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DayRow {
    /// Midnight of UTC at which it begins.
    pub day: Millis,
    /// Requests that were decided about.
    pub requests: u64,
    /// Those of them that were refused, or would have been.
    pub refused: u64,
    /// Those that were admitted while throttled, or would have been.
    pub throttled: u64,
    /// Bans that began on this day.
    pub bans: u64,
}

/// What was done about one key or address, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectRow {
    /// Whom it is about.
    pub subject: String,
    /// Requests that were decided about; of an address those since its first ban.
    pub requests: u64,
    /// Those of them that were refused.
    pub refused: u64,
    /// Those that were admitted while throttled.
    pub throttled: u64,
    /// How often it was banned.
    pub bans: u64,
    /// When the first of its bans began.
    pub first_ban: Option<Millis>,
    /// Which findings banned it.
    pub detectors: Vec<&'static str>,
    /// Requests refused, by the reason.
    pub reasons: Vec<(&'static str, u64)>,
}

impl Figures {
    /// High or critical findings per key and day on which it was in use.
    pub fn findings_per_key_day(&self) -> f64 {
        self.serious as f64 / self.key_days.max(1) as f64
    }

    /// `refused`, or `would have been refused` where some of it was only observed.
    pub fn word_refused(&self) -> &'static str {
        if self.observed { "would have been refused" } else { "refused" }
    }

    /// `admitted`, or `would have been admitted` where some of it was only observed.
    pub fn word_admitted(&self) -> &'static str {
        if self.observed { "would have been admitted" } else { "admitted" }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, keys, key_days) = (self.records, self.keys, self.key_days);
        writeln!(
            f,
            "{records} records of {keys} keys over {key_days} key-days; {} bad lines",
            self.bad_lines
        )?;
        if let Some(bad) = &self.first_bad {
            writeln!(f, "  the first bad one: {bad}")?;
        }
        if let Some((first, last)) = self.span {
            writeln!(f, "from {} to {}", format_millis(first), format_millis(last))?;
        }
        let (refused, admitted) = (self.word_refused(), self.word_admitted());
        writeln!(
            f,
            "{} requests {refused}, of {} keys; {} keys and {} addresses would have been banned",
            self.refused, self.keys_refused, self.keys_banned, self.addresses_banned,
        )?;
        self.write_banned(f)?;
        writeln!(
            f,
            "{} requests {admitted} while throttled, of {} keys",
            self.throttled, self.keys_throttled
        )?;
        let per_key_day = self.findings_per_key_day();
        writeln!(f, "{per_key_day:.4} high or critical findings per key-day (once per key, type and hour)")?;
        for (reason, count) in &self.reasons {
            writeln!(f, "  {refused} for {reason}: {count}")?;
        }
        self.write_detectors(f)
    }
}

impl Figures {
    /// Who would have been banned, when first, and for what.
    fn write_banned(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut named = 0;
        for row in self.subjects.iter().filter(|row| row.bans > 0).take(BANNED) {
            named += 1;
            let at = row.first_ban.map(format_millis).unwrap_or_default();
            let times = if row.bans > 1 { format!(", {} times", row.bans) } else { String::new() };
            writeln!(f, "  {} at {at}{times}: {}", row.subject, row.detectors.join(", "))?;
        }
        match (self.keys_banned + self.addresses_banned).saturating_sub(named) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }

    fn write_detectors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.detectors.is_empty() {
            let [findings, serious, keys, banned] = ["findings", "high/critical", "keys", "banned"];
            writeln!(f, "{:<24}{findings:>10}{serious:>16}{keys:>8}{banned:>8}", "detector")?;
        }
        for row in &self.detectors {
            let DetectorRow { name, findings, serious, keys, banned } = row;
            writeln!(f, "{name:<24}{findings:>10}{serious:>16}{keys:>8}{banned:>8}")?;
        }
        Ok(())
    }
}
