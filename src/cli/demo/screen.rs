//! What people see of the play. Colours only on a terminal, and never where `NO_COLOR` asks for none.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{super::output, answer::Answer};
use crate::{
    demo::{Cue, DAYS},
    domain::decision::Action,
    geo::GeoDb,
    simulate::{WireRecord, score::Score},
};

/// ANSI colours by what they are for.
#[derive(Clone, Copy)]
pub(super) enum Paint {
    Strong,
    Faint,
    Good,
    Warning,
    Bad,
}

/// Standard output, with colours where it is a terminal.
pub(super) struct Screen {
    colours: bool,
    places: Option<GeoDb>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { colours, places: GeoDb::demo().ok() }
    }

    pub(super) fn past_begins(&self, keys: usize) -> io::Result<()> {
        output::line(&format!("Learning {DAYS} days in the life of {keys} API keys ..."))
    }

    pub(super) fn past_ends(&self, requests: usize, seconds: f64) -> io::Result<()> {
        output::line(&self.paint(Paint::Faint, &format!("{requests} requests learned in {seconds:.1} s")))
    }

    /// Where it is, what to try, what comes.
    pub(super) fn welcome(
        &self,
        url: &str,
        pair: Option<&(WireRecord, WireRecord)>,
        cues: &[Cue],
        length: Duration,
    ) -> io::Result<()> {
        let strong = |text: &str| self.paint(Paint::Strong, text);
        output::line(&format!("\n{} listens on {}", strong("keyward demo"), strong(url)))?;
        output::line(&format!("  page     {url}/ui"))?;
        output::line(&format!("  docs     {url}/docs"))?;
        output::line(&format!("  events   curl -s '{url}/v1/events?limit=5'"))?;
        output::line(&format!("  bans     curl -s {url}/v1/bans"))?;
        if let Some((own, stolen)) = pair {
            let name = own.key_id.as_deref().unwrap_or_default();
            output::line(&format!("  subject  curl -s {url}/v1/subjects/key:{name}"))?;
            let (here, there) = (self.place(own.source_ip), self.place(stolen.source_ip));
            output::line(&format!("\nTry an impossible traveller: {name} at home in {here} ..."))?;
            output::line(&curl(url, own))?;
            output::line(&format!("... and a moment later in {there} with another client: banned."))?;
            output::line(&curl(url, stolen))?;
        }
        let attacks: BTreeSet<_> = cues.iter().filter_map(|cue| cue.labelled.attack_id).collect();
        let (attacks, seconds) = (attacks.len(), length.as_secs());
        output::line(&format!(
            "\nNow playing: an hour of ordinary work and {attacks} attacks, in {seconds} s\n"
        ))?;
        let heads = format!(
            "{:>6}  {:<20} {:<17} {:<17} {:<31} decision",
            "time", "what it is", "key", "from", "finding"
        );
        output::line(&self.paint(Paint::Faint, &heads))
    }

    /// Shows one decision of the demo on a line.
    pub(super) fn decision(&self, at: Duration, cue: &Cue, answer: &Answer) -> io::Result<()> {
        let finding = answer.worst().filter(|_| answer.action > Action::None);
        let finding = finding.map(|f| format!("{} {}", f.kind.name(), f.severity.name())).unwrap_or_default();
        let what = cue.labelled.label.unwrap_or("ordinary work");
        let name = if cue.labelled.record.api_key.is_some() { "unknown keys" } else { cue.name };
        let place = self.place(cue.labelled.record.source_ip);
        let row = format!("{:>5.1}s  {what:<20} {name:<17} {place:<17} {finding:<31} ", at.as_secs_f64());
        let paint = match (answer.action, answer.allowed) {
            (Action::None | Action::Alert, true) => Paint::Good,
            (_, true) => Paint::Warning,
            _ => Paint::Bad,
        };
        let row = if cue.labelled.label.is_none() { self.paint(Paint::Faint, &row) } else { row };
        output::line(&format!("{row}{}", self.paint(paint, &decided(answer))))
    }

    /// Shows how the demo went, against what was labelled.
    pub(super) fn result(&self, score: &Score) -> io::Result<()> {
        output::line("")?;
        for (name, kind) in &score.attacks {
            let (paint, found) = if kind.found == kind.attacks {
                let delay = kind.median_delay.unwrap_or(0) as f64 / 1000.0;
                (Paint::Good, format!("found after {delay:.1} s"))
            } else {
                (Paint::Bad, "missed".to_owned())
            };
            let by: Vec<&str> = kind.by.keys().map(|finding| finding.name()).collect();
            output::line(&format!("  {name:<20} {:<18} {}", self.paint(paint, &found), by.join(", ")))?;
        }
        let (attacks, benign) = (score.all_attacks(), score.all_benign());
        let sum = format!(
            "attacks found: {} of {}; rightful keys refused: {} of {}",
            attacks.found, attacks.attacks, benign.keys_refused, benign.keys
        );
        output::line(&format!("\n{}", self.paint(Paint::Strong, &sum)))
    }

    pub(super) fn serving_on(&self, address: SocketAddr) -> io::Result<()> {
        output::line(&format!(
            "\nStill serving on http://{address}: try the lines above. Ctrl-C ends the demo."
        ))
    }

    /// Where an address is, as far as the demo database knows.
    pub(super) fn place(&self, address: IpAddr) -> String {
        let place = self.places.as_ref().and_then(|db| db.lookup(address)).map(|place| place.summary());
        let country = place.as_ref().and_then(|place| place.country.clone());
        let city = place.and_then(|place| place.city);
        match (city, country) {
            (Some(city), Some(country)) => format!("{city} {country}"),
            (None, Some(country)) => country,
            _ => address.to_string(),
        }
    }

    /// Text in a colour, where there are any.
    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Strong => 1,
            Paint::Faint => 2,
            Paint::Good => 32,
            Paint::Warning => 33,
            Paint::Bad => 31,
        };
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A request as a line for a shell.
fn curl(url: &str, record: &WireRecord) -> String {
    let body = serde_json::json!({
        "key_id": record.key_id, "endpoint": record.endpoint, "model": record.model,
        "tokens_used": record.tokens_used, "source_ip": record.source_ip, "user_agent": record.user_agent,
    });
    format!("  curl -s {url}/v1/record -H 'content-type: application/json' -d '{body}'")
}

fn decided(answer: &Answer) -> String {
    let span = answer.retry_after_seconds.map(|seconds| match seconds {
        s if s < 60 => format!(" for {s} s"),
        s if s < 7_200 => format!(" for {} min", s / 60),
        s => format!(" for {} h", s / 3_600),
    });
    match (answer.action, answer.allowed) {
        (Action::None, true) => "allowed".to_owned(),
        (action, true) => format!("allowed, {}", action.name()),
        (action, false) => {
            let reason = answer.reason.as_deref().unwrap_or_default();
            let done = if action == Action::None { "refused" } else { action.name() };
            format!("{done}{} ({reason})", span.unwrap_or_default())
        }
    }
}
