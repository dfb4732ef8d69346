//! `keyward feedback`: a person's word about an event, and the words that were given.

use clap::{Args, Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::json;

use super::{
    Failure, block_on,
    client::Service,
    events,
    output::{line, plain},
    when::When,
};
use crate::domain::event::EventType;

/// What is done with verdicts.
#[derive(Debug, Subcommand)]
pub(super) enum Feedback {
    /// Say whether an event was an attack. A benign one lifts the ban, undoes its strike and teaches the profile.
    Give(Give),
    /// List the verdicts that were given, newest first.
    List(List),
}

/// Say what an event was.
#[derive(Debug, Args)]
pub(super) struct Give {
    /// The id of the event, as `keyward events --json` prints it.
    event: String,
    /// What it was: benign, or an attack.
    verdict: Verdict,
    /// Why; it is kept in the event log.
    #[arg(long)]
    note: Option<String>,
    #[command(flatten)]
    service: Service,
}

/// What an event was, in the word of a person.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Verdict {
    /// The owner, or somebody who may.
    Benign,
    /// Somebody who may not.
    Attack,
}

/// List verdicts, the newest first.
#[derive(Debug, Args)]
pub(super) struct List {
    /// Not before this: a length before now such as 1h or 7d, or an RFC 3339 time.
    #[arg(long, value_name = "LENGTH|TIME", value_parser = When::read)]
    since: Option<When>,
    /// Before this, said in the same way.
    #[arg(long, value_name = "LENGTH|TIME", value_parser = When::read)]
    until: Option<When>,
    #[command(flatten)]
    service: Service,
}

impl Feedback {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Give(give) => give.run(),
            Self::List(List { since, until, service }) => {
                let connection = service.connect()?;
                let query = [("type", EventType::FeedbackGiven.name())];
                block_on(events::list(&connection, &query, (since, until), None, service.json))
            }
        }
    }
}

impl Give {
    fn run(self) -> Result<(), Failure> {
        let service = self.service.connect()?;
        let verdict = match self.verdict {
            Verdict::Benign => "benign",
            Verdict::Attack => "attack",
        };
        let mut body = json!({ "verdict": verdict });
        if let Some(note) = self.note {
            body["note"] = note.into();
        }
        let path = ["v1", "events", &self.event, "feedback"];
        let event = block_on(service.json(service.request(Method::POST, &path).json(&body)))?;
        Ok(line(&if self.service.json {
            event.to_string()
        } else {
            format!(
                "event {} was {}",
                plain(&self.event),
                if verdict == "benign" { "benign" } else { "an attack" }
            )
        })?)
    }
}
