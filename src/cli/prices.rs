//! `keyward prices import`: a price list made of the one that the field shares.

use std::{fs, path::PathBuf};

use clap::{Args, Subcommand};

use super::{
    Failure, code,
    output::{self, plain},
};
use crate::pricing::{ImportError, Outcome, Selection, import};

/// Price lists.
#[derive(Debug, Subcommand)]
pub(super) enum Prices {
    /// Make a price list of LiteLLM's model_prices_and_context_window.json, and say what it cannot hold.
    Import(Import),
}

/// Make a price list of the shared one.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// A copy of model_prices_and_context_window.json.
    file: PathBuf,
    /// Where to write the list; standard output by default.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Only models of these providers, as the file names them (`litellm_provider`). Repeat it, or separate by commas.
    #[arg(long, value_delimiter = ',')]
    provider: Vec<String>,
    /// Only models of these modes, such as chat or embedding. Repeat it, or separate by commas.
    #[arg(long, value_delimiter = ',')]
    mode: Vec<String>,
}

impl Prices {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Import(import) => import.run(),
        }
    }
}

impl Import {
    fn run(self) -> Result<(), Failure> {
        let text = fs::read_to_string(&self.file).map_err(|error| Failure::file(&self.file, &error))?;
        let name = self.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let selection = Selection { providers: self.provider, modes: self.mode };
        let imported = import(&text, &selection, &plain(&name)).map_err(|error| {
            let code = if matches!(error, ImportError::Unreadable(_)) { code::SOFTWARE } else { code::DATA };
            Failure::new(code, format!("{} {error}", self.file.display()))
        })?;
        for (name, outcome) in &imported.entries {
            if let Some(remark) = remark(outcome) {
                eprintln!("{}: {}", plain(name), plain(&remark));
            }
        }
        eprintln!("{}", summary(&imported.entries, imported.unwanted));
        match &self.output {
            Some(path) => fs::write(path, &imported.text).map_err(|error| Failure::file(path, &error))?,
            None => output::line(imported.text.trim_end())?,
        }
        Ok(())
    }
}

/// What is to be said of an entry that is not in the list as it was.
fn remark(outcome: &Outcome) -> Option<String> {
    match outcome {
        Outcome::Whole => None,
        Outcome::InPart(left_out) => {
            Some(format!("taken, but for what the list cannot say: {}", left_out.join("; ")))
        }
        Outcome::Not(reason) => Some(format!("not taken: {reason}")),
    }
}

fn summary(entries: &[(String, Outcome)], unwanted: usize) -> String {
    let count = |is: fn(&Outcome) -> bool| entries.iter().filter(|(_, outcome)| is(outcome)).count();
    let whole = count(|outcome| *outcome == Outcome::Whole);
    let in_part = count(|outcome| matches!(outcome, Outcome::InPart(_)));
    let not = count(|outcome| matches!(outcome, Outcome::Not(_)));
    let unwanted = match unwanted {
        0 => String::new(),
        _ => format!("; {unwanted} more were not asked for"),
    };
    let all = entries.len();
    format!("{all} entries: {whole} taken exactly, {in_part} taken but for a part, {not} not taken{unwanted}")
}
