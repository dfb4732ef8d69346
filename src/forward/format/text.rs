//! Text as formats without an escape for every character may carry it.

/// Whether a character could break a line, drive a terminal, or reorder the text around it: controls (ANSI sequences
/// start with one), line and paragraph separators, and the bidirectional controls.
pub(crate) fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with a space for each character that is unsafe or in `also`, but for those in `keep`; without space at its
/// ends, and cut after `most` characters.
pub(crate) fn plain(text: &str, most: usize, also: &[char], keep: &[char]) -> String {
    let spaced = |c: char| {
        let goes = is_unsafe(c) && !keep.contains(&c) || also.contains(&c);
        if goes { ' ' } else { c }
    };
    let text: String = text.chars().map(spaced).collect();
    let mut text: String = text.trim().chars().take(most).collect();
    text.truncate(text.trim_end().len());
    text
}

/// `text` on one line, cut after `most` characters.
pub(crate) fn one_line(text: &str, most: usize) -> String {
    plain(text, most, &[], &[])
}
