//! `keyward import`: usage records made of what others have logged, by a map. A key that was logged itself stands in
//! them: a file of them is for its owner alone.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    Failure, code,
    output::{self, plain},
};
use crate::import::{self, Imported, Map, NAMED};

/// Files that cannot be read are named, up to so many.
const NAMED_FILES: usize = 20;

/// Make usage records of what others have logged, in the order of their times.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Logs, and folders of logs, packed with gzip or not; `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Where each field of a record is: cloudtrail, litellm, nginx, caddy, envoy, combined, or a file (docs/import.md).
    #[arg(long, value_name = "NAME|FILE")]
    map: String,
    /// Where the records go, one JSON line each; standard output by default. Keys that the log has stand in them: a new
    /// file can be read by its owner alone.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With --output: print what became of the input, as one JSON object.
    #[arg(long, requires = "output")]
    json: bool,
}

impl Import {
    pub(super) fn run(self) -> Result<(), Failure> {
        let imported = read(&self.map, &self.input)?;
        match &self.output {
            Some(path) => {
                let file = create(path).map_err(|error| Failure::file(path, &error))?;
                write(&imported, file).map_err(|error| Failure::file(path, &error))?;
                if self.json {
                    output::line(&counted(&imported).to_string())?;
                }
                Ok(())
            }
            None => {
                write(&imported, io::stdout().lock()).map_err(|error| Failure::io("standard output", &error))
            }
        }
    }
}

/// How much of the input became records, and what did not.
fn counted(imported: &Imported) -> serde_json::Value {
    let failed = imported.failed.iter().map(|failed| {
        serde_json::json!({ "path": failed.path.display().to_string(), "error": failed.source.to_string() })
    });
    serde_json::json!({
        "records": imported.len(),
        "left_out": imported.left_out,
        "unreadable": imported.unreadable,
        "unreadable_files": failed.collect::<Vec<_>>(),
    })
}

/// A file that its owner alone can read; one that is there already keeps its mode.
fn create(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn write(imported: &Imported, to: impl Write) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    for line in imported.lines() {
        writeln!(to, "{line}")?;
    }
    to.flush()
}

/// Reads logs by a map, and says on standard error what became no record.
pub(super) fn read(map: &str, input: &[PathBuf]) -> Result<Imported, Failure> {
    let imported =
        import::import(&load(map)?, input).map_err(|error| Failure::file(&error.path, &error.source))?;
    for failed in imported.failed.iter().take(NAMED_FILES) {
        let _ =
            writeln!(io::stderr(), "keyward: {}", plain(&format!("{failed}; the rest of it is left out")));
    }
    let (records, left_out, unreadable) = (imported.len(), imported.left_out, imported.unreadable);
    let said = format!(
        "{records} records; {left_out} left out (no key, address or time), {unreadable} unreadable lines or \
         documents, {} unreadable files",
        imported.failed.len()
    );
    let _ = writeln!(io::stderr(), "keyward: {}", plain(&said));
    if imported.is_empty() {
        let said = format!("{map}: no request in the input becomes a record by this map");
        return Err(Failure::new(code::DATA, said));
    }
    Ok(imported)
}

/// The map of a name, else the one in a file.
fn load(map: &str) -> Result<Map, Failure> {
    let read = match Map::named(map) {
        Some(read) => read,
        None => {
            let path = Path::new(map);
            let text = fs::read_to_string(path).map_err(|error| {
                let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
                let failure = Failure::file(path, &error);
                let said = failure.message().unwrap_or_default();
                Failure::new(failure.code(), format!("{said}; or name one of {}", names.join(", ")))
            })?;
            Map::parse(&text)
        }
    };
    read.map_err(|error| Failure::new(code::CONFIG, format!("--map {map} {error}")))
}
