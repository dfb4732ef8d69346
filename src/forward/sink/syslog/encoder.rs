//! Events as messages that fit, framed for the transport.

use serde::Deserialize;

use crate::{
    domain::event::Event,
    forward::format::{
        Format, evidence_bytes,
        syslog::{SyslogHeader, message},
        with_less_evidence,
    },
};

/// How many bytes the note takes that evidence is missing.
const TRUNCATED: usize = r#","truncated":true"#.len();

/// How the end of a message is marked in a stream (RFC 6587, 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Framing {
    /// Its length comes first. TLS knows no other.
    #[default]
    OctetCounting,
    /// A line feed comes last; there is none in a message.
    Lf,
}

/// How messages are encoded.
#[derive(Debug, Clone)]
pub(super) struct MessageEncoder {
    pub format: Format,
    pub header: SyslogHeader,
    pub framing: Framing,
    /// The longest message, in bytes.
    pub max_bytes: usize,
}

impl MessageEncoder {
    /// The message for an event, without a frame. What is too long has less evidence.
    ///
    /// # Errors
    /// Why it can never be sent: it is too long without any evidence.
    pub(super) fn message(&self, event: &Event) -> Result<Vec<u8>, String> {
        let whole = self.render(event);
        let Some(mut excess) = whole.len().checked_sub(self.max_bytes + 1) else { return Ok(whole) };
        let mut left = evidence_bytes(event);
        // Formats that repeat or bound evidence need several attempts; at least an eighth goes each time.
        while left > 0 {
            left = left.saturating_sub(excess + 1 + TRUNCATED).min(left - left.div_ceil(8));
            let shorter = self.render(&with_less_evidence(event, left));
            match shorter.len().checked_sub(self.max_bytes + 1) {
                None => return Ok(shorter),
                Some(still) => excess = still,
            }
        }
        let (length, most) = (whole.len(), self.max_bytes);
        Err(format!(
            "its message has {length} bytes, and too many without its evidence: max_message_bytes is {most}"
        ))
    }

    /// The frames for events, one after the other, and the indexes of the events that have none, with why.
    pub(super) fn frames(&self, events: &[Event]) -> (Vec<u8>, Vec<(usize, String)>) {
        let (mut frames, mut refused) = (Vec::with_capacity(events.len() * 1_024), Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.message(event) {
                Ok(message) => self.frame(&message, &mut frames),
                Err(why) => refused.push((index, why)),
            }
        }
        (frames, refused)
    }

    fn frame(&self, message: &[u8], frames: &mut Vec<u8>) {
        match self.framing {
            Framing::OctetCounting => {
                frames.extend_from_slice(message.len().to_string().as_bytes());
                frames.push(b' ');
                frames.extend_from_slice(message);
            }
            Framing::Lf => {
                frames.extend_from_slice(message);
                frames.push(b'\n');
            }
        }
    }

    fn render(&self, event: &Event) -> Vec<u8> {
        let mut body = Vec::with_capacity(1_024);
        self.format.render(event, &mut body);
        let mut out = Vec::with_capacity(body.len() + 512);
        message(event, &body, &self.header, &mut out);
        out
    }
}
