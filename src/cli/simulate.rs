//! `keyward simulate`: labelled traffic, generated or made of a recording, and how well the detectors do on it.

mod swap;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
};

use clap::Args;

use super::{Failure, code, html_file::HtmlFile, output, replay, settings::Settings};
use crate::{
    config::Config,
    domain::decision::Decision,
    report::of_score,
    simulate::{
        Exam, Labelled, Plan, generate,
        score::{Score, Scorer, Verdict, bars, bars_of_second, missed},
    },
};

/// What scripts can read when a bar is missed.
const BAR_MISSED: u8 = 1;

/// Make labelled traffic of benign keys and attacks; with --score, decide it and score the decisions.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// Another seed, other traffic. With --score: several, with commas between or repeated, are scored together.
    #[arg(long, value_name = "SEED", value_delimiter = ',', default_values_t = [1])]
    seed: Vec<u64>,
    /// Which families of keys and attacks: `second` has agents, functions, apps and quieter attacks.
    #[arg(long, value_name = "first|second", default_value = "first")]
    exam: Exam,
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
    #[arg(long, value_name = "SHARE", default_value_t = Plan::THREE_WEEKS.mixed, value_parser = mixed)]
    mixed: f64,
    /// Multiplies the rates of benign traffic.
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Where the records go, one JSON line each; `-` is standard output.
    #[arg(long, value_name = "FILE", required_unless_present = "score")]
    output: Option<PathBuf>,
    /// Make thefts of recorded traffic instead: usage records as JSON lines, of many keys. From a moment on, the
    /// requests of one key come in the name of another. --attacks is how many.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["days", "keys", "mixed", "rate", "require"])]
    swap: Option<PathBuf>,
    /// With --swap: how many hours each theft lasts.
    #[arg(long, value_name = "HOURS", requires = "swap", default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=8_760))]
    swap_hours: u32,
    /// Where the labels go, one JSON line for each record.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Decide the traffic in memory and print recall, time to detection and harm.
    #[arg(long)]
    score: bool,
    /// With --score: fail with exit code 1 when the decisions miss a bar, and say which.
    #[arg(long, requires = "score")]
    require: bool,
    /// With --score: print what harms benign keys, once per key, type and hour, and each missed attack, as JSON lines
    /// to standard error.
    #[arg(long, requires = "score")]
    verbose: bool,
    /// With --score: write the score as one HTML file too, with the bars that it meets and misses; `-` writes standard
    /// output after the table. A file that is there is replaced.
    #[arg(long, value_name = "FILE.html", requires = "score")]
    report: Option<PathBuf>,
    /// With --score: print the score as one JSON object in place of the table.
    #[arg(long, requires = "score")]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Simulate {
    pub(super) fn run(self) -> Result<(), Failure> {
        if let Some(recording) = &self.swap {
            return self.run_swap(recording);
        }
        self.check_report()?;
        let html = self.report.as_deref().map(HtmlFile::at).transpose()?;
        self.write()?;
        if !self.score {
            return Ok(());
        }
        let score = self.score()?;
        output::line(&if self.json { score.json().to_string() } else { score.to_string() })?;
        let bars = match self.exam {
            Exam::First => bars(&score),
            Exam::Second => bars_of_second(&score),
        };
        if let Some(html) = html {
            html.put(&of_score(&self.describe(), &score, &bars))?;
        }
        let missed = missed(bars);
        if self.require && !missed.is_empty() {
            let words = format!("bars missed: {}\n  {}", missed.len(), missed.join("\n  "));
            return Err(Failure::new(BAR_MISSED, words));
        }
        Ok(())
    }

    /// The report is no file that anything else is written to.
    fn check_report(&self) -> Result<(), Failure> {
        let Some(report) = &self.report else { return Ok(()) };
        for (name, path) in [("--output", &self.output), ("--labels", &self.labels), ("--swap", &self.swap)] {
            if path.as_ref().is_some_and(|path| replay::same_file(path, report)) {
                let both = format!("{name} and --report are both {}; give each its own", report.display());
                return Err(Failure::new(code::USAGE, both));
            }
        }
        Ok(())
    }

    /// What was made, in a sentence.
    fn describe(&self) -> String {
        let exam = match self.exam {
            Exam::First => "first",
            Exam::Second => "second",
        };
        let seeds: Vec<String> = self.seed.iter().map(u64::to_string).collect();
        format!(
            "Generated traffic of the {exam} exam: {} days from 2026-03-02, {} benign keys of each archetype, {} \
             attacks of each kind; seed {}.",
            self.days,
            self.keys,
            self.attacks,
            seeds.join(", ")
        )
    }

    fn plan(&self, seed: u64) -> Plan {
        Plan {
            seed,
            exam: self.exam,
            days: self.days,
            keys_per_archetype: self.keys,
            attacks_per_kind: self.attacks,
            mixed: self.mixed,
            rate: self.rate,
            ..Plan::THREE_WEEKS
        }
    }

    /// Writes records and labels where they are asked for.
    fn write(&self) -> Result<(), Failure> {
        if self.output.is_none() && self.labels.is_none() {
            return Ok(());
        }
        let [seed] = self.seed[..] else {
            return Err(Failure::new(code::USAGE, "--output and --labels take one --seed"));
        };
        let plan = self.plan(seed);
        if let Some(path) = &self.output {
            write_lines(path, generate(&plan).map(|labelled| labelled.record))?;
        }
        if let Some(path) = &self.labels {
            write_lines(path, generate(&plan))?;
        }
        Ok(())
    }

    /// Scores all seeds, as many at once as there are processors.
    fn score(&self) -> Result<Score, Failure> {
        let config = self.settings.load()?;
        let left = Mutex::new(self.seed.iter().copied().enumerate());
        let next = || left.lock().ok()?.next();
        let work = || {
            let mut done = Vec::new();
            while let Some((index, seed)) = next() {
                done.push((index, seed, self.decide(&config, seed)?));
            }
            Ok::<_, Failure>(done)
        };
        let threads = thread::available_parallelism().map_or(1, usize::from).min(self.seed.len());
        let done = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| {
                worker.join().unwrap_or_else(|_| Err(Failure::new(code::SOFTWARE, "a run was broken off")))
            };
            workers.into_iter().map(join).collect::<Result<Vec<_>, Failure>>()
        })?;
        let mut runs: Vec<_> = done.into_iter().flatten().collect();
        runs.sort_by_key(|(index, ..)| *index);
        if runs.len() > 1 {
            output::line(&runs_in_short(&runs))?;
        }
        let mut all = Score::default();
        runs.iter().for_each(|(_, _, score)| all.merge(score));
        Ok(all)
    }

    /// Decides the traffic of one seed.
    fn decide(&self, config: &Config, seed: u64) -> Result<Score, Failure> {
        let mut engine = replay::engine(config)?;
        let runtime = replay::runtime()?;
        let mut scorer = Scorer::default();
        for labelled in generate(&self.plan(seed)) {
            let line = serde_json::to_vec(&labelled.record)?;
            let refused =
                |error| Failure::new(code::SOFTWARE, format!("a generated record is none: {error}"));
            let record = engine.read(&line).map_err(refused)?;
            let Some(decision) = runtime.block_on(engine.decide(&record)) else { continue };
            if scorer.add(&labelled, &Verdict::from(&decision)) && self.verbose {
                tell(seed, &labelled, &decision);
            }
        }
        let score = scorer.finish();
        if self.verbose {
            for missed in &score.missed {
                let _ = writeln!(io::stderr(), "{}", serde_json::json!({ "seed": seed, "missed": missed }));
            }
        }
        Ok(score)
    }
}

