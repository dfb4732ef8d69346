//! An event as the collector takes it: one JSON object with the event in it.

use serde_json::json;

use crate::{domain::event::Event, forward::format::Format};

/// Wraps events as the collector takes them.
pub(super) struct Envelope {
    /// What is the same of every event, as members of its object.
    pub metadata: String,
    pub format: Format,
}

impl Envelope {
    /// Appends an event as one object.
    pub(super) fn wrap(&self, event: &Event, out: &mut Vec<u8>) {
        let time = event.time.max(0);
        out.extend(format!("{{\"time\":{}.{:03},{}", time / 1000, time % 1000, self.metadata).bytes());
        let fields = json!({
            "keyward_id": event.id, "keyward_type": event.kind.name(), "keyward_severity": event.severity.name(),
        });
        out.extend(format!("\"fields\":{fields},\"event\":").bytes());
        if self.format.is_json() {
            self.format.render(event, out);
        } else {
            let mut line = Vec::new();
            self.format.render(event, &mut line);
            out.extend(json!(String::from_utf8_lossy(&line)).to_string().bytes());
        }
        out.push(b'}');
    }
}
