//! Tables as CSV (RFC 4180): each row as an object, whose members have the names of the columns.

use serde_json::{Map, Value};

/// The rows below the first, which names the columns. Cells that a row lacks are not there.
pub(super) fn rows(text: &str) -> Vec<Value> {
    let mut lines = records(text).into_iter();
    let Some(names) = lines.next() else { return Vec::new() };
    let is_blank = |cells: &Vec<String>| cells.iter().all(|cell| cell.trim().is_empty());
    let row = |cells: Vec<String>| {
        let named = names.iter().zip(cells).map(|(name, cell)| (name.trim().to_owned(), cell.trim().into()));
        Value::Object(Map::from_iter(named))
    };
    lines.filter(|cells| !is_blank(cells)).map(row).collect()
}

/// The cells of each line; what stands in quotes may have commas and line ends, and a quote twice for one.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut cells, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut is_quoted, mut characters) = (false, text.chars().peekable());
    while let Some(c) = characters.next() {
        match c {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted && characters.peek() == Some(&'\n') => {}
            '\n' if !is_quoted => {
                cells.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut cells));
            }
            c => cell.push(c),
        }
    }
    if !cell.is_empty() || !cells.is_empty() {
        cells.push(cell);
        lines.push(cells);
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_in_quotes_may_hold_what_ends_others() {
        let text = "a, b\r\n1,\"x, \"\"y\"\"\nz\"\r\n\r\n2\n";
        assert_eq!(rows(text), [json!({ "a": "1", "b": "x, \"y\"\nz" }), json!({ "a": "2" })]);
        assert_eq!(rows(""), [] as [Value; 0]);
    }
}
