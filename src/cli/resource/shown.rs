//! Things as people see them: a line for each field of one, a row for each of many.

use serde_json::Value;

use crate::cli::{output::plain, status::text};

/// What a list shows of each item.
pub(in crate::cli) struct Columns<'a>(pub &'a [&'a str]);

impl Columns<'_> {
    /// Lines with columns as wide as their widest text, and their names above where `headed`.
    pub(in crate::cli) fn lines(&self, items: &[Value], headed: bool) -> Vec<String> {
        let header = headed.then(|| self.0.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let rows = items.iter().map(|item| self.0.iter().map(|name| cell(&item[*name])).collect());
        let rows: Vec<Vec<String>> = header.into_iter().chain(rows).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.0.len()).map(width).collect();
        let padded = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        rows.iter().map(padded).collect()
    }
}

/// A value as short as a row wants it.
fn cell(value: &Value) -> String {
    match value.as_array() {
        Some(items) if items.is_empty() => "-".to_owned(),
        Some(items) => {
            items.iter().map(|item| limit(item).unwrap_or_else(|| text(item))).collect::<Vec<_>>().join(", ")
        }
        None => text(value),
    }
}

/// `60 requests/1min`, of a limit.
fn limit(value: &Value) -> Option<String> {
    let [unit, window] = [value["unit"].as_str()?, value["window"].as_str()?];
    let limit = text(value.get("limit")?);
    let model = value["model"].as_str().map(|model| format!(" of {}", plain(model)));
    Some(format!("{limit} {}/{}{}", plain(unit), plain(window), model.unwrap_or_default()))
}

/// Every field with its name and its value, as `set` takes them: what is in an object has the object's name before it.
pub(in crate::cli) fn flat(value: &Value) -> Vec<(String, String)> {
    fn walk(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
        match value.as_object().filter(|object| !object.is_empty()) {
            Some(object) => {
                let within =
                    |inner: &str| if name.is_empty() { inner.to_owned() } else { format!("{name}.{inner}") };
                object.iter().for_each(|(inner, value)| walk(&within(inner), value, fields));
            }
            None => fields.push((plain(name), whole(value))),
        }
    }
    let mut fields = Vec::new();
    walk("", value, &mut fields);
    fields
}

/// A text bare, unless it would be read as something else; anything else as JSON.
fn whole(value: &Value) -> String {
    match value.as_str() {
        Some(bare) if serde_json::from_str::<Value>(bare).is_err() => plain(bare),
        _ => plain(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::resource::{Field, Place};

    #[test]
    fn columns_are_as_wide_as_their_widest_text_and_obey_no_escape_sequence() {
        let limits = json!([{ "unit": "requests", "window": "1min", "limit": 60, "model": "gpt-*" }]);
        let items = [
            json!({ "id": "analytics", "plan": null, "limits": limits }),
            json!({ "id": "b\u{1b}[2J", "plan": "free", "limits": [] }),
        ];
        let lines = Columns(&["id", "plan", "limits"]).lines(&items, true);
        assert_eq!(
            lines,
            [
                "id          plan  limits",
                "analytics   -     60 requests/1min of gpt-*",
                "b\\u{1b}[2J  free  -",
            ]
        );
    }

    #[test]
    fn what_is_shown_of_one_can_be_set_as_it_is() {
        let document = json!({
            "ladder": { "strikes": 3 }, "label": "a b", "code": "12", "owner": null, "limits": [{ "limit": 1 }],
        });
        let mut again = serde_json::Map::new();
        for (name, value) in flat(&document) {
            Field::read(&format!("{name}={value}")).unwrap().put(&mut again, Place::Any, 0).unwrap();
        }
        assert_eq!(Value::Object(again), document);
    }
}
