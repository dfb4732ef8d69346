//! The syslog message of RFC 5424 around a rendering.
//!
//! The header is printable ASCII, each part cut to the length that section 6 gives it. The structured data repeats what
//! rules route by, so that a relay need not read the body. The body (`MSG`) is UTF-8.
//!
//! The byte order mark: section 6.4 says that a `MSG` in UTF-8 must start with one, and by the grammar a `MSG` without
//! is octets of no stated encoding. Many readers stumble over it, though. So bodies that are pure ASCII, as every JSON
//! rendering is, go without: ASCII needs no encoding to be stated. CEF and LEEF that hold anything else have it; their
//! readers look for `CEF:` and `LEEF:` behind whatever is in front.

use super::{facts::present, text::one_line};
use crate::domain::{
    event::{Event, format_millis},
    finding::Severity,
};

/// The SD-ID used when none is configured. 32473 is the enterprise number for documentation (RFC 5612): whoever has a
/// number of their own should configure it.
pub const DEFAULT_SD_ID: &str = "keyward@32473";
/// The highest facility, `local7`.
const HIGHEST_FACILITY: u8 = 23;
/// The longest value of structured data, in characters.
const LONGEST_VALUE: usize = 255;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What the header says beside the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogHeader {
    /// 0 to 23; 10 (`authpriv`) and 13 (`log audit`) suit security events. Higher ones count as 23.
    pub facility: u8,
    /// The machine, best by its full domain name.
    pub hostname: String,
    /// The name of the program.
    pub app_name: String,
    /// The process, or whatever tells instances apart.
    pub proc_id: String,
    /// The name of the structured data: `name@<private enterprise number>`.
    pub sd_id: String,
}

/// Appends the message for an event, around the `body` that a format rendered. One line, if the body is one.
pub fn message(event: &Event, body: &[u8], settings: &SyslogHeader, out: &mut Vec<u8>) {
    let priority = settings.facility.min(HIGHEST_FACILITY) * 8 + severity(event.severity);
    let header = format!(
        "<{priority}>1 {} {} {} {} {} ",
        timestamp(event),
        printable(&settings.hostname, 255),
        printable(&settings.app_name, 48),
        printable(&settings.proc_id, 128),
        printable(event.kind.name(), 32),
    );
    out.extend_from_slice(header.as_bytes());
    structured_data(event, &settings.sd_id, out);
    out.push(b' ');
    if !body.is_ascii() && !body.starts_with(BYTE_ORDER_MARK) {
        out.extend_from_slice(BYTE_ORDER_MARK);
    }
    out.extend_from_slice(body);
}

/// Syslog's numerical severity: 2 critical, 3 error, 4 warning, 5 notice.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 5,
        Severity::Medium => 4,
        Severity::High => 3,
        Severity::Critical => 2,
    }
}

/// UTC with milliseconds; nothing (`-`) for a year that does not have four digits.
fn timestamp(event: &Event) -> String {
    let text = format_millis(event.time);
    if text.len() == "2026-03-02T09:13:22.123Z".len() { text } else { "-".to_owned() }
}

/// `text` in printable ASCII without spaces, `_` for what is not, cut after `most`; `-` when empty.
fn printable(text: &str, most: usize) -> String {
    let text: String = text.chars().take(most).map(|c| if c.is_ascii_graphic() { c } else { '_' }).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// An SD-NAME: printable ASCII but for `=`, `]` and `"`, at most 32.
fn sd_name(text: &str) -> String {
    let text = if text.is_empty() { DEFAULT_SD_ID } else { text };
    printable(text, 32).replace(['=', ']', '"'], "_")
}

fn structured_data(event: &Event, sd_id: &str, out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(sd_name(sd_id).as_bytes());
    let count = event.count.to_string();
    let params = [
        ("id", Some(event.id.as_str()).filter(|id| !id.is_empty())),
        ("subject", event.subject.as_ref().map(|subject| subject.as_str())),
        ("key", present(&event.key_id)),
        ("src", present(&event.source_ip)),
        ("type", Some(event.kind.name())),
        ("severity", Some(event.severity.name())),
        ("detector", present(&event.detector)),
        ("action", present(&event.action)),
        ("count", Some(count.as_str())),
    ];
    for (name, value) in params {
        if let Some(value) = value {
            param(name, value, out);
        }
    }
    out.push(b']');
}

/// `name="value"`, with the three characters escaped that section 6.3.3 names, and no other.
fn param(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(" {name}=\"").as_bytes());
    for c in one_line(value, LONGEST_VALUE).chars() {
        if matches!(c, '"' | '\\' | ']') {
            out.push(b'\\');
        }
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.push(b'"');
}
