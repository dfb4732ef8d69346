//! `keyward replay`: recorded traffic through the production engine, on event time, under one policy or two.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Cursor, IsTerminal, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, code, html_file::HtmlFile, import, output::plain, settings::Settings};
use crate::{
    config::{Config, PolicyFile},
    domain::policy::Policy,
    geo::Geo,
    intake::{PepperError, Peppers},
    replay::{Backtest, Replay as Engine, Summary, Verdicts},
    report::{Decided, Page, of_replay},
};

/// Under this pepper keys are hashed when none is given: a replay needs ids that are the same in each run.
const REPLAY_PEPPER: &str = "k1:keyward replay keeps no secret";
/// Bytes read or written at a time.
const CHUNK: usize = 1 << 20;

/// Decide recorded traffic as it would have been decided, in memory.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// JSON lines with usage records; `-` reads standard input. With --map: a log, or a folder of logs.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The input is no records but a log of something else, read by this map: cloudtrail, litellm, nginx, caddy, envoy,
    /// combined, or a file (docs/import.md).
    #[arg(long, value_name = "NAME|FILE")]
    map: Option<String>,
    /// Where one decision per record goes; `-` writes standard output (the summary then goes to standard error)
    /// [default: -, and with --compare nowhere].
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Decide by the policy in this file in place of the configured one: TOML with a [policy] table, laid over the
    /// defaults, or what GET /v1/policy answers.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["preset", "enforcement"])]
    policy: Option<PathBuf>,
    /// Decide by the policy in this file too, and show what the first one does that this one does not, and the other
    /// way round.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// With --compare: where the requests go that are decided differently, one JSON line each; `-` writes standard
    /// output.
    #[arg(long, value_name = "FILE", requires = "compare")]
    differences: Option<PathBuf>,
    /// Give the verdicts again that analysts gave, each at its time: FEEDBACK_GIVEN events as JSON lines, from
    /// `keyward events --type FEEDBACK_GIVEN --all --json`; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    /// Write what it came to as one HTML file too, to be shared or printed: by day, by detector and by key, and against
    /// the policy of --compare; `-` writes standard output. A file that is there is replaced.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Tell what it came to as one JSON object in place of the text.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Replay {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.check_files()?;
        let mut config = self.settings.load()?;
        if let Some(path) = &self.policy {
            config.policy = policy(path)?;
        }
        let old = self.compare.as_deref().map(policy).transpose()?;
        let geo = Arc::new(Geo::open(&config.geoip.files, config.geoip.demo)?);
        let mut new = engine_over(&config, &geo)?;
        let mut old = match old {
            Some(policy) => Some(engine_over(&Config { policy, ..config }, &geo)?),
            None => None,
        };
        if let Some(path) = &self.verdicts {
            let verdicts = Verdicts::read(open(path)?.0).map_err(|error| Failure::verdicts(path, &error))?;
            old.iter_mut().for_each(|old| old.honour(verdicts.clone()));
            new.honour(verdicts);
        }
        let html = self.report.as_deref().map(HtmlFile::at).transpose()?;
        let (input, size) = self.input()?;
        let differences = self.differences.as_deref().map(create).transpose()?;
        let mut backtest = old.map(|old| Backtest::between(&new, old, differences));
        let decisions = self.decisions().as_deref().map_or_else(|| Ok(Box::new(io::sink()) as _), create)?;
        let bar = progress(size);
        let progress = |bytes| bar.inc(bytes);
        let summary = runtime()?.block_on(new.run_beside(input, decisions, progress, backtest.as_mut()))?;
        bar.finish_and_clear();
        self.tell(&match self.json {
            true => self.as_json(&new, &summary, backtest.as_ref()).to_string(),
            false => self.text(&new, &summary, backtest.as_ref()),
        })?;
        if let Some(html) = html {
            html.put(&self.page(&new, &summary, backtest.as_ref()))?;
        }
        if summary.records == 0 && summary.bad_lines > 0 {
            let input = self.input.display();
            return Err(Failure::new(code::DATA, format!("{input}: no line of it is a usage record")));
        }
        Ok(())
    }

    /// The records, with their size where that is known.
    fn input(&self) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
        let Some(map) = &self.map else { return open(&self.input) };
        let records = import::read(map, std::slice::from_ref(&self.input))?;
        let lines: Vec<&str> = records.lines().collect();
        let text = lines.join("\n");
        let size = text.len() as u64;
        Ok((Box::new(Cursor::new(text)), Some(size)))
    }

    /// What would destroy a file or mix two streams is a slip, and noticed before anything is read or written.
    fn check_files(&self) -> Result<(), Failure> {
        let decisions = self.decisions();
        let all = [
            ("--input", Some(&self.input), Use::Read),
            ("--verdicts", self.verdicts.as_ref(), Use::Read),
            ("--policy", self.policy.as_ref(), Use::Read),
            ("--compare", self.compare.as_ref(), Use::Read),
            ("--output", decisions.as_ref(), Use::Write),
            ("--differences", self.differences.as_ref(), Use::Write),
            ("--report", self.report.as_ref(), Use::Write),
        ];
        let given: Vec<_> = all.into_iter().filter_map(|(name, path, to)| Some((name, path?, to))).collect();
        for (n, (name, path, to)) in given.iter().enumerate() {
            let clashes = |other: Use| {
                if is_dash(path) { *to == other } else { [*to, other].contains(&Use::Write) }
            };
            let clash = given[n + 1..].iter().find(|(_, other, to)| same_file(path, other) && clashes(*to));
            if let Some((other, ..)) = clash {
                let both = format!("{name} and {other} are both {}; give each its own", path.display());
                return Err(Failure::new(code::USAGE, both));
            }
        }
        Ok(())
    }

    /// Where decisions go. With a comparison, that is what is asked for.
    fn decisions(&self) -> Option<PathBuf> {
        self.output.clone().or_else(|| self.compare.is_none().then(|| "-".into()))
    }

    /// The name of the policy by which is decided.
    fn name(&self) -> String {
        self.policy.as_ref().map_or_else(|| "as configured".to_owned(), |path| path.display().to_string())
    }

    fn page(&self, new: &Engine, summary: &Summary, backtest: Option<&Backtest>) -> Page {
        let decided = |name: &str, engine: &Engine, summary: &Summary| Decided {
            policy: format!("{name} ({})", engine.engine().policy().version),
            figures: summary.figures(),
        };
        let old = backtest.zip(self.compare.as_ref()).map(|(backtest, path)| {
            let name = path.display().to_string();
            (decided(&name, backtest.old(), &backtest.summary), backtest.comparison.figures())
        });
        let old = old.as_ref().map(|(old, compared)| (old, compared));
        let input =
            if is_dash(&self.input) { "standard input".to_owned() } else { self.input.display().to_string() };
        let verdicts = new.verdicts().render(summary);
        of_replay(&input, &decided(&self.name(), new, summary), old, verdicts.as_deref())
    }

    /// What it came to for programs; `compared_with` and `comparison` with --compare alone.
    fn as_json(&self, new: &Engine, summary: &Summary, backtest: Option<&Backtest>) -> serde_json::Value {
        let decided = |name: &str, engine: &Engine, summary: &Summary| {
            let version = engine.engine().policy().version.clone();
            serde_json::json!({ "policy": name, "policy_version": version, "figures": summary.figures().json() })
        };
        let mut all = decided(&self.name(), new, summary);
        if let (Some(backtest), Some(path)) = (backtest, &self.compare) {
            all["compared_with"] = decided(&path.display().to_string(), backtest.old(), &backtest.summary);
            all["comparison"] = backtest.comparison.figures().json();
        }
        all
    }

    fn text(&self, new: &Engine, summary: &Summary, backtest: Option<&Backtest>) -> String {
        let mut out = String::new();
        if let (Some(backtest), Some(old)) = (backtest, &self.compare) {
            let name = self.name();
            let versions = [new, backtest.old()].map(|engine| engine.engine().policy().version.clone());
            out += &format!("new policy: {name} ({})\n{}\n", versions[0], summary.render());
            out +=
                &format!("old policy: {} ({})\n{}\n", old.display(), versions[1], backtest.summary.render());
            if versions[0] == versions[1] {
                out += "the two policies are the same\n";
            }
            out += &backtest.comparison.to_string();
        } else {
            out += &summary.render();
        }
        out + &new.verdicts().render(summary).unwrap_or_default()
    }

    /// Tells people, where no data goes.
    fn tell(&self, report: &str) -> Result<(), Failure> {
        let report: String = report.lines().map(|line| plain(line) + "\n").collect();
        if [self.decisions(), self.differences.clone(), self.report.clone()]
            .iter()
            .flatten()
            .any(|path| is_dash(path))
        {
            let _ = write!(io::stderr(), "{report}");
            return Ok(());
        }
        write!(io::stdout(), "{report}").map_err(|e| Failure::io("standard output", &e))
    }
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

