//! What a replay came to, for programs: the figures of its text, times in RFC 3339.

use serde_json::{Map, Value, json};

use super::{
    compared::{Compared, Difference},
    figures::{DayRow, DetectorRow, Figures, SubjectRow},
};
use crate::domain::{Millis, event::format_millis};

impl Figures {
    /// The figures as JSON.
    pub fn json(&self) -> Value {
        let time = |at: Millis| format_millis(at);
        json!({
            "records": self.records,
            "bad_lines": self.bad_lines,
            "first_bad": self.first_bad,
            "from": self.span.map(|(first, _)| time(first)),
            "to": self.span.map(|(_, last)| time(last)),
            "observed": self.observed,
            "keys": self.keys,
            "key_days": self.key_days,
            "refused": self.refused,
            "keys_refused": self.keys_refused,
            "throttled": self.throttled,
            "keys_throttled": self.keys_throttled,
            "keys_banned": self.keys_banned,
            "addresses_banned": self.addresses_banned,
            "serious_findings": self.serious,
            "reasons": counts(&self.reasons),
            "detectors": self.detectors.iter().map(detector).collect::<Vec<_>>(),
            "days": self.days.iter().map(day).collect::<Vec<_>>(),
            "subjects": self.subjects.iter().map(subject).collect::<Vec<_>>(),
            "more_subjects": self.more_subjects,
        })
    }
}

impl Compared {
    /// The comparison as JSON; of each pair the first is under the new policy.
    pub fn json(&self) -> Value {
        json!({
            "differing": self.differing,
            "keys": self.keys,
            "totals": pairs(self.totals.iter().map(|(what, pair)| (*what, pair))),
            "findings": pairs(self.findings.iter().map(|(what, pair)| (what.as_str(), pair))),
            "banned_new_only": self.new_only,
            "banned_old_only": self.old_only,
            "banned_at_other_times": self.other_times,
            "subjects": self.rows.iter().map(difference).collect::<Vec<_>>(),
            "more_subjects": self.more,
        })
    }
}

fn pairs<'a>(named: impl Iterator<Item = (&'a str, &'a [u64; 2])>) -> Map<String, Value> {
    named.map(|(what, pair)| (what.to_owned(), json!(pair))).collect()
}

fn counts(reasons: &[(&'static str, u64)]) -> Map<String, Value> {
    reasons.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count))).collect()
}

fn detector(row: &DetectorRow) -> Value {
    let DetectorRow { name, findings, serious, keys, banned } = row;
    json!({ "type": name, "findings": findings, "serious": serious, "keys": keys, "banned": banned })
}

fn day(row: &DayRow) -> Value {
    let DayRow { day, requests, refused, throttled, bans } = row;
    let day = format_millis(*day);
    json!({ "day": day, "requests": requests, "refused": refused, "throttled": throttled, "bans": bans })
}

fn subject(row: &SubjectRow) -> Value {
    json!({
        "subject": row.subject,
        "requests": row.requests,
        "refused": row.refused,
        "throttled": row.throttled,
        "bans": row.bans,
        "first_ban": row.first_ban.map(format_millis),
        "detectors": row.detectors,
        "reasons": counts(&row.reasons),
    })
}

fn difference(row: &Difference) -> Value {
    let Difference { subject, banned, refused, throttled, differing, first } = row;
    json!({
        "subject": subject, "banned": banned, "refused": refused, "throttled": throttled, "differing": differing,
        "first": first,
    })
}
