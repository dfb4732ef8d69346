//! QRadar Log Event Extended Format, version 2.0.
//!
//! The delimiter is `^`, not the tab: LEEF travels by syslog, where RFC 5424 (6.4) advises against octets below 32 and
//! rsyslog, for one, rewrites tabs on receipt unless told otherwise. LEEF has no escape, so a caret in a value is a
//! space, as are all characters that could break the line.
//!
//! Predefined keys are used where there is one (`cat`, `devTime`, `sev`, `src`, `usrName`, `policy`); the others are
//! our own, and the rules for those hold: one alphanumeric word, no predefined name, each at most once.

use super::{
    facts, json,
    product::{PRODUCT, VENDOR, VERSION},
    text, wording,
};
use crate::domain::{
    calendar::strftime,
    event::{Event, EvidenceAmount},
};

const DELIMITER: char = '^';
/// How `devTime` is written, in the words of Java's `SimpleDateFormat`; one of the patterns that IBM suggests.
const TIME_FORMAT: &str = "MMM dd yyyy HH:mm:ss.SSS z";
/// The same in the words of `strftime`.
const STRFTIME: &str = "%b %d %Y %H:%M:%S%.3f GMT";
/// What `usrName` may hold.
const LONGEST_NAME: usize = 255;
const LONGEST: usize = 4000;

/// Appends the event as one line, without a line break.
pub(super) fn render(event: &Event, out: &mut Vec<u8>) {
    let header = format!("LEEF:2.0|{VENDOR}|{PRODUCT}|{VERSION}|{}|{DELIMITER}|", event.kind.name());
    out.extend_from_slice(header.as_bytes());
    let mut first = true;
    for (key, value, most) in attributes(event) {
        let value = text::plain(&value.unwrap_or_default(), most, &[DELIMITER], &[]);
        if value.is_empty() {
            continue;
        }
        let between = if std::mem::take(&mut first) { "" } else { "^" };
        out.extend_from_slice(format!("{between}{key}={value}").as_bytes());
    }
}

fn attributes(event: &Event) -> Vec<(&'static str, Option<String>, usize)> {
    let place = event.place.as_ref();
    let coordinates = facts::coordinates(event);
    let found = event.evidence.finding();
    let number = |amount: Option<EvidenceAmount>| Some(amount?.number()?.to_string());
    let time = strftime(event.time, STRFTIME);
    let format = time.is_some().then(|| TIME_FORMAT.to_owned());
    vec![
        ("cat", Some(facts::EventGroup::of(event).name().to_owned()), LONGEST),
        ("devTime", time, LONGEST),
        ("devTimeFormat", format, LONGEST),
        ("sev", Some(facts::severity_of_ten(event.severity).to_string()), LONGEST),
        ("src", facts::address(event).map(|address| address.to_string()), LONGEST),
        ("usrName", user(event), LONGEST_NAME),
        ("policy", event.policy_version.clone(), LONGEST),
        ("externalId", Some(event.id.clone()), LONGEST),
        ("eventName", Some(wording::name(event).into_owned()), LONGEST),
        ("msg", Some(wording::message(event)), LONGEST),
        ("subject", event.subject.as_ref().map(|subject| subject.as_str().to_owned()), LONGEST),
        ("detector", event.detector.clone(), LONGEST),
        ("action", event.action.clone(), LONGEST),
        ("wouldAction", event.would.map(|would| would.action.name().to_owned()), LONGEST),
        ("wouldReason", event.would.and_then(|would| Some(would.reason?.name().to_owned())), LONGEST),
        ("count", Some(event.count.to_string()), LONGEST),
        ("requestId", event.request_id.clone(), LONGEST),
        ("country", place.and_then(|place| place.country.clone()), LONGEST),
        ("city", place.and_then(|place| place.city.clone()), LONGEST),
        ("asn", place.and_then(|place| place.asn).map(|asn| asn.to_string()), LONGEST),
        ("latitude", coordinates.map(|(latitude, _)| latitude.to_string()), LONGEST),
        ("longitude", coordinates.map(|(_, longitude)| longitude.to_string()), LONGEST),
        ("observed", number(found.observed), LONGEST),
        ("baseline", number(found.baseline), LONGEST),
        ("threshold", number(found.threshold), LONGEST),
        ("evidence", evidence(event), LONGEST),
    ]
}

/// Who did it: of an act of a person who acted, and the key is what was acted on, as `subject` says.
fn user(event: &Event) -> Option<String> {
    match facts::EventGroup::of(event) {
        facts::EventGroup::Administration => facts::actor(event).map(str::to_owned),
        _ => event.key_id.clone(),
    }
}

/// The evidence as JSON, never cut in the middle. Carets are written as an escape of JSON's: so nothing is lost.
fn evidence(event: &Event) -> Option<String> {
    let (evidence, _) = facts::evidence(event, LONGEST / 2);
    let is_empty = evidence.is_null() || evidence.as_object().is_some_and(serde_json::Map::is_empty);
    let line = || json::line(&evidence).replace(DELIMITER, "\\u005e");
    (!is_empty).then(line).filter(|line| line.len() <= LONGEST)
}