/// A runtime for one thread: replay is one stream of records.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::io("the runtime", &e))
}

/// The production engine in memory, under a configuration.
pub(super) fn engine(config: &Config) -> Result<Engine, Failure> {
    engine_over(config, &Arc::new(Geo::open(&config.geoip.files, config.geoip.demo)?))
}

fn engine_over(config: &Config, geo: &Arc<Geo>) -> Result<Engine, Failure> {
    Ok(runtime()?.block_on(Engine::new(config, geo.clone(), peppers(config)?))?)
}

/// The policy in a file. What else is in the file has no part in it, which is said.
fn policy(path: &Path) -> Result<Policy, Failure> {
    let file = PolicyFile::read(path)?;
    if !file.unused.is_empty() {
        let sections: Vec<_> = file.unused.iter().map(|name| format!("[{name}]")).collect();
        let path = path.display();
        let _ = writeln!(
            io::stderr(),
            "keyward: {path}: only [policy] is used here, {} is not; that is for --config",
            sections.join(", ")
        );
    }
    Ok(file.policy)
}

fn peppers(config: &Config) -> Result<Peppers, PepperError> {
    match config.secrets.pepper_file.as_str() {
        "" => std::env::var("KEYWARD_PEPPER")
            .map_or_else(|_| Peppers::parse(REPLAY_PEPPER), |text| Peppers::parse(&text)),
        file => Peppers::read(Path::new(file)),
    }
}

/// An input with its size, where that is known.
pub(super) fn open(path: &Path) -> Result<(Box<dyn BufRead>, Option<u64>), Failure> {
    if is_dash(path) {
        return Ok((Box::new(BufReader::with_capacity(CHUNK, io::stdin())), None));
    }
    let file = File::open(path).map_err(|e| Failure::file(path, &e))?;
    let size = file.metadata().ok().map(|m| m.len());
    Ok((Box::new(BufReader::with_capacity(CHUNK, file)), size))
}

fn create(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if is_dash(path) {
        return Ok(Box::new(BufWriter::new(io::stdout().lock())));
    }
    let file = File::create(path).map_err(|e| Failure::file(path, &e))?;
    Ok(Box::new(BufWriter::with_capacity(CHUNK, file)))
}

/// Whether two names are of one file. Devices may be named as often as one likes.
pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    let device = fs::metadata(a).is_ok_and(|data| !data.is_file());
    let real = |path: &Path| fs::canonicalize(path).ok();
    !device && (a == b || real(a).is_some_and(|a| real(b) == Some(a)))
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A bar for the bytes of an input; hidden where nobody watches.
pub(super) fn progress(size: Option<u64>) -> ProgressBar {
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
