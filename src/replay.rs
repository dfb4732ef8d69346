//! Recorded traffic through the production engine, on event time, in memory: what would have been decided.
//!
//! Records are decided in the order of the input; each one's own `timestamp` is the time of its decision (without
//! one: the time of the line before). Nothing is written but the decisions, and what is kept grows with the number of
//! keys and addresses, not with that of records.
//!
//! `summary` counts, `verdicts` gives analysts' words again, `backtest` runs a second engine beside the first and
//! `comparison` holds the two against each other (`figures` and `compared`: what either came to, as numbers), `seek`
//! looks for one request.

mod backtest;
mod compared;
mod comparison;
mod done;
mod figures;
mod json;
mod lines;
mod seek;
mod summary;
#[cfg(test)]
mod tests;
mod verdicts;

use std::{
    io::{self, BufRead, Write},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

pub use backtest::Backtest;
pub use compared::{Compared, Difference};
pub use comparison::{By, Comparison};
pub use figures::{DayRow, DetectorRow, Figures, SubjectRow};
pub use seek::{Missed, Sought, Wanted};
pub use summary::Summary;
pub use verdicts::{VerdictError, Verdicts};

use lines::Lines;

use crate::{
    answer::Answer,
    config::Config,
    domain::{Millis, SECOND, decision::Decision, record::Record},
    engine::{Engine, EngineOptions},
    geo::Geo,
    intake::{FieldError, InputError, Intake, Peppers, WireRecord, parse},
    pricing::{PriceError, Prices},
    store::{
        StoreError,
        embedded::{EmbeddedOptions, EmbeddedStore},
    },
};

/// Why a replay could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file of records cannot be read.
    #[error("the records cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The decisions cannot be written.
    #[error("what was decided cannot be written: {0}")]
    Write(#[source] io::Error),
    /// The in-memory store could not be made.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The price list cannot be used.
    #[error("{0}")]
    Prices(#[from] PriceError),
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
    verdicts: Verdicts,
}

impl Replay {
    /// An engine with the policy and the prices of `config`.
    ///
    /// # Errors
    /// When the in-memory store cannot be made, or the prices cannot be read.
    pub async fn new(config: &Config, geo: Arc<Geo>, peppers: Peppers) -> Result<Self, ReplayError> {
        let capacity = config.cardinality.max_tracked_keys;
        let options =
            EmbeddedOptions { max_subjects: capacity, max_profiles: 1, ..EmbeddedOptions::default() };
        let store = Arc::new(EmbeddedStore::in_memory(options)?);
        let options = EngineOptions {
            deadline: Duration::from_secs(3600),
            idempotency_capacity: config.idempotency.capacity,
            retry_span: config.idempotency.seconds * SECOND,
            shares_store: false,
            profile_capacity: capacity,
            new_subjects_per_minute: config.cardinality.new_subjects_per_minute,
            new_subjects_per_minute_per_address: config.cardinality.new_subjects_per_minute_per_address,
            fold_seconds: config.events.fold_seconds,
            event_buffer: 0,
            flushes: false,
            usage_series: 0,
            usage_by_user: false,
            lease: config.reservations.lease_seconds * SECOND,
            directory: None,
        };
        let engine = Engine::start(store, geo, config, options).await?;
        let prices = Arc::new(Prices::open(config.prices.file())?);
        Ok(Self { engine, intake: Intake::replay(peppers, prices), now: 0, verdicts: Verdicts::default() })
    }

    /// Reads one line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&mut self, line: &[u8]) -> Result<Record, InputError> {
        let wire = parse::<WireRecord>(line)?;
        let record = self.intake.record_where(wire, self.now, |key_id| self.engine.is_registered(key_id))?;
        if record.timestamp.is_none() && self.now == 0 {
            let error = FieldError::new("/timestamp", "is required, as no line before it says when it was");
            return Err(InputError::Fields(vec![error]));
        }
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

    /// Gives these verdicts while it runs, each at its time.
    pub fn honour(&mut self, verdicts: Verdicts) {
        self.verdicts = verdicts;
    }

    /// The verdicts, with what became of those that were given.
    pub fn verdicts(&self) -> &Verdicts {
        &self.verdicts
    }

    /// Replays JSON lines: one line out for each line in, in order. `progress` is told the bytes read since it was
    /// last told.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub async fn run(
        &mut self,
        input: impl BufRead,
        output: impl Write,
        progress: impl FnMut(u64),
    ) -> Result<Summary, ReplayError> {
        self.run_beside(input, output, progress, None).await
    }

    /// The same with a second engine beside this one, where there is one.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub async fn run_beside(
        &mut self,
        input: impl BufRead,
        mut output: impl Write,
        progress: impl FnMut(u64),
        mut backtest: Option<&mut Backtest>,
    ) -> Result<Summary, ReplayError> {
        let mut summary = Summary::default();
        let mut lines = Lines::new(input, progress);
        let mut text = Vec::new();
        while let Some(line) = lines.next()? {
            summary.lines += 1;
            match line.and_then(|text| (!text.is_empty()).then(|| self.read(text)).transpose()) {
                Ok(Some(record)) => {
                    self.catch_up().await?;
                    let Some(decision) = self.decide(&record).await else { continue };
                    summary.add(&record, &decision, self.now);
                    if let Some(backtest) = &mut backtest {
                        backtest.add(summary.lines, &record, &decision, self.now).await?;
                    }
                    write(&mut output, &mut text, &Answer::from(&decision))?;
                }
                // A blank line gets a blank line, so that line n of the output is about line n of the input.
                Ok(None) => output.write_all(b"\n").map_err(ReplayError::Write)?,
                Err(error) => {
                    let errors =
                        if let InputError::Fields(errors) = &error { errors.as_slice() } else { &[] };
                    let bad = BadLine { line: summary.lines, error: error.to_string(), errors };
                    summary.add_bad(&bad);
                    write(&mut output, &mut text, &bad)?;
                }
            }
        }
        self.finish().await?;
        if let Some(backtest) = backtest {
            backtest.finish(&summary).await?;
        }
        output.flush().map_err(ReplayError::Write)?;
        Ok(summary)
    }

    /// Gives the verdicts that are due.
    async fn catch_up(&mut self) -> Result<(), StoreError> {
        self.verdicts.carry_out(&self.engine, self.now).await
    }

    /// Gives the verdicts that came after the last record.
    async fn finish(&mut self) -> Result<(), StoreError> {
        self.verdicts.carry_out(&self.engine, Millis::MAX).await
    }
}

/// Writes a JSON line at one go: many small writes to what may be any stream would cost more than the line itself.
fn write(output: &mut impl Write, text: &mut Vec<u8>, line: &impl Serialize) -> Result<(), ReplayError> {
    text.clear();
    serde_json::to_writer(&mut *text, line).map_err(|error| ReplayError::Write(error.into()))?;
    text.push(b'\n');
    output.write_all(text).map_err(ReplayError::Write)
}
