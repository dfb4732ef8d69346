//! Recorded traffic through the production engine, on event time, in memory: what would have been decided.
//!
//! Records are decided in the order of the input; each one's own `timestamp` is the time of its decision (without
//! one: the time of the line before). Nothing is written but the decisions.

mod seek;

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead, Write},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

pub use seek::{Missed, Sought, Wanted};

use crate::{
    answer::Answer,
    config::{Config, IdempotencyScope},
    domain::{
        DAY, HOUR, Millis,
        decision::{Action, Decision},
        finding::Severity,
        record::Record,
    },
    engine::{Engine, EngineOptions},
    geo::Geo,
    intake::{InputError, Intake, Peppers, WireRecord, parse},
    store::{
        StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

/// Why a replay could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The in-memory store could not be made.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// A line that is no record.
#[derive(Debug, Serialize)]
pub struct BadLine<'a> {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub error: String,
    /// The fields that are wrong.
    pub errors: &'a [crate::intake::FieldError],
}

/// The production engine over an in-memory store.
pub struct Replay {
    engine: Arc<Engine>,
    intake: Intake,
    now: Millis,
}

impl Replay {
    /// An engine with the policy of `config`.
    ///
    /// # Errors
    /// When the in-memory store cannot be made.
    pub async fn new(config: &Config, geo: Arc<Geo>, peppers: Peppers) -> Result<Self, ReplayError> {
        let capacity = config.cardinality.max_tracked_keys;
        let options =
            EmbeddedOptions { max_subjects: capacity, max_profiles: 1, ..EmbeddedOptions::default() };
        let store = Arc::new(EmbeddedStore::in_memory(options)?);
        let options = EngineOptions {
            deadline: Duration::from_secs(3600),
            idempotency_capacity: config.idempotency.capacity,
            idempotency_scope: IdempotencyScope::Instance,
            profile_capacity: capacity,
            newcomers: config.cardinality.new_subjects_per_minute,
            newcomers_per_address: config.cardinality.new_subjects_per_minute_per_address,
            fold_seconds: config.events.fold_seconds,
            event_buffer: 0,
            flushes: false,
        };
        let engine = Engine::start(store, geo, config.policy.clone(), options).await?;
        Ok(Self { engine, intake: Intake::replay(peppers), now: 0 })
    }

    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&mut self, line: &[u8]) -> Result<Record, InputError> {
        let record = self.intake.record(parse::<WireRecord>(line)?, self.now)?;
        self.now = record.timestamp.unwrap_or(self.now);
        Ok(record)
    }

    /// Decides about one record at its own time.
    pub async fn decide(&self, record: &Record) -> Option<Decision> {
        self.engine.record(std::slice::from_ref(record), self.now).await.pop()
    }

    /// The engine, to look at what it knows.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Replays JSON lines: one line out for each line in, in order. `progress` is told the bytes of
    /// each line read.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub async fn run(
        &mut self,
        mut input: impl BufRead,
        mut output: impl Write,
        mut progress: impl FnMut(u64),
    ) -> Result<Summary, ReplayError> {
        let mut summary = Summary::default();
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line)? > 0 {
            progress(line.len() as u64);
            summary.lines += 1;
            let text = line.trim_ascii();
            if !text.is_empty() {
                match self.read(text) {
                    Ok(record) => {
                        let decision = self.decide(&record).await;
                        if let Some(decision) = decision {
                            serde_json::to_writer(&mut output, &Answer::from(&decision))
                                .map_err(io::Error::from)?;
                            summary.add(&record, &decision, self.now);
                        }
                    }
                    Err(error) => {
                        summary.bad_lines += 1;
                        let errors =
                            if let InputError::Fields(errors) = &error { errors.as_slice() } else { &[] };
                        let bad = BadLine { line: summary.lines, error: error.to_string(), errors };
                        serde_json::to_writer(&mut output, &bad).map_err(io::Error::from)?;
                    }
                }
            }
            // A blank line gets a blank line, so that line n of the output is about line n of the input.
            output.write_all(b"\n")?;
            line.clear();
        }
        output.flush()?;
        Ok(summary)
    }
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Summary {
    /// Lines read.
    pub lines: u64,
    /// Lines that are no records.
    pub bad_lines: u64,
    records: u64,
    refused: u64,
    first: Option<Millis>,
    last: Option<Millis>,
    keys: HashSet<Arc<str>>,
    refused_keys: HashSet<Arc<str>>,
    banned_keys: HashSet<Arc<str>>,
    key_days: HashSet<(Arc<str>, i64)>,
    by_reason: HashMap<&'static str, u64>,
    detectors: HashMap<&'static str, PerDetector>,
    serious: HashSet<(Arc<str>, &'static str, i64)>,
}

#[derive(Debug, Default)]
struct PerDetector {
    findings: u64,
    serious: u64,
    keys: HashSet<Arc<str>>,
    banned: HashSet<Arc<str>>,
}

impl Summary {
    /// Counts one decision.
    pub fn add(&mut self, record: &Record, decision: &Decision, now: Millis) {
        self.records += 1;
        self.first = Some(self.first.map_or(now, |t| t.min(now)));
        self.last = Some(self.last.map_or(now, |t| t.max(now)));
        let key = &record.key_id;
        if !self.keys.contains(key) {
            self.keys.insert(key.clone());
        }
        let day = (key.clone(), now.div_euclid(DAY));
        if !self.key_days.contains(&day) {
            self.key_days.insert(day);
        }
        if !decision.allowed {
            self.refused += 1;
            self.refused_keys.insert(key.clone());
            *self.by_reason.entry(decision.reason.map_or("UNKNOWN", |r| r.name())).or_default() += 1;
        }
        let banned = decision.action >= Action::TemporaryBan && !decision.anomalies.is_empty();
        if banned {
            self.banned_keys.insert(key.clone());
        }
        for finding in &decision.anomalies {
            let row = self.detectors.entry(finding.kind.name()).or_default();
            row.findings += 1;
            row.keys.insert(key.clone());
            if finding.severity >= Severity::High {
                row.serious += 1;
                self.serious.insert((key.clone(), finding.kind.name(), now.div_euclid(HOUR)));
            }
            if banned && finding.severity == Severity::Critical {
                row.banned.insert(key.clone());
            }
        }
    }

    /// The summary for people.
    pub fn render(&self) -> String {
        use std::fmt::Write as _;
        let mut out = String::new();
        let key_days = self.key_days.len().max(1) as f64;
        let _ = writeln!(
            out,
            "{} records of {} keys over {:.1} key-days; {} bad lines",
            self.records,
            self.keys.len(),
            key_days,
            self.bad_lines
        );
        if let (Some(first), Some(last)) = (self.first, self.last) {
            let format = crate::domain::event::format_millis;
            let _ = writeln!(out, "from {} to {}", format(first), format(last));
        }
        let _ = writeln!(
            out,
            "{} requests refused, of {} keys; {} keys would have been banned",
            self.refused,
            self.refused_keys.len(),
            self.banned_keys.len()
        );
        let _ = writeln!(
            out,
            "{:.4} high or critical findings per key-day (once per key, type and hour)",
            self.serious.len() as f64 / key_days
        );
        let mut reasons: Vec<_> = self.by_reason.iter().collect();
        reasons.sort();
        for (reason, count) in reasons {
            let _ = writeln!(out, "  refused for {reason}: {count}");
        }
        let mut rows: Vec<_> = self.detectors.iter().collect();
        rows.sort_by_key(|(name, _)| **name);
        if !rows.is_empty() {
            let _ = writeln!(
                out,
                "{:<24}{:>10}{:>16}{:>8}{:>8}",
                "detector", "findings", "high/critical", "keys", "banned"
            );
        }
        for (name, row) in rows {
            let _ = writeln!(
                out,
                "{name:<24}{:>10}{:>16}{:>8}{:>8}",
                row.findings,
                row.serious,
                row.keys.len(),
                row.banned.len()
            );
        }
        out
    }
}
