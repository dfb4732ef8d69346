//! `keyward replay`: recorded traffic through the production engine, on event time.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, settings::Settings};
use crate::{
    config::Config,
    geo::Geo,
    intake::{PepperError, Peppers},
    replay::{Replay as Engine, Summary},
};

/// Under this pepper keys are hashed when none is given: a replay needs ids that are the same in each run.
const REPLAY_PEPPER: &str = "k1:keyward replay keeps no secret";

/// Decide recorded traffic as it would have been decided, in memory.
#[derive(Debug, Args)]
pub struct Replay {
    /// JSON lines with usage records; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where one decision per record goes; `-` writes standard output (the summary then goes to standard error).
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

impl Replay {
    pub fn run(self) -> Result<(), Failure> {
        let config = self.settings.load()?;
        let mut engine = engine(&config)?;
        let (input, size) = open(&self.input)?;
        let bar = progress(size);
        let summary = self.write(&mut engine, input, &bar)?;
        bar.finish_and_clear();
        if is_dash(&self.output) {
            let _ = write!(io::stderr(), "{}", summary.render());
        } else {
            write!(io::stdout(), "{}", summary.render()).map_err(|e| Failure::io("standard output", &e))?;
        }
        Ok(())
    }

    fn write(
        &self,
        engine: &mut Engine,
        input: Box<dyn BufRead>,
        bar: &ProgressBar,
    ) -> Result<Summary, Failure> {
        let told = |bytes| bar.inc(bytes);
        let runtime = runtime()?;
        let done = if is_dash(&self.output) {
            runtime.block_on(engine.run(input, BufWriter::new(io::stdout().lock()), told))
        } else {
            let file = File::create(&self.output).map_err(|e| Failure::file(&self.output, &e))?;
            runtime.block_on(engine.run(input, BufWriter::with_capacity(1 << 20, file), told))
        };
        Ok(done?)
    }
}

/// A runtime for one thread: replay is one stream of records.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("the runtime", &e))
}

/// The production engine in memory, under a configuration.
pub fn engine(config: &Config) -> Result<Engine, Failure> {
    let geo = Geo::open(&config.geoip.files, config.geoip.demo)?;
    Ok(runtime()?.block_on(Engine::new(config, Arc::new(geo), peppers(config)?))?)
}

fn peppers(config: &Config) -> Result<Peppers, PepperError> {
    match config.secrets.pepper_file.as_str() {
        "" => std::env::var("KEYWARD_PEPPER")
            .map_or_else(|_| Peppers::parse(REPLAY_PEPPER), |text| Peppers::parse(&text)),
        file => Peppers::read(Path::new(file)),
    }
}

/// An input with its size, where that is known.
pub fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if is_dash(path) {
        return Ok((Box::new(BufReader::new(io::stdin())), None));
    }
    let file = File::open(path).map_err(|e| Failure::file(path, &e))?;
    let size = file.metadata().ok().map(|m| m.len());
    Ok((Box::new(BufReader::with_capacity(1 << 20, file)), size))
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A bar for the bytes of an input; hidden where nobody watches.
pub fn progress(size: Option<u64>) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:40} {bytes}/{total_bytes} {eta}"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes} read"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
