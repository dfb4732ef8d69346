//! `keyward simulate`: labelled traffic, and how well the detectors do on it.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{Failure, output, replay, settings::Settings};
use crate::simulate::{
    Labelled, Plan, generate,
    score::{Score, Scorer, Verdict},
};

/// Make labelled traffic of benign keys and attacks; with --score, decide it and score the decisions.
#[derive(Debug, Args)]
pub struct Simulate {
    /// Another seed, other traffic.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Days of traffic, from Monday 2026-03-02.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=60))]
    days: u32,
    /// Benign keys of each archetype.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1000))]
    keys: u32,
    /// Attacks of each kind.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(0..=1000))]
    attacks: u32,
    /// Share of the keys, benign and attacked, that carry two or three archetypes at once.
    #[arg(long, default_value_t = Plan::THREE_WEEKS.mixed, value_parser = mixed)]
    mixed: f64,
    /// Multiplies the rates of benign traffic.
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Where the records go, one JSON line each; `-` is standard output.
    #[arg(long, value_name = "FILE", required_unless_present = "score")]
    output: Option<PathBuf>,
    /// Where the labels go, one JSON line for each record.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Decide the traffic in memory and print recall, time to detection and harm.
    #[arg(long)]
    score: bool,
    /// With --score: print each benign refusal and missed attack as JSON lines to standard error.
    #[arg(long, requires = "score")]
    verbose: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Simulate {
    pub fn run(self) -> Result<(), Failure> {
        let plan = Plan {
            seed: self.seed,
            days: self.days,
            keys_per_archetype: self.keys,
            attacks_per_kind: self.attacks,
            mixed: self.mixed,
            rate: self.rate,
            ..Plan::THREE_WEEKS
        };
        if let Some(path) = &self.output {
            write_lines(path, generate(&plan).map(|labelled| labelled.record))?;
        }
        if let Some(path) = &self.labels {
            write_lines(path, generate(&plan))?;
        }
        if self.score {
            output::line(&self.decide(&plan)?.to_string())?;
        }
        Ok(())
    }

    fn decide(&self, plan: &Plan) -> Result<Score, Failure> {
        let config = self.settings.load()?;
        let mut engine = replay::engine(&config)?;
        let runtime = replay::runtime()?;
        let mut scorer = Scorer::default();
        for labelled in generate(plan) {
            let line = serde_json::to_vec(&labelled.record)?;
            let Ok(record) = engine.read(&line) else { continue };
            let Some(decision) = runtime.block_on(engine.decide(&record)) else { continue };
            if self.verbose
                && (!decision.allowed
                    || decision
                        .anomalies
                        .iter()
                        .any(|f| f.severity >= crate::domain::finding::Severity::High))
            {
                tell(&labelled, &decision);
            }
            scorer.add(&labelled, &Verdict::from(&decision));
        }
        Ok(scorer.finish())
    }
}

fn tell(labelled: &Labelled, decision: &crate::domain::decision::Decision) {
    let told = serde_json::json!({
        "truth": labelled, "key": decision.key_id, "time": labelled.record.timestamp, "allowed": decision.allowed,
        "reason": decision.reason, "anomalies": decision.anomalies,
    });
    let _ = writeln!(io::stderr(), "{told}");
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "must be a number")?;
    if rate > 0.0 && rate <= 100.0 { Ok(rate) } else { Err("must be above 0 and at most 100".to_owned()) }
}

fn mixed(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.0..=0.9).contains(&share) {
        Ok(share)
    } else {
        Err("must be at least 0 and at most 0.9".to_owned())
    }
}

fn write_lines<T: serde::Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> Result<(), Failure> {
    let file: Box<dyn Write> = if path.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(path).map_err(|e| Failure::file(path, &e))?)
    };
    let mut out = BufWriter::with_capacity(1 << 20, file);
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n").map_err(|e| Failure::file(path, &e))?;
    }
    out.flush().map_err(|e| Failure::file(path, &e))
}
