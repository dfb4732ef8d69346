//! Verdicts that analysts gave on the live service, to be given again in a replay, each at its time.

use std::{
    collections::VecDeque,
    io::{self, BufRead},
};

use crate::{
    domain::{
        Millis,
        event::{Event, EventType, FeedbackGiven, Verdict, format_millis},
        subject::{Subject, SubjectKind},
    },
    engine::Engine,
    store::StoreError,
};

use super::Summary;

/// Why a file holds no verdicts.
#[derive(Debug, thiserror::Error)]
pub enum VerdictError {
    /// The file of verdicts cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is not what it must be.
    #[error("line {line}: {what}")]
    Line {
        /// The line that is wrong, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// One verdict with the time at which it was given.
#[derive(Debug, Clone)]
struct Given {
    at: Millis,
    feedback: FeedbackGiven,
}

/// Verdicts in the order of their times, the next one first.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    waiting: VecDeque<Given>,
    benign: usize,
    attacks: usize,
    lifted: usize,
    subjects: Vec<Subject>,
}

impl Verdicts {
    /// Reads `FEEDBACK_GIVEN` events, one JSON object a line, in any order. Blank lines are skipped.
    ///
    /// # Errors
    /// The first line that is no such event, or that does not hold what it is about.
    pub fn read(input: impl BufRead) -> Result<Self, VerdictError> {
        let mut given = Vec::new();
        for (index, line) in input.lines().enumerate() {
            let line = line?;
            if !line.trim().is_empty() {
                given.push(parse(&line).map_err(|what| VerdictError::Line { line: index + 1, what })?);
            }
        }
        // Stable: of two at one moment, the first in the file goes first.
        given.sort_by_key(|given| given.at);
        Ok(Self { waiting: given.into(), ..Self::default() })
    }

    /// Carries out every verdict that was given by `now`, each at its own time.
    ///
    /// # Errors
    /// When the engine's store does not take one.
    pub(super) async fn carry_out(&mut self, engine: &Engine, now: Millis) -> Result<(), StoreError> {
        while let Some(given) = self.waiting.pop_front_if(|given| given.at <= now) {
            let subject = given.feedback.judged.subject.as_ref();
            match given.feedback.verdict {
                Verdict::Benign => {
                    let banned = subject.is_some_and(|s| engine.standings().known_ban(s, given.at).is_some());
                    self.benign += 1;
                    self.lifted += usize::from(banned);
                }
                Verdict::Attack => self.attacks += 1,
            }
            engine.feedback().carry_out(&given.feedback, given.at).await?;
            self.subjects.extend(subject.cloned());
        }
        Ok(())
    }

    /// What became of them, for people; `None` when there were none.
    pub fn render(&self, summary: &Summary) -> Option<String> {
        if self.benign + self.attacks == 0 {
            return None;
        }
        let mut out = format!(
            "{} verdicts honoured: {} benign ({} lifted a ban), {} attacks\n",
            self.benign + self.attacks,
            self.benign,
            self.lifted,
            self.attacks
        );
        let of_key = |s: &&Subject| s.kind() == SubjectKind::Key;
        let strangers = self.subjects.iter().filter(of_key).filter(|s| !summary.knows(s.id())).count();
        if strangers > 0 {
            out += &format!(
                "  {strangers} of them are about keys that no record is of: is it the same traffic, and \
                 the same pepper \
                 (--pepper-file, KEYWARD_PEPPER)?\n"
            );
        }
        Some(out)
    }
}

fn parse(line: &str) -> Result<Given, String> {
    let event: Event = serde_json::from_str(line).map_err(|error| {
        let what = without_position(&error);
        format!(
            "not a security event: {what}; `keyward events --type FEEDBACK_GIVEN --all --json` writes them"
        )
    })?;
    if event.kind != EventType::FeedbackGiven {
        let kind = event.kind.name();
        return Err(format!(
            "{kind} is no verdict: leave only events of the type FEEDBACK_GIVEN in the file"
        ));
    }
    let at = event.time;
    event.evidence.parse().map(|feedback| Given { at, feedback }).map_err(|error| {
        let (given, what) = (format_millis(at), without_position(&error));
        format!("the evidence of the verdict of {given} does not say what it is about: {what}")
    })
}

/// What is wrong, without the position in the line: its line is always the first, which reads as that of the file.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned()
}
