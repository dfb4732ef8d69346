//! `keyward simulate --swap`: thefts made of a recording, written or scored.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use super::{Simulate, sink};
use crate::{
    cli::{Failure, code, html_file::HtmlFile, output, replay},
    domain::HOUR,
    replay::Replay,
    report::of_score,
    simulate::{
        Labelled,
        score::{Scorer, Verdict},
        swap::{Recorded, Survey, SwapPlan, Swaps},
    },
};

impl Simulate {
    /// Reads a recording twice: for its keys, and for its lines.
    pub(super) fn run_swap(&self, recording: &Path) -> Result<(), Failure> {
        let [seed] = self.seed[..] else { return Err(Failure::new(code::USAGE, "--swap takes one --seed")) };
        self.check_report()?;
        let html = self.report.as_deref().map(HtmlFile::at).transpose()?;
        let mut survey = Survey::default();
        let mut bad = 0_u64;
        each_line(recording, |line| {
            bad += u64::from(!survey.add(line));
            Ok(())
        })?;
        let length = i64::from(self.swap_hours) * HOUR;
        let mut swaps = survey.plan(SwapPlan { seed, thefts: self.attacks as usize, length });
        self.say_what_is_made(recording, &swaps, bad)?;
        let mut records = self.output.as_deref().map(sink).transpose()?;
        let mut labels = self.labels.as_deref().map(sink).transpose()?;
        let mut judge = if self.score { Some(self.judge()?) } else { None };
        each_line(recording, |line| {
            let Some(labelled) = swaps.label(line) else { return Ok(()) };
            if let Some(out) = &mut records {
                out.write_all(&labelled.record.line).and_then(|()| out.write_all(b"\n"))?;
            }
            if let Some(out) = &mut labels {
                serde_json::to_writer(&mut *out, &labelled)?;
                out.write_all(b"\n")?;
            }
            if let Some(judge) = &mut judge {
                judge.decide(&labelled);
            }
            Ok(())
        })?;
        for out in [records, labels].iter_mut().flatten() {
            out.flush().map_err(|error| Failure::io("the output", &error))?;
        }
        if let Some(judge) = judge {
            let score = judge.scorer.finish();
            output::line(&if self.json { score.json().to_string() } else { score.to_string() })?;
            if let Some(html) = html {
                let of = format!("{} thefts made of {}; seed {seed}.", swaps.len(), recording.display());
                html.put(&of_score(&of, &score, &[]))?;
            }
        }
        Ok(())
    }

    /// Nothing is made in silence that is less than what was asked for.
    fn say_what_is_made(&self, recording: &Path, swaps: &Swaps, bad: u64) -> Result<(), Failure> {
        let (file, made, asked) = (recording.display(), swaps.len(), self.attacks);
        if swaps.is_empty() && asked > 0 {
            let words = format!(
                "{file}: no theft can be made of it; that takes two keys: one with 100 requests over two days, and one \
                 with 20 within --swap-hours after that"
            );
            return Err(Failure::new(code::DATA, words));
        }
        let mut said = Vec::new();
        if made < asked as usize {
            said.push(format!(
                "{made} thefts made of the {asked} asked for; there are not enough keys with a past"
            ));
        }
        if bad > 0 {
            said.push(format!("{bad} lines left out that are no record of one key"));
        }
        for words in said {
            let _ = writeln!(io::stderr(), "keyward: {file}: {words}");
        }
        Ok(())
    }

    fn judge(&self) -> Result<Judge, Failure> {
        let engine = replay::engine(&self.settings.load()?)?;
        Ok(Judge { engine, runtime: replay::runtime()?, scorer: Scorer::default() })
    }
}

/// Decides records in memory, in order of the recording, and scores the decisions.
struct Judge {
    engine: Replay,
    runtime: tokio::runtime::Runtime,
    scorer: Scorer,
}

impl Judge {
    /// A record that cannot be read is left out, as a replay leaves it out.
    fn decide(&mut self, labelled: &Labelled<Recorded>) {
        let Ok(record) = self.engine.read(&labelled.record.line) else { return };
        if let Some(decision) = self.runtime.block_on(self.engine.decide(&record)) {
            self.scorer.add(labelled, &Verdict::from(&decision));
        }
    }
}

fn each_line(path: &Path, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> Result<(), Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    for line in BufReader::with_capacity(1 << 20, file).split(b'\n') {
        let line = line.map_err(|error| Failure::file(path, &error))?;
        if !line.trim_ascii().is_empty() {
            take(&line).map_err(|error| Failure::io("the output", &error))?;
        }
    }
    Ok(())
}
