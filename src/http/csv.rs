//! CSV as in RFC 4180, and names of callers in it that no spreadsheet takes for formulas and no terminal for commands.

use std::borrow::Cow;

/// Appends a line of cells, which it quotes where CSV wants it (RFC 4180).
pub(super) fn line<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            text.push(',');
        }
        if cell.contains(['"', ',', '\r', '\n']) {
            text.push('"');
            text.push_str(&cell.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(cell);
        }
    }
    text.push_str("\r\n");
}

/// A name that a caller chose: with an apostrophe before what a spreadsheet would take for a formula, which is what
/// OWASP advises against CSV injection. Characters that steer a terminal or turn the direction of text are written as
/// `\u001b`.
pub(super) fn name(name: &str) -> Cow<'_, str> {
    if name.contains(steers) {
        let shown = |c: char| if steers(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
        return Cow::Owned(no_formula(&name.chars().map(shown).collect::<String>()).into_owned());
    }
    no_formula(name)
}

/// Whether a character is a control, a line of its own, or one that hides or turns others (Unicode's Bidi_Control, and
/// zero-width ones).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

fn no_formula(name: &str) -> Cow<'_, str> {
    if name.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']) {
        Cow::Owned(format!("'{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let mut text = String::new();
        line(&mut text, ["plain", "a,b", "say \"hi\"", "two\r\nlines", ""].into_iter());
        assert_eq!(text, "plain,\"a,b\",\"say \"\"hi\"\"\",\"two\r\nlines\",\r\n");
    }

    #[test]
    fn a_name_never_becomes_a_formula() {
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1"] {
            assert_eq!(name(bad), format!("'{bad}"));
        }
        for good in ["gpt-4.1", "", "a=b", "'x", "(other)"] {
            assert_eq!(name(good), good);
        }
    }

    #[test]
    fn a_name_steers_no_terminal_and_turns_no_text() {
        assert_eq!(name("\u{1b}[31mred\u{202e}der\u{7}"), "\\u001b[31mred\\u202eder\\u0007");
        assert_eq!(name("\t=1\r\n"), "\\u0009=1\\u000d\\u000a");
        for c in ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2066}', '\u{2069}', '\u{9b}', '\u{feff}']
        {
            assert!(!name(&format!("=a{c}b")).contains(c), "{c:?}");
            assert!(name(&format!("=a{c}b")).starts_with("'="), "{c:?}");
        }
    }
}
