//! `FIELD=VALUE` on the command line.

use serde_json::{Map, Value};

use crate::{
    cli::{Failure, code, when::Expiry},
    domain::{Millis, event::format_millis},
};

/// The field whose value may be a length from now.
const EXPIRES: &str = "expires";

/// A field and what it is set to.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cli) struct Field {
    /// Its name, with that of what it is in before it: `ladder`, `strikes`.
    path: Vec<String>,
    value: Value,
}

/// Where a field may be put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    /// Wherever it is named: the service knows what there is.
    Any,
    /// Only where there is one: what is changed is a whole document.
    Present,
}

impl Field {
    /// Reads `a.b=value`. The value is JSON where it can be, else text.
    ///
    /// # Errors
    /// What it should look like.
    pub(in crate::cli) fn read(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').filter(|(name, _)| !name.split('.').any(str::is_empty));
        let Some((name, value)) = parts else {
            return Err("write FIELD=VALUE, such as budget_usd=250 or label='Nightly report'".to_owned());
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { path: name.split('.').map(str::to_owned).collect(), value })
    }

    /// Puts it into a document.
    ///
    /// # Errors
    /// There is no such place in the document.
    pub(in crate::cli) fn put(
        &self,
        document: &mut Map<String, Value>,
        place: Place,
        now: Millis,
    ) -> Result<(), Failure> {
        let Some((last, before)) = self.path.split_last() else { return Ok(()) };
        let mut inside = document;
        for name in before {
            let within = match place {
                Place::Any => Some(inside.entry(name).or_insert_with(|| Map::new().into())),
                Place::Present => inside.get_mut(name),
            };
            inside = within.and_then(Value::as_object_mut).ok_or_else(|| self.misplaced())?;
        }
        if place == Place::Present && !inside.contains_key(last) {
            return Err(self.misplaced());
        }
        inside.insert(last.clone(), self.value_at(now));
        Ok(())
    }

    fn value_at(&self, now: Millis) -> Value {
        let text = self.value.as_str().filter(|_| self.path == [EXPIRES]);
        match text.and_then(|text| Expiry::read(text).ok()) {
            Some(expiry) => format_millis(expiry.millis(now)).into(),
            None => self.value.clone(),
        }
    }

    fn misplaced(&self) -> Failure {
        let name = self.path.join(".");
        Failure::new(code::USAGE, format!("there is no field {name}; `show` prints those that there are"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(fields: &[&str], document: Value, place: Place) -> Result<Value, String> {
        let mut document = document.as_object().unwrap().clone();
        for field in fields {
            let field = Field::read(field)?;
            field.put(&mut document, place, 0).map_err(|failure| failure.message().unwrap())?;
        }
        Ok(document.into())
    }

    #[test]
    fn a_value_is_json_or_else_text() {
        let fields =
            ["budget_usd=250.5", "owner=null", "label=a = b", "code=\"12\"", "limits=[{\"limit\":1}]"];
        let expected = json!({
            "budget_usd": 250.5, "owner": null, "label": "a = b", "code": "12", "limits": [{ "limit": 1 }],
        });
        assert_eq!(put(&fields, json!({}), Place::Any).unwrap(), expected);
        for wrong in ["budget_usd", "=5", "a..b=1", ""] {
            assert!(put(&[wrong], json!({}), Place::Any).unwrap_err().contains("FIELD=VALUE"), "{wrong}");
        }
    }

    #[test]
    fn expires_may_be_a_length_from_now() {
        let put = |field: &str| put(&[field], json!({}), Place::Any).unwrap();
        assert_eq!(put("expires=30d"), json!({ "expires": "1970-01-31T00:00:00.000Z" }));
        assert_eq!(put("expires=2027-01-01T00:00:00Z"), json!({ "expires": "2027-01-01T00:00:00.000Z" }));
        assert_eq!(put("expires=null"), json!({ "expires": null }));
        // What is neither is for the service to refuse.
        assert_eq!(put("expires=soon"), json!({ "expires": "soon" }));
    }

    #[test]
    fn a_whole_document_is_changed_where_it_has_such_a_field_and_nowhere_else() {
        let document = json!({ "ladder": { "strikes": 3 }, "enforcement": "enforce" });
        let changed = put(&["ladder.strikes=4"], document.clone(), Place::Present).unwrap();
        assert_eq!(changed, json!({ "ladder": { "strikes": 4 }, "enforcement": "enforce" }));
        for wrong in ["ladder.strike=4", "lader.strikes=4", "enforcement.mode=observe", "enforcment=observe"]
        {
            let error = put(&[wrong], document.clone(), Place::Present).unwrap_err();
            assert!(error.contains(wrong.split('=').next().unwrap()), "{error}");
        }
    }
}
