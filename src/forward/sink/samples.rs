//! Events with anything in them, for the tests of what is sent.

use proptest::prelude::*;
use serde_json::{Map, json};

use crate::{
    domain::{
        event::{Event, EventType},
        finding::Severity,
        subject::Subject,
    },
    forward::format::Format,
};

/// An event whose texts are arbitrary.
pub(super) fn event() -> impl Strategy<Value = Event> {
    let severity = prop::sample::select(vec![Severity::Low, Severity::High, Severity::Critical]);
    let texts = (any::<String>(), any::<String>(), any::<String>(), any::<String>());
    let evidence = prop::collection::btree_map(any::<String>(), any::<String>(), 0..4);
    (0..4_102_444_800_000_i64, severity, texts, evidence, "[0-9]{1,6}").prop_map(
        |(time, severity, (key, address, reason, request), evidence, id)| {
            let subject = Some(Subject::key(&key));
            let mut event = Event::new(time, EventType::TemporaryBan, severity, subject);
            let mut members: Map<_, _> = evidence.into_iter().map(|(k, v)| (k, json!(v))).collect();
            members.insert("reason".to_owned(), json!(reason));
            event.id = format!("{id}-{}", key.len());
            event.key_id = Some(key);
            event.source_ip = Some(address);
            event.evidence = serde_json::Value::Object(members).into();
            event.request_id = Some(request);
            event
        },
    )
}

/// The event in this format.
pub(super) fn rendered(format: Format, event: &Event) -> String {
    let mut line = Vec::new();
    format.render(event, &mut line);
    String::from_utf8(line).unwrap()
}
