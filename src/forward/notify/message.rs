//! A notice in words: a headline, and lines that say who, why, what was done, how much, and how to undo it.
//!
//! Everything is plain text on one line each, whatever is in an event; what markup or headers need beyond that is the
//! channel's own.

use super::{
    notice::{Notice, NoticeKind},
    rule::Restriction,
};
use crate::{
    domain::{Millis, event::format_millis},
    forward::format::text::one_line,
};

/// Most characters of a headline.
const MAX_HEADLINE: usize = 200;
/// Most characters of a line.
const MAX_LINE: usize = 600;
/// Most groups that are named in a notice about what was held back.
pub(super) const MAX_NAMED: usize = 10;

/// What a notice says, in a line.
pub(super) fn headline(notice: &Notice) -> String {
    let what = what(notice);
    let severity = notice.severity.name().to_uppercase();
    let text = match notice.kind {
        NoticeKind::Firing => format!("[{severity}] {what}{}", held(notice.restriction)),
        NoticeKind::Update => {
            format!("[{severity}] {what}{}: {} more", held(notice.restriction), events(notice.events))
        }
        NoticeKind::Acknowledged => format!("[{severity}] {what}: an analyst called it an attack"),
        NoticeKind::Resolved => {
            let why = notice.end.map_or_else(String::new, |end| format!(" ({})", end.words()));
            format!("Resolved: {what}{why}")
        }
        NoticeKind::HeldBack => {
            let held = notice.parts.len();
            format!("[{severity}] {held} notices were held back: {}", events(notice.events))
        }
    };
    one_line(&text, MAX_HEADLINE)
}

/// What a notice says beside its headline: a word and what it is about.
pub(super) fn lines(notice: &Notice) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if notice.kind == NoticeKind::HeldBack {
        lines.push((
            "Why",
            "more messages were due than this channel may get; this one stands for them".to_owned(),
        ));
        for part in notice.parts.iter().take(MAX_NAMED) {
            let subject = part.subject.as_ref().map_or("", |subject| subject.as_str());
            let over = if part.end.is_some() { ", over" } else { "" };
            let severity = part.severity.name();
            lines.push((
                "Held",
                format!("{} {subject} ({severity}, {}{over})", part.title, events(part.events)),
            ));
        }
        if let Some(more) = notice.parts.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
            lines.push(("Held", format!("and {more} more")));
        }
        lines.push(("When", span(notice)));
    } else {
        who(notice, &mut lines);
        for sample in &notice.samples {
            lines.push(("Why", sample.message.clone()));
        }
        if let Some(done) = done(notice) {
            lines.push(("Done", done));
        }
        lines.push(("When", format!("{}, {}", span(notice), counted(notice))));
        if let (Some(_), Some(subject), None) = (notice.restriction, &notice.subject, notice.end) {
            lines.push(("Undo", format!("keyward unban {}", quoted(subject.as_str()))));
        }
        if let Some(sample) = notice.samples.last().filter(|sample| !sample.event.is_empty()) {
            lines.push(("Event", sample.event.clone()));
        }
    }
    for (_, text) in &mut lines {
        *text = one_line(text, MAX_LINE);
    }
    lines
}

/// The lines as text.
pub(super) fn body(notice: &Notice) -> String {
    let lines = lines(notice).into_iter().map(|(word, text)| format!("{word}: {text}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn what(notice: &Notice) -> String {
    let observed = notice.samples.last().is_some_and(|sample| sample.unenforced);
    let mode = if observed { " (observed only)" } else { "" };
    match &notice.subject {
        Some(subject) => format!("{}{mode}: {subject}", notice.title),
        None => format!("{}{mode}", notice.title),
    }
}

fn held(restriction: Option<Restriction>) -> String {
    restriction.map_or_else(String::new, |restriction| format!(" {}", restriction_words(restriction)))
}

fn restriction_words(restriction: Restriction) -> String {
    let what = if restriction.ban { "banned" } else { "throttled" };
    match restriction.until {
        Some(until) => format!("{what} until {}", time(until)),
        None => format!("{what} until somebody lifts it"),
    }
}

fn who(notice: &Notice, lines: &mut Vec<(&'static str, String)>) {
    if let Some(subject) = &notice.subject {
        lines.push(("Who", subject.as_str().to_owned()));
    }
    let Some(sample) = notice.samples.last() else { return };
    let is_subject = |id: &str| notice.subject.as_ref().is_some_and(|subject| subject.id() == id);
    if let Some(key) = sample.key_id.as_deref().filter(|key| !is_subject(key)) {
        lines.push(("Key", key.to_owned()));
    }
    if let Some(project) = &sample.project {
        lines.push(("Project", project.clone()));
    }
    match (&sample.source_ip, &sample.place) {
        (Some(address), Some(place)) => lines.push(("From", format!("{address}, {place}"))),
        (Some(text), None) | (None, Some(text)) => lines.push(("From", text.clone())),
        (None, None) => {}
    }
}

fn done(notice: &Notice) -> Option<String> {
    if let Some(end) = notice.end {
        return Some(format!("over: {}", end.words()));
    }
    if let Some(restriction) = notice.restriction {
        return Some(restriction_words(restriction));
    }
    let last = notice.samples.last()?;
    if last.unenforced {
        return Some("nothing: the policy only observes".to_owned());
    }
    let action = match last.action.as_deref()? {
        "shadow" => "nothing: the detector only watches",
        "alert" | "none" => "nothing but this notice",
        "throttle" => "throttled",
        "temporary_ban" => "banned for a time",
        "permanent_ban" => "banned until somebody lifts it",
        other => return Some(other.replace('_', " ")),
    };
    Some(action.to_owned())
}

fn counted(notice: &Notice) -> String {
    match notice.events {
        counted if counted == notice.total => events(counted),
        0 => format!("{} in all", events(notice.total)),
        counted => format!("{} more, {} in all", events(counted), notice.total),
    }
}

fn events(count: u64) -> String {
    if count == 1 { "1 event".to_owned() } else { format!("{count} events") }
}

fn span(notice: &Notice) -> String {
    let (first, last) = (time(notice.first), time(notice.last));
    if first == last { first } else { format!("{first} to {last}") }
}

/// A time in seconds, such as `2026-03-02 09:13:22 UTC`.
pub(super) fn time(time: Millis) -> String {
    let text = format_millis(time);
    let whole = text.split('.').next().unwrap_or_default();
    format!("{} UTC", whole.replace('T', " "))
}

/// As a shell takes it for one word, whatever is in it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_copied_into_a_shell_is_one_word_there() {
        assert_eq!(quoted("key:k1:9f2c41d0"), "key:k1:9f2c41d0");
        assert_eq!(quoted("key:$(reboot)"), "'key:$(reboot)'");
        assert_eq!(quoted("key:a';b"), r"'key:a'\'';b'");
    }

    #[test]
    fn times_are_short_and_say_where_they_are() {
        assert_eq!(time(1_772_442_802_123), "2026-03-02 09:13:22 UTC");
    }
}
