//! Whatever an event holds, each format renders it as one line in UTF-8, the JSON ones as JSON; and so does syslog.
#![no_main]

use keyward::{
    domain::event::Event,
    forward::format::{
        Format,
        syslog::{self, SyslogHeader},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first line is the names of the header, the rest an event as the log keeps it.
    let text = String::from_utf8_lossy(bytes);
    let (names, event) = text.split_once('\n').unwrap_or_default();
    let Ok(event) = serde_json::from_str::<Event>(event) else { return };
    let mut names = names.split('\0').map(str::to_owned);
    let mut name = || names.next().unwrap_or_default();
    let settings = SyslogHeader {
        facility: bytes.len() as u8,
        hostname: name(),
        app_name: name(),
        proc_id: name(),
        sd_id: name(),
    };
    for format in Format::ALL {
        let (mut body, mut message) = (Vec::new(), Vec::new());
        format.render(&event, &mut body);
        if format.is_json() {
            serde_json::from_slice::<serde_json::Value>(&body).expect("JSON");
        }
        syslog::message(&event, &body, &settings, &mut message);
        for line in [body, message] {
            let line = String::from_utf8(line).expect("UTF-8");
            let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
            assert!(!line.is_empty() && !line.contains(breaks), "{}: {line:?}", format.name());
        }
    }
});
