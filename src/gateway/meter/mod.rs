//! Reads a copy of a stream: where events end, what they use, whether the answer is whole. Pure; the bytes that go on
//! to the client are the provider's.

mod scanner;

use bytes::{Bytes, BytesMut};

use self::scanner::{Piece, Scanner, fields};
use super::dialect::{surface::Surface, usage::Usage};

/// Bytes of an event too large to be held by which it is told what it is.
const BEGINNING: usize = 1024;

/// How a stream began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// Nothing of an answer has come yet.
    No,
    /// An event of an answer has come.
    Content,
    /// The first event says that the provider failed.
    Failure,
}

/// Reads the events of one stream.
pub(super) struct Meter {
    surface: &'static Surface,
    scanner: Scanner,
    /// Whether a chunk that has nothing but usage is taken out.
    drops_usage: bool,
    /// Whether the event that is too large to be held is the last.
    is_large_end: bool,
    /// How the stream has begun.
    pub begun: Begun,
    /// What it used, as far as it was said.
    pub usage: Usage,
    /// Whether that is the usage of the whole answer.
    pub is_final: bool,
    /// Whether the last event of the answer has come.
    pub has_ended: bool,
    /// Whether the provider said in the stream that it failed.
    pub has_failed: bool,
    /// Events of the answer so far.
    pub events: u64,
}

impl Meter {
    /// For a stream of this interface; `drops_usage`: its chunk of usage is one that the client did not ask for.
    pub(super) fn new(surface: &'static Surface, drops_usage: bool) -> Self {
        Self {
            surface,
            scanner: Scanner::default(),
            drops_usage,
            is_large_end: false,
            begun: Begun::No,
            usage: Usage::default(),
            is_final: false,
            has_ended: false,
            has_failed: false,
            events: 0,
        }
    }

    /// Takes in what has come, and returns what of it goes on: whole events alone, unless one is too large to be held.
    pub(super) fn push(&mut self, chunk: Bytes) -> Bytes {
        let mut pieces = self.scanner.push(chunk);
        pieces.retain(|piece| self.passes(piece));
        match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.swap_remove(0).into_bytes(),
            _ => joined(&pieces),
        }
    }

    /// Whether what goes on so far ends with a whole event.
    pub(super) fn is_between_events(&self) -> bool {
        !self.scanner.is_within_large()
    }

    /// What is left when the stream ends: a provider may leave out the last blank line.
    pub(super) fn finish(&mut self) -> Bytes {
        match self.scanner.finish() {
            Some(rest) if self.passes(&Piece::Event(rest.clone())) => rest,
            _ => Bytes::new(),
        }
    }

    fn passes(&mut self, piece: &Piece) -> bool {
        let bytes = match piece {
            Piece::Event(bytes) => bytes,
            Piece::Part { bytes, begins, ends } => {
                self.note_part(bytes, *begins, *ends);
                return true;
            }
        };
        let (name, data) = fields(bytes);
        let Some(data) = data else { return true };
        let event = (self.surface.event)(&name, &data);
        if let Some(usage) = event.usage {
            self.usage = self.usage.updated(usage);
        }
        self.is_final |= event.is_final && self.usage.output.is_some() && self.usage.input.is_some();
        self.has_ended |= event.ends;
        self.has_failed |= event.fails;
        if event.fails && self.begun == Begun::No {
            self.begun = Begun::Failure;
        } else if event.is_content {
            self.events += 1;
            if self.begun == Begun::No && !(self.surface.is_preamble)(&name, &data) {
                self.begun = Begun::Content;
            }
        }
        !(event.is_usage_alone && self.drops_usage)
    }

    /// Notes a part of an event that is too large to be held, of which only the beginning is read.
    fn note_part(&mut self, bytes: &[u8], begins: bool, ends: bool) {
        self.events += 1;
        self.begun = if self.begun == Begun::No { Begun::Content } else { self.begun };
        if begins {
            let (name, data) = fields(&bytes[..bytes.len().min(BEGINNING)]);
            self.is_large_end = (self.surface.is_large_end)(&name, &data.unwrap_or_default());
        }
        self.has_ended |= ends && std::mem::take(&mut self.is_large_end);
    }
}

