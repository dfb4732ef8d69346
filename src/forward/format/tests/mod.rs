//! What the formats write: golden lines, the rules of each format for any text, and what schemas require.

mod cases;
mod golden;
mod hostile;
mod parsers;
mod schemas;

use super::{
    Format,
    syslog::{DEFAULT_SD_ID, SyslogHeader},
};
use crate::domain::event::Event;

fn line(format: Format, event: &Event) -> String {
    let mut out = Vec::new();
    format.render(event, &mut out);
    String::from_utf8(out).unwrap()
}

fn header() -> SyslogHeader {
    SyslogHeader {
        facility: 13,
        hostname: "gateway-1.example.com".to_owned(),
        app_name: "keyward".to_owned(),
        proc_id: "4711".to_owned(),
        sd_id: DEFAULT_SD_ID.to_owned(),
    }
}

fn message(event: &Event, body: &str, settings: &SyslogHeader) -> String {
    let mut out = Vec::new();
    super::syslog::message(event, body.as_bytes(), settings, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn names_are_those_of_the_configuration() {
    for format in Format::ALL {
        let name = serde_json::to_value(format).unwrap();
        assert_eq!(name, format.name());
        assert_eq!(serde_json::from_value::<Format>(name).unwrap(), *format);
    }
}

#[test]
fn a_rendering_is_appended() {
    let mut out = b"before\n".to_vec();
    Format::Cef.render(&cases::throttled(), &mut out);
    assert!(out.starts_with(b"before\nCEF:0|Keyward|Keyward|"));
}