/// A line for each seed.
fn runs_in_short(runs: &[(usize, u64, Score)]) -> String {
    let mut lines = format!(
        "{:<24}{:>8}{:>8}{:>8}{:>8}{:>8}{:>14}\n",
        "seed", "attacks", "found", "recall", "keys", "refused", "high/key-day"
    );
    for (_, seed, score) in runs {
        let (attacks, benign) = (score.all_attacks(), score.all_benign());
        let recall = format!("{:.1}%", attacks.recall() * 100.0);
        lines += &format!(
            "{seed:<24}{:>8}{:>8}{recall:>8}{:>8}{:>8}{:>14.4}\n",
            attacks.attacks,
            attacks.found,
            benign.keys,
            benign.keys_refused,
            benign.findings_per_key_day()
        );
    }
    lines
}

fn tell(seed: u64, labelled: &Labelled, decision: &Decision) {
    let ruling = decision.ruling();
    let missed = serde_json::json!({
        "seed": seed, "truth": labelled, "record": labelled.record, "key": decision.key_id,
        "allowed": ruling.allowed, "action": ruling.action, "reason": ruling.reason,
        "anomalies": decision.anomalies,
    });
    let _ = writeln!(io::stderr(), "{missed}");
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

/// Where lines go; `-` is standard output.
fn sink(path: &Path) -> Result<BufWriter<Box<dyn Write>>, Failure> {
    let file: Box<dyn Write> = if path.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(path).map_err(|e| Failure::file(path, &e))?)
    };
    Ok(BufWriter::with_capacity(1 << 20, file))
}

