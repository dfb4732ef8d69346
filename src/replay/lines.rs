//! Input line by line, in bounded memory: what is longer than any record is read past, not kept.

use std::io::{self, BufRead, Read};

use crate::intake::InputError;

/// The longest line that may be a record: the longest body that the service takes.
const LONGEST: u64 = 64 * 1024;
/// Progress is reported this often, in bytes.
const STEP: u64 = 64 * 1024;

/// Lines of an input.
pub(super) struct Lines<R, P> {
    input: R,
    progress: P,
    unreported: u64,
    line: Vec<u8>,
}

impl<R: BufRead, P: FnMut(u64)> Lines<R, P> {
    /// Lines of `input`. `progress` is given the bytes read since its last call.
    pub(super) fn new(input: R, progress: P) -> Self {
        Self { input, progress, unreported: 0, line: Vec::new() }
    }

    /// The next line without the space around it, or why it can be no record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<&[u8], InputError>>> {
        self.line.clear();
        let read = (&mut self.input).take(LONGEST + 1).read_until(b'\n', &mut self.line)? as u64;
        let whole = read <= LONGEST || self.line.ends_with(b"\n");
        let passed = if whole { 0 } else { self.input.skip_until(b'\n')? as u64 };
        self.unreported += read + passed;
        if self.unreported >= STEP || read == 0 {
            (self.progress)(std::mem::take(&mut self.unreported));
        }
        if read == 0 {
            return Ok(None);
        }
        let too_long = || InputError::Syntax(format!("the line is longer than {LONGEST} bytes"));
        Ok(Some(if whole { Ok(self.line.trim_ascii()) } else { Err(too_long()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_never_ends_is_read_past_and_not_kept() {
        let long = "x".repeat(1_000_000);
        let text = format!(" a \n\n{long}\nb\n{}\n{long}", "y".repeat(LONGEST as usize));
        let mut reported = 0;
        let mut lines = Lines::new(text.as_bytes(), |bytes| reported += bytes);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            seen.push(line.map_or("too long".to_owned(), |l| String::from_utf8_lossy(l).into_owned()));
        }
        assert!(lines.line.capacity() < 4 * LONGEST as usize);
        assert_eq!(seen[..4], ["a", "", "too long", "b"]);
        assert_eq!((seen[4].len() as u64, seen[5].as_str(), seen.len()), (LONGEST, "too long", 6));
        assert_eq!(reported, text.len() as u64);
    }
}
