//! `keyward explain`: why one request of recorded traffic is decided as it is.

use std::path::PathBuf;

use clap::Args;

use super::{
    Failure, code,
    output::{line, plain},
    replay,
    settings::Settings,
};
use crate::{
    domain::{
        key::{KEY_ID_FORM, looks_secret, valid_key_id},
        wording::{count, whole},
    },
    explain::{Account, Met},
    replay::{Missed, Sought, Wanted},
};

/// Lines named in a message.
const NAMED: usize = 5;

/// Replay recorded traffic up to a request, and show all that leads to its decision.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// JSON lines with usage records; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The request, by its id: the first one with it.
    #[arg(long, value_name = "ID", required_unless_present = "line")]
    request_id: Option<String>,
    /// The public id of its key (`k1:…`), where several keys have requests with that id.
    #[arg(long, value_name = "ID", requires = "request_id")]
    key_id: Option<String>,
    /// The request, by the number of its line, from 1: line n of what `replay` writes is about line n.
    #[arg(long, value_name = "N", conflicts_with = "request_id", value_parser = clap::value_parser!(u64).range(1..))]
    line: Option<u64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: Settings,
}

impl Explain {
    pub(super) fn run(self) -> Result<(), Failure> {
        self.check_key_id()?;
        let config = self.settings.load()?;
        let mut engine = replay::engine(&config)?;
        let (input, size) = replay::open(&self.input)?;
        let bar = replay::progress(size);
        let wanted = self.wanted();
        let done = replay::runtime()?.block_on(engine.explain(input, &wanted, |bytes| bar.inc(bytes)))?;
        bar.finish_and_clear();
        let sought = done.map_err(|missed| self.not_there(&missed))?;
        self.print(&sought)
    }

    /// A secret in place of the public id would find nothing, and be repeated in the message that says so.
    fn check_key_id(&self) -> Result<(), Failure> {
        let Some(key_id) = &self.key_id else { return Ok(()) };
        let why = match looks_secret(key_id) {
            Some(likeness) => format!("--key-id {likeness}; give the public id, such as k1:9f2c41d07be5a8c3"),
            None if valid_key_id(key_id) => return Ok(()),
            None => format!("--key-id {KEY_ID_FORM}"),
        };
        Err(Failure::new(code::USAGE, why))
    }

    fn wanted(&self) -> Wanted {
        match (&self.request_id, self.line) {
            (Some(request_id), _) => {
                Wanted::Id { request_id: request_id.clone(), key_id: self.key_id.clone() }
            }
            (None, line) => Wanted::Line(line.unwrap_or(1)),
        }
    }

    fn print(&self, sought: &Sought) -> Result<(), Failure> {
        let account = Account::of(&sought.record, &sought.explained, &sought.located);
        if self.json {
            return Ok(line(&serde_json::to_string(&account)?)?);
        }
        let text = account.to_string();
        text.lines().try_for_each(|text| line(&plain(text))).map_err(Failure::from)
    }

    fn not_there(&self, missed: &Missed) -> Failure {
        let input = self.input.display();
        let read = match missed.bad_lines {
            0 => format!("{} lines", whole(missed.lines)),
            bad => format!("{} lines, of which {} are no records", whole(missed.lines), whole(bad)),
        };
        let message = match (&missed.bad, self.line, &self.request_id) {
            (Some(bad), Some(line), _) => {
                return Failure::new(code::DATA, format!("{input}: line {line} is no usage record: {bad}"));
            }
            (_, Some(line), _) => format!("{input} has no line {line}, only {read}"),
            (_, _, id) if !missed.others.is_empty() => format!(
                "{input}: the request {} is there, but not of the key {}: it is on {}; leave --key-id out, or give one \
                 of these",
                id.as_deref().unwrap_or_default(),
                self.key_id.as_deref().unwrap_or_default(),
                named(&missed.others),
            ),
            (_, _, id) => format!(
                "{input}: no request has the id {} ({read}); ids are shown by `keyward replay` and in events, and \
                 --line takes the \
                 number of a line",
                id.as_deref().unwrap_or_default(),
            ),
        };
        Failure::new(code::NO_INPUT, message)
    }
}

fn named(met: &[Met]) -> String {
    let some: Vec<String> =
        met.iter().take(NAMED).map(|met| format!("line {} (key {})", met.line, met.key_id)).collect();
    match met.len().saturating_sub(NAMED) {
        0 => some.join(", "),
        more => format!("{} and {}", some.join(", "), count(more as f64, "other line", "other lines")),
    }
}
