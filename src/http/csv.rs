//! CSV as in RFC 4180, and names of callers in it that no spreadsheet takes for formulas.

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
/// OWASP advises against CSV injection.
pub(super) fn name(name: &str) -> Cow<'_, str> {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
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
        for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "＝1"] {
            assert_eq!(name(bad), format!("'{bad}"));
        }
        for good in ["gpt-4.1", "", "a=b", "'x", "(other)"] {
            assert_eq!(name(good), good);
        }
    }
}