fn joined(pieces: &[Piece]) -> Bytes {
    let mut all = BytesMut::with_capacity(pieces.iter().map(|piece| piece.bytes().len()).sum());
    pieces.iter().for_each(|piece| all.extend_from_slice(piece.bytes()));
    all.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::dialect::{CHAT, MESSAGES, RESPONSES};

    const CHUNKS: &str = concat!(
        ": hello\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"wörd 😀\"}}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"two lines\"}}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":34}}\n\n",
        "data: [DONE]\n\n",
    );
    const MESSAGE: &str = concat!(
        "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":12,\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {}\n\n",
        "event: content_block_delta\ndata: {\"delta\":{\"text\":\"wörd\"}}\n\n",
        "event: message_delta\ndata: {\"usage\":{\"output_tokens\":34}}\n\n",
        "event: message_stop\ndata: {}\n\n",
    );

    /// What goes on of a stream that comes in these parts, and the meter after it.
    fn through<'p>(
        surface: &'static Surface,
        drops: bool,
        parts: impl Iterator<Item = &'p [u8]>,
    ) -> (Vec<u8>, Meter) {
        let mut meter = Meter::new(surface, drops);
        let mut out = Vec::new();
        for part in parts {
            out.extend_from_slice(&meter.push(Bytes::copy_from_slice(part)));
        }
        out.extend_from_slice(&meter.finish());
        (out, meter)
    }

    #[test]
    fn wherever_a_stream_is_cut_into_parts_bytes_and_usage_are_the_same() {
        for (text, surface) in [(CHUNKS, &CHAT), (MESSAGE, &MESSAGES)] {
            for text in [text.to_owned(), text.replace('\n', "\r\n"), text.replace('\n', "\r")] {
                let text = text.as_bytes();
                for at in 0..=text.len() {
                    let (out, meter) = through(surface, false, [&text[..at], &text[at..]].into_iter());
                    assert_eq!(out, text, "cut at {at}");
                    let used = (meter.usage.prompt(), meter.usage.output, meter.is_final, meter.has_ended);
                    assert_eq!(used, (12, Some(34), true, true), "cut at {at}");
                }
                let (out, meter) = through(surface, false, text.chunks(1));
                assert_eq!((out.as_slice(), meter.usage.output), (text, Some(34)));
            }
        }
    }

    #[test]
    fn the_chunk_of_usage_that_nobody_asked_for_is_taken_out_and_nothing_else() {
        for ends in ["\n", "\r\n"] {
            let text = CHUNKS.replace('\n', ends);
            let usage = text.find("data: {\"choices\":[],").unwrap();
            let rest = text.find("data: [DONE]").unwrap();
            let expected = [&text[..usage], &text[rest..]].concat();
            for at in 0..=text.len() {
                let text = text.as_bytes();
                let (out, meter) = through(&CHAT, true, [&text[..at], &text[at..]].into_iter());
                assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {at}");
                assert_eq!(meter.usage.output, Some(34));
            }
        }
    }

    #[test]
    fn an_event_that_is_too_large_to_be_held_passes_unread() {
        let large = format!("data: {{\"x\":\"{}\"}}\n\n", "y".repeat(2 * 1024 * 1024));
        let text = format!("{large}{CHUNKS}");
        let (out, meter) = through(&CHAT, false, text.as_bytes().chunks(8_000));
        assert_eq!(out, text.as_bytes());
        assert_eq!(meter.usage.output, Some(34));
        let usage = format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":2}},\"x\":\"{}\"}}\n\n",
            "y".repeat(2 * 1024 * 1024)
        );
        let (out, meter) = through(&CHAT, true, usage.as_bytes().chunks(8_000));
        assert_eq!((out.len(), meter.is_final), (usage.len(), false), "its usage is unknown");
    }

    #[test]
    fn a_stream_begins_with_content_or_with_a_failure_and_not_with_a_sign_of_life() {
        let begun = |surface: &'static Surface, text: &str| {
            through(surface, false, std::iter::once(text.as_bytes())).1.begun
        };
        assert_eq!(begun(&CHAT, ": ping\n\n"), Begun::No);
        assert_eq!(begun(&MESSAGES, "event: ping\ndata: {}\n\n"), Begun::No);
        assert_eq!(begun(&CHAT, "data: {\"error\":{\"message\":\"x\"}}\n\n"), Begun::Failure);
        assert_eq!(begun(&MESSAGES, "event: error\ndata: {\"type\":\"error\"}\n\n"), Begun::Failure);
        assert_eq!(begun(&CHAT, CHUNKS), Begun::Content);
        let start = "event: message_start\ndata: {}\n\n";
        assert_eq!(begun(&MESSAGES, start), Begun::No, "the provider may still fail");
        assert_eq!(begun(&MESSAGES, &format!("{start}event: error\ndata: {{}}\n\n")), Begun::Failure);
        let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n";
        assert_eq!(begun(&CHAT, role), Begun::No);
        assert_eq!(begun(&CHAT, &format!("{role}data: {{\"error\":{{}}}}\n\n")), Begun::Failure);
    }

    #[test]
    fn usage_in_every_chunk_is_that_of_the_whole_answer_only_once_the_end_has_come() {
        let chunk = |n: u64| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{}}}}],\"usage\":{{\"prompt_tokens\":7,\
                 \"completion_tokens\":{n}}}}}\n\n"
            )
        };
        let chunks = [chunk(1), chunk(2)].concat();
        let (_, broken) = through(&CHAT, false, std::iter::once(chunks.as_bytes()));
        assert_eq!((broken.is_final, broken.has_ended, broken.usage.output), (false, false, Some(2)));
        let whole = format!("{chunks}data: [DONE]\n\n");
        let (_, whole) = through(&CHAT, false, std::iter::once(whole.as_bytes()));
        assert_eq!((whole.is_final, whole.has_ended, whole.usage.output), (true, true, Some(2)));
        let (_, silent) = through(&CHAT, false, std::iter::once(b"data: [DONE]\n\n".as_slice()));
        assert!(silent.has_ended && !silent.is_final, "nobody said what it used");
    }

    #[test]
    fn a_last_event_without_its_blank_line_counts() {
        let text = CHUNKS.trim_end();
        let (out, meter) = through(&CHAT, false, std::iter::once(text.as_bytes()));
        assert_eq!((out.as_slice(), meter.has_ended), (text.as_bytes(), true));
    }
    #[test]
    fn the_last_event_of_a_response_ends_it_however_large_it_is_and_with_a_name_or_without() {
        for name in ["event: response.completed\n", ""] {
            let large = format!(
                "{name}data: {{\"type\":\"response.completed\",\"response\":{{\"output\":\"{}\"}}}}\n\n",
                "y".repeat(2 * 1024 * 1024)
            );
            for size in [8_000, large.len()] {
                let (out, meter) = through(&RESPONSES, false, large.as_bytes().chunks(size));
                assert_eq!(
                    (out.len(), meter.has_ended, meter.is_final),
                    (large.len(), true, false),
                    "{name}"
                );
            }
            let delta = large.replace("response.completed", "response.output_text.delta");
            let (_, meter) = through(&RESPONSES, false, delta.as_bytes().chunks(8_000));
            assert!(!meter.has_ended && meter.is_between_events());
        }
    }

    #[test]
    fn an_answer_whose_prompt_nobody_counted_is_not_charged_as_if_it_had_none() {
        let (_, meter) = through(&MESSAGES, false, std::iter::once(MESSAGE.as_bytes()));
        assert!(meter.is_final);
        for usage in ["{\"output_tokens\":1}", "null", "\"unreadable\""] {
            let text = MESSAGE.replace("{\"input_tokens\":12,\"output_tokens\":1}", usage);
            let (_, meter) = through(&MESSAGES, false, std::iter::once(text.as_bytes()));
            assert!(meter.has_ended && !meter.is_final, "{usage}");
        }
    }

    #[test]
    fn a_stream_may_begin_with_a_mark_of_its_byte_order() {
        let text = format!("\u{feff}{MESSAGE}");
        let (out, meter) = through(&MESSAGES, false, std::iter::once(text.as_bytes()));
        assert_eq!((out.as_slice(), meter.usage.prompt()), (text.as_bytes(), 12));
    }
}
