//! Writing to standard output, and keeping a terminal safe from what others wrote.

use std::io::{self, Write, stdout};

/// Writes a line. A reader that has gone away is an error, which ends the command without a word.
pub(super) fn line(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Text from elsewhere for a terminal: control characters (escape sequences among them) are shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    let breaks = |c: char| {
        c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    text.chars().flat_map(|c| if breaks(c) { c.escape_unicode().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(plain("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(plain("Zürich"), "Zürich");
    }
}
