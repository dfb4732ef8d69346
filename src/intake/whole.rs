//! All that is wrong with a JSON object at once, where reading it stops at the first mistake: what cannot be read is
//! named, something readable takes its place, and reading goes on.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::wire::{FieldError, InputError, parse};

/// Most mistakes that are named: each costs another reading of the object.
const MOST: usize = 16;

/// What was read of an object.
#[derive(Debug)]
pub struct Whole<T> {
    /// The object, with something readable in place of what cannot be read; `None` where nothing would do.
    pub value: Option<T>,
    /// What cannot be read.
    pub errors: Vec<FieldError>,
}

impl<T> Whole<T> {
    /// The object, where all of it could be read.
    ///
    /// # Errors
    /// All that could not.
    pub fn good(self) -> Result<T, InputError> {
        self.value.filter(|_| self.errors.is_empty()).ok_or(InputError::Fields(self.errors))
    }

    /// The errors of what could not be read, and behind them those that were found in the rest.
    pub fn errors_with(errors: Vec<FieldError>, others: Vec<FieldError>) -> Vec<FieldError> {
        let is_new =
            |other: &FieldError| errors.iter().all(|error| member(&error.pointer) != member(&other.pointer));
        let others: Vec<FieldError> = others.into_iter().filter(is_new).collect();
        errors.into_iter().chain(others).collect()
    }
}

/// Reads a JSON object of a given form, as far as it goes.
///
/// # Errors
/// [`InputError::Syntax`]: it is not JSON.
pub fn read_whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<Whole<T>, InputError> {
    let errors = match parse(bytes) {
        Ok(value) => return Ok(Whole { value: Some(value), errors: Vec::new() }),
        Err(InputError::Fields(errors)) => errors,
        Err(error) => return Err(error),
    };
    let mut whole = Whole { value: None, errors };
    if let Ok(mut object) = serde_json::from_slice::<Map<String, Value>>(bytes) {
        whole.read_on(&mut object);
    }
    Ok(whole)
}

impl<T: DeserializeOwned> Whole<T> {
    fn read_on(&mut self, object: &mut Map<String, Value>) {
        while self.errors.len() < MOST {
            let Some(name) = self.errors.last().and_then(|error| member(&error.pointer)).map(named) else {
                return;
            };
            let Some(next) = without(object, &name) else { return };
            match next {
                Ok(value) => {
                    self.value = Some(value);
                    return;
                }
                Err(errors) => self.errors.extend(errors),
            }
        }
    }
}

/// What reading an object comes to once a member is out of the way; `None` where nothing readable could take its place.
fn without<T: DeserializeOwned>(
    object: &mut Map<String, Value>,
    name: &str,
) -> Option<Result<T, Vec<FieldError>>> {
    let stand_ins = match name {
        "endpoint" => vec![json!("/")],
        "source_ip" => vec![json!("192.0.2.1")],
        _ => vec![Value::Null, json!("x"), json!(0), json!([])],
    };
    for stand_in in stand_ins {
        if stand_in.is_null() {
            object.remove(name);
        } else {
            object.insert(name.to_owned(), stand_in);
        }
        match parse(&serde_json::to_vec(object).ok()?) {
            Ok(value) => return Some(Ok(value)),
            Err(InputError::Fields(errors)) => {
                let is_of_it =
                    |error: &FieldError| member(&error.pointer).map(named).as_deref() == Some(name);
                if !errors.iter().any(is_of_it) {
                    return Some(Err(errors));
                }
            }
            Err(InputError::Syntax(_)) => return None,
        }
    }
    None
}

/// The member of the object that a pointer leads to, or into.
fn member(pointer: &str) -> Option<&str> {
    pointer.strip_prefix('/')?.split('/').next()
}

fn named(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::WireRecord;

    fn pointers(text: &str) -> (bool, Vec<String>) {
        let whole = read_whole::<WireRecord>(text.as_bytes()).unwrap();
        (whole.value.is_some(), whole.errors.into_iter().map(|error| error.pointer).collect())
    }

    #[test]
    fn every_member_that_cannot_be_read_is_named_at_once() {
        let (is_read, wrong) = pointers(
            r#"{"endpoint":7,"tokens_used":-1,"bogus":1,"latency_ms":"slow","response_status":"ok","admit":"yes"}"#,
        );
        assert!(is_read);
        for pointer in
            ["/endpoint", "/tokens_used", "/bogus", "/latency_ms", "/response_status", "/admit", "/source_ip"]
        {
            assert_eq!(wrong.iter().filter(|one| *one == pointer).count(), 1, "{pointer} in {wrong:?}");
        }
        assert_eq!(pointers("{}").1, ["/endpoint", "/source_ip"]);
    }

    #[test]
    fn what_is_good_is_read_and_what_is_no_object_has_one_mistake() {
        assert_eq!(pointers(r#"{"endpoint":"/","source_ip":"192.0.2.1"}"#), (true, Vec::new()));
        assert_eq!(pointers("7").1.len(), 1);
        assert!(read_whole::<WireRecord>(b"{").is_err());
        let long = format!(r#"{{"endpoint":"/","source_ip":"192.0.2.1","{}":1}}"#, "s".repeat(40));
        assert_eq!(
            pointers(&long),
            (false, vec!["/…".to_owned()]),
            "a secret in a wrong place is not repeated"
        );
    }
}