fn write_lines<T: serde::Serialize>(path: &Path, lines: impl Iterator<Item = T>) -> Result<(), Failure> {
    let mut out = sink(path)?;
    for line in lines {
        serde_json::to_writer(&mut out, &line)?;
        out.write_all(b"\n").map_err(|e| Failure::file(path, &e))?;
    }
    out.flush().map_err(|e| Failure::file(path, &e))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        simulate: Simulate,
    }

    fn line(words: &str) -> Result<Simulate, clap::Error> {
        Ok(Line::try_parse_from(words.split(' '))?.simulate)
    }

    #[test]
    fn seeds_are_a_list_or_repeated() {
        assert_eq!(line("simulate --score --seed 3,4 --seed 9").unwrap().seed, [3, 4, 9]);
        assert_eq!(line("simulate --score").unwrap().seed, [1]);
    }

    #[test]
    fn shares_and_bars_are_checked_on_the_line() {
        assert!(line("simulate --score --mixed 0.95").is_err());
        assert!(line("simulate --score --mixed 0").is_ok());
        assert!(line("simulate --require --output -").is_err());
    }

    #[test]
    fn records_are_of_one_seed() {
        let failure = line("simulate --output - --seed 1,2").unwrap().run().unwrap_err();
        assert_eq!(failure.code(), code::USAGE);
    }

    #[test]
    fn a_missed_bar_is_named_and_readable_by_scripts() {
        let run = |words: &str| {
            line(&format!("simulate --score --days 2 --keys 0 --attacks 0{words}")).unwrap().run()
        };
        assert!(run("").is_ok());
        let failure = run(" --require").unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.message().unwrap().contains("there are no attacks to find"));
    }

    #[test]
    fn thefts_are_made_of_a_recording_and_scored() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let (recording, records, labels) = (file("recording"), file("records"), file("labels"));
        let made =
            format!("simulate --days 6 --keys 1 --attacks 0 --mixed 0 --rate 0.2 --output {recording}");
        line(&made).unwrap().run().unwrap();
        let swap =
            format!("simulate --swap {recording} --attacks 2 --output {records} --labels {labels} --score");
        line(&swap).unwrap().run().unwrap();
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&recording).lines().count(), read(&records).lines().count());
        assert!(read(&labels).contains("\"label\":\"swap_"));
        let none = line(&format!("simulate --swap {labels} --score")).unwrap().run().unwrap_err();
        assert_eq!(none.code(), code::DATA);
    }

    #[test]
    fn seeds_are_scored_together() {
        let words = "simulate --score --days 3 --keys 1 --attacks 0 --mixed 0 --rate 0.1 --seed";
        let keys =
            |seeds: &str| line(&format!("{words} {seeds}")).unwrap().score().unwrap().all_benign().keys;
        assert_eq!(keys("5,6"), keys("5") + keys("6"));
    }
}
