//! What differs between two documents, setting by setting: for the record of who changed what.

use serde_json::{Map, Value, json};

/// Each setting that differs, by its path with dots between, as `{"before": …, "after": …}`; `null` where it is not
/// there. Lists are compared whole.
pub fn difference(before: &Value, after: &Value) -> Map<String, Value> {
    let mut all = Map::new();
    gather(before, after, "", &mut all);
    all
}

fn gather(before: &Value, after: &Value, path: &str, all: &mut Map<String, Value>) {
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let added = new.keys().filter(|name| !old.contains_key(*name));
        for name in old.keys().chain(added) {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            gather(old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null), &below, all);
        }
    } else if before != after {
        all.insert(path.to_owned(), json!({ "before": before, "after": after }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_differs_is_named_with_both_values() {
        let before = json!({"a": {"mode": "enforce", "same": 1}, "gone": [1], "list": [1, 2]});
        let after = json!({"a": {"mode": "off", "same": 1}, "list": [2, 1], "new": {"x": true}});
        let expected = json!({
            "a.mode": {"before": "enforce", "after": "off"},
            "gone": {"before": [1], "after": null},
            "list": {"before": [1, 2], "after": [2, 1]},
            "new": {"before": null, "after": {"x": true}},
        });
        assert_eq!(Value::Object(difference(&before, &after)), expected);
        assert!(difference(&after, &after).is_empty());
    }
}
