//! ArcSight Common Event Format, version 0: a header of seven parts and an extension of `key=value` pairs.
//!
//! Escaped are, in the header, `\` and `|`; in extension values `\`, `=`, CR and LF (as `\r` and `\n`). What else would
//! break a line is a space. Lengths are those of the extension dictionary. A key is written only when it has a value.
//!
//! Only what the dictionary gives to producers is used: `slat` and `slong` are its consumers', so coordinates go into
//! labelled floating-point fields. IPv4 goes into `src`, IPv6 into `c6a2`: in version 0, `src` takes no IPv6.

use std::net::IpAddr;

use super::{
    facts, json,
    product::{PRODUCT, VENDOR, VERSION},
    text, wording,
};
use crate::domain::{
    decision::Reason,
    event::{Event, EvidenceAmount},
};

/// What a custom string (`cs1` to `cs6`) may hold, in characters.
const LONGEST_CUSTOM: usize = 4000;
/// What `suid`, `msg` and most others may hold.
const LONGEST: usize = 1023;

/// Appends the event as one line, without a line break.
pub(super) fn render(event: &Event, out: &mut Vec<u8>) {
    let name = wording::name(event);
    let severity = facts::severity_of_ten(event.severity).to_string();
    let header = [VENDOR, PRODUCT, VERSION, event.kind.name(), &name, &severity];
    out.extend_from_slice(b"CEF:0");
    for part in header {
        out.push(b'|');
        out.extend_from_slice(header_value(part).as_bytes());
    }
    out.push(b'|');
    extension(event, &mut Extension { out, first: true });
}

fn extension(event: &Event, to: &mut Extension<'_>) {
    let group = facts::EventGroup::of(event);
    to.pair("rt", &event.time.to_string(), LONGEST);
    to.pair("externalId", &event.id, 40);
    to.pair("cat", group.name(), LONGEST);
    to.some("act", facts::present(&event.action), 63);
    if event.count > 1 {
        to.pair("cnt", &event.count.to_string(), LONGEST);
    }
    // Of an act of a person, the key is what was acted on, and the source user is who acted.
    to.some("suid", facts::actor(event), LONGEST);
    let user = if group == facts::EventGroup::Administration { "duid" } else { "suid" };
    to.some(user, facts::present(&event.key_id), LONGEST);
    match facts::address(event) {
        Some(IpAddr::V4(address)) => to.pair("src", &address.to_string(), LONGEST),
        Some(IpAddr::V6(address)) => to.labelled("c6a2", "Source IPv6 Address", &address.to_string()),
        None => {}
    }
    to.pair("msg", &wording::message(event), LONGEST);
    to.some("reason", event.evidence.reason(), LONGEST);
    if group == facts::EventGroup::Administration {
        to.pair("outcome", "success", 63);
    }
    custom(event, to);
}

fn custom(event: &Event, to: &mut Extension<'_>) {
    let place = event.place.as_ref();
    let found = event.evidence.finding();
    let number = |amount: Option<EvidenceAmount>| Some(amount?.number()?.to_string());
    let coordinates = facts::coordinates(event);
    let labelled = [
        ("cs1", "Detector", event.detector.clone()),
        ("cs2", "Source Country", place.and_then(|place| place.country.clone())),
        ("cs3", "Request ID", event.request_id.clone()),
        ("cs4", "Policy Version", event.policy_version.clone()),
        ("cs5", "Subject", event.subject.as_ref().map(|subject| subject.as_str().to_owned())),
        ("cs6", "Evidence", evidence(event)),
        ("cn1", "Source AS Number", place.and_then(|place| place.asn).map(|asn| asn.to_string())),
        ("cn2", "Samples", found.samples.map(|samples| samples.to_string())),
        ("cfp1", "Observed", number(found.observed)),
        ("cfp2", "Threshold", number(found.threshold)),
        ("cfp3", "Source Latitude", coordinates.map(|(latitude, _)| latitude.to_string())),
        ("cfp4", "Source Longitude", coordinates.map(|(_, longitude)| longitude.to_string())),
    ];
    for (key, label, value) in labelled {
        if let Some(value) = value {
            to.labelled(key, label, &value);
        }
    }
    // The dictionary has no key for these: named by its rule for keys of one's own, vendor, product, name.
    to.some("KeywardKeywardSourceCity", place.and_then(|place| facts::present(&place.city)), LONGEST);
    if let Some(would) = event.would {
        to.pair("KeywardKeywardWouldAction", would.action.name(), 63);
        to.some("KeywardKeywardWouldReason", would.reason.map(Reason::name), 63);
    }
}

/// The evidence as JSON, never cut in the middle.
fn evidence(event: &Event) -> Option<String> {
    let (evidence, _) = facts::evidence(event, LONGEST_CUSTOM);
    let is_empty = evidence.is_null() || evidence.as_object().is_some_and(serde_json::Map::is_empty);
    (!is_empty).then(|| json::line(&evidence))
}

fn header_value(text: &str) -> String {
    text::one_line(text, 512).replace('\\', "\\\\").replace('|', "\\|")
}

/// The pairs, with a space between each two.
struct Extension<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Extension<'_> {
    /// Writes a pair, unless nothing is left of its value.
    fn pair(&mut self, key: &str, value: &str, most: usize) {
        let value = text::plain(value, most, &[], &['\r', '\n']);
        if value.is_empty() {
            return;
        }
        if !std::mem::take(&mut self.first) {
            self.out.push(b' ');
        }
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(b'=');
        for c in value.chars() {
            match c {
                '\\' => self.out.extend_from_slice(b"\\\\"),
                '=' => self.out.extend_from_slice(b"\\="),
                '\r' => self.out.extend_from_slice(b"\\r"),
                '\n' => self.out.extend_from_slice(b"\\n"),
                c => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn some(&mut self, key: &str, value: Option<&str>, most: usize) {
        self.pair(key, value.unwrap_or_default(), most);
    }

    /// A custom field and what it means.
    fn labelled(&mut self, key: &str, label: &str, value: &str) {
        let before = self.out.len();
        self.pair(key, value, LONGEST_CUSTOM);
        if self.out.len() > before {
            self.pair(&format!("{key}Label"), label, LONGEST);
        }
    }
}
