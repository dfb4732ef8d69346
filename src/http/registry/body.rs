//! Bodies of plans, projects and keys: every mistake is named at once, each with a JSON pointer.
//!
//! What cannot be read at all is named, something readable takes its place, and reading goes on: so a mistyped field
//! does not hide what else is wrong. What only follows from such a stand-in is not told.

use serde_json::{Map, Value, json};

use super::kind::Resource;
use crate::{
    domain::registry::{Registry, Wrong},
    http::error::ApiError,
    intake::{FieldError, InputError, parse},
};

/// Most errors that one answer names: each costs another reading of the document.
const MAX_ERRORS: usize = 64;

/// The entry that a document says, in its one spelling.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read<R: Resource>(bytes: &[u8], registry: &Registry) -> Result<R, ApiError> {
    match parse::<R>(bytes) {
        Ok(body) => checked(body, registry).map_err(|wrong| ApiError::Fields(fields(wrong))),
        Err(InputError::Fields(first)) => Err(ApiError::Fields(all_wrong::<R>(bytes, first, registry))),
        Err(error) => Err(error.into()),
    }
}

/// The entry in its one spelling, if nothing is wrong with it and what it names exists.
fn checked<R: Resource>(body: R, registry: &Registry) -> Result<R, Vec<Wrong>> {
    let absent = body.absent(registry);
    let spelled = match body.spelled() {
        Ok(body) if absent.is_empty() => return Ok(body),
        Ok(_) => Vec::new(),
        Err(wrong) => wrong,
    };
    let is_named = |one: &Wrong| spelled.iter().any(|other| other.pointer == one.pointer);
    let fresh: Vec<Wrong> = absent.into_iter().filter(|one| !is_named(one)).collect();
    Err(spelled.into_iter().chain(fresh).collect())
}

/// All that is wrong with a document of which `first` cannot be read.
fn all_wrong<R: Resource>(bytes: &[u8], first: Vec<FieldError>, registry: &Registry) -> Vec<FieldError> {
    let mut errors = first;
    let Ok(mut document) = serde_json::from_slice::<Value>(bytes) else { return errors };
    let body = read_on::<R>(&mut document, &mut errors);
    let wrong = body.and_then(|body| checked(body, registry).err()).unwrap_or_default();
    let unreadable: Vec<String> = errors.iter().map(|error| error.pointer.clone()).collect();
    let follows = |wrong: &Wrong| {
        unreadable.iter().any(|pointer| {
            let item = pointer.match_indices('/').nth(2).map_or(pointer.as_str(), |(end, _)| &pointer[..end]);
            is_within(pointer, &wrong.pointer)
                || is_within(&wrong.pointer, pointer)
                || wrong.hint.contains(&format!(" {item};"))
        })
    };
    errors.extend(fields(wrong.into_iter().filter(|wrong| !follows(wrong)).collect()));
    errors
}

/// Adds every field that cannot be read to `errors`, with something readable in its place.
fn read_on<R: Resource>(document: &mut Value, errors: &mut Vec<FieldError>) -> Option<R> {
    while errors.len() < MAX_ERRORS {
        let wrong = match parse::<R>(&serde_json::to_vec(document).ok()?) {
            Ok(body) => return Some(body),
            Err(InputError::Fields(wrong)) => wrong,
            Err(InputError::Syntax(_)) => return None,
        };
        let is_repaired = wrong.iter().all(|error| repair(document, &error.pointer));
        for error in wrong {
            if errors.iter().all(|other| other.pointer != error.pointer) {
                errors.push(error);
            }
        }
        if !is_repaired {
            return None;
        }
    }
    None
}

/// Puts something readable at `pointer`, or takes away what is there; `false` where neither changes anything.
fn repair(document: &mut Value, pointer: &str) -> bool {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return false };
    let stand_in = stand_in(parent, name);
    match (document.pointer_mut(parent), stand_in) {
        (Some(Value::Object(parent)), Some(value)) => {
            parent.insert(name.to_owned(), value.clone()).is_none_or(|before| before != value)
        }
        (Some(Value::Object(parent)), None) => {
            parent.remove(&name.replace("~1", "/").replace("~0", "~")).is_some()
        }
        (Some(Value::Array(items)), Some(value)) => {
            let item = name.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            item.is_some_and(|item| std::mem::replace(item, value.clone()) != value)
        }
        _ => false,
    }
}

/// What can be read in place of an item of a list, or of what a limit needs; `None`: it can be left out.
fn stand_in(parent: &str, name: &str) -> Option<Value> {
    let (list, index) = parent.rsplit_once('/').unwrap_or_default();
    if list == "/limits" {
        // Each a span of its own: none counts the same as another.
        let number: u32 = index.parse().unwrap_or_default();
        return match name {
            "unit" => Some(json!("requests")),
            "window" => Some(json!(format!("{}s", 900_001 + number % 1_000_000))),
            "limit" => Some(json!(1)),
            _ => None,
        };
    }
    let is_item = name.bytes().all(|byte| byte.is_ascii_digit());
    match parent {
        "/limits" => {
            let members = ["unit", "window", "limit"];
            let of = |member: &str| Some((member.to_owned(), stand_in(&format!("/limits/{name}"), member)?));
            Some(Value::Object(members.into_iter().filter_map(of).collect::<Map<_, _>>()))
        }
        _ if is_item && parent.ends_with("/alert_at") => Some(json!(100)),
        _ if is_item && parent.starts_with("/allowed_") => Some(json!("x")),
        _ => None,
    }
}

fn is_within(pointer: &str, outer: &str) -> bool {
    pointer.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn fields(wrong: Vec<Wrong>) -> Vec<FieldError> {
    wrong.into_iter().map(|wrong| FieldError::new(wrong.pointer, wrong.hint)).collect()
}
