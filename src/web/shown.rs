//! Times, events and standings as templates show them.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    domain::{
        Millis,
        event::{Event, format_millis},
        money::Usd,
        standing::StandingState,
        wording::whole,
    },
    http::bans,
    store::StandingRecord,
};

pub(super) use crate::domain::wording::{in_words, money};

/// What needs no escape in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A moment: for machines, and in UTC for people. A script shows it in the zone of whoever looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// As RFC 3339 in UTC, with milliseconds.
    pub iso: String,
    /// As `2026-03-02 09:13:22 UTC`.
    pub text: String,
}

impl Moment {
    /// The moment at so many milliseconds since 1970.
    pub(super) fn at(millis: Millis) -> Self {
        let iso = format_millis(millis);
        let text = match iso.split_once('T') {
            Some((day, time)) => format!("{day} {} UTC", time.get(..8).unwrap_or(time)),
            None => iso.clone(),
        };
        Self { iso, text }
    }
}

/// A text as a part of a path.
pub(super) fn in_path(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Where a subject is shown.
pub(super) fn subject_path(subject: &str) -> String {
    format!("/ui/subjects/{}", in_path(subject))
}

/// The whole amount to the nano-dollar, for whoever wants to know.
pub(super) fn exact_money(nanos: u64) -> String {
    format!("${}", Usd(nanos))
}

/// A standing as a word for people and one for the style sheet.
pub(super) fn state_words(state: StandingState) -> (&'static str, &'static str) {
    match state {
        StandingState::Clear => ("clear", "clear"),
        StandingState::Throttled => ("slowed down", "throttled"),
        StandingState::TemporarilyBanned => ("banned", "banned"),
        StandingState::PermanentlyBanned => ("banned for good", "banned"),
    }
}

/// An event in a list.
#[derive(Debug)]
pub(super) struct EventRow {
    /// Its id as the log has it.
    pub name: String,
    /// Its id, as a part of a path.
    pub id: String,
    /// When the event happened.
    pub at: Moment,
    /// Its type in words.
    pub title: String,
    /// Its type on the wire.
    pub kind: &'static str,
    /// Its severity, by the name on the wire.
    pub severity: &'static str,
    /// Whom it is about; empty: nobody.
    pub subject: String,
    /// Where that subject is shown.
    pub subject_path: String,
    /// The subject as a parameter.
    pub subject_query: String,
    /// Why, in a sentence; empty where nobody says.
    pub why: String,
    /// Where from; empty where that is not known.
    pub place: String,
    /// How many equal events it stands for, where more than one.
    pub times: Option<String>,
    /// Who did it, where a person did.
    pub by: Option<String>,
    /// What was done, where something was.
    pub action: Option<String>,
}

impl From<&Event> for EventRow {
    fn from(event: &Event) -> Self {
        let subject = event.subject.as_ref().map(|subject| subject.to_string()).unwrap_or_default();
        let action = event.action.as_deref().filter(|action| *action != "none");
        Self {
            name: event.id.clone(),
            id: in_path(&event.id),
            at: Moment::at(event.time),
            title: in_words(event.kind.name()),
            kind: event.kind.name(),
            severity: event.severity.name(),
            subject_path: subject_path(&subject),
            subject_query: in_path(&subject),
            subject,
            why: event.evidence.why().unwrap_or_default().to_owned(),
            place: event.place.as_ref().map(|place| place.full_name()).unwrap_or_default(),
            times: (event.count > 1).then(|| whole(event.count)),
            by: event.evidence.by().map(str::to_owned),
            action: action.map(in_words),
        }
    }
}

/// A standing in a list.
#[derive(Debug)]
pub(super) struct HeldRow {
    /// Whom the standing holds.
    pub subject: String,
    /// Where that subject is shown.
    pub path: String,
    /// How it is held, in words.
    pub state: &'static str,
    /// The same, for the style sheet.
    pub class: &'static str,
    /// Since when it holds.
    pub since: Moment,
    /// Until when; `None`: for good.
    pub until: Option<Moment>,
    /// Why, in a sentence.
    pub reason: String,
    /// Who put it there: `detector` or `operator`.
    pub origin: &'static str,
    /// Whether it refuses nothing, since the policy only observed.
    pub is_observed: bool,
}

impl HeldRow {
    /// A standing as of `now`.
    pub(super) fn new(app: &crate::http::App, record: &StandingRecord, now: Millis) -> Self {
        let status = bans::status(app, record, now);
        let (state, class) = state_words(status.state);
        let subject = record.subject.to_string();
        Self {
            path: subject_path(&subject),
            subject,
            state,
            class,
            since: Moment::at(record.standing.since),
            until: record.standing.until.map(Moment::at),
            reason: why(record),
            origin: match record.standing.origin {
                crate::domain::standing::Origin::Detector => "detector",
                crate::domain::standing::Origin::Operator => "operator",
            },
            is_observed: record.standing.unenforced,
        }
    }
}

/// Why a subject is held: the sentence of the finding, else the reason that was given.
fn why(record: &StandingRecord) -> String {
    let found = crate::domain::event::FindingEvidence::of(&record.detail.evidence).summary;
    found.unwrap_or(&record.detail.reason).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(subject_path("ip:203.0.113.0/24"), "/ui/subjects/ip:203.0.113.0%2F24");
        assert_eq!(subject_path("key:a?b#c d"), "/ui/subjects/key:a%3Fb%23c%20d");
    }

    #[test]
    fn a_moment_is_for_people_and_for_machines() {
        let moment = Moment::at(1_772_442_802_123);
        assert_eq!((&*moment.iso, &*moment.text), ("2026-03-02T09:13:22.123Z", "2026-03-02 09:13:22 UTC"));
    }

    #[test]
    fn the_whole_amount_is_at_hand() {
        assert_eq!(exact_money(7_456_000), "$0.007456");
    }
}
