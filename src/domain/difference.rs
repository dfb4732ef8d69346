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

/// Makes of a document what it was before these differences, as [`difference`] names them.
pub fn undo(document: &mut Value, differences: &Map<String, Value>) {
    for (path, difference) in differences {
        let before = difference.get("before").unwrap_or(&Value::Null);
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut parent = &mut *document;
        for step in parents.split('.').filter(|step| !step.is_empty()) {
            if !parent[step].is_object() {
                parent[step] = Value::Object(Map::new());
            }
            parent = &mut parent[step];
        }
        let Some(members) = parent.as_object_mut() else { continue };
        match before {
            Value::Null => drop(members.remove(name)),
            before => drop(members.insert(name.to_owned(), before.clone())),
        }
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

    #[test]
    fn differences_lead_back_to_the_document_before_them() {
        let before = json!({"a": {"mode": "enforce", "same": 1, "b": {"c": 2}}, "gone": [1], "list": [1, 2]});
        let after = json!({"a": {"mode": "off", "same": 1}, "list": [2, 1], "new": 7});
        let mut document = after.clone();
        undo(&mut document, &difference(&before, &after));
        assert_eq!(document, before);
        let nothing = difference(&json!({}), &json!({}));
        undo(&mut document, &nothing);
        assert_eq!(document, before);
        let mut odd = json!({"a": 1});
        undo(&mut odd, json!({"a.b": {"before": 2, "after": null}}).as_object().unwrap());
        assert_eq!(odd, json!({"a": {"b": 2}}));
    }
}
