//! Bounds of what people write: reasons and notes.

use crate::intake::FieldError;

/// Most bytes of a reason or note.
const MAX_BYTES: usize = 1000;

/// Notes an error about the text at `pointer` when it is blank though it must not be (`least` 1), or over-long.
pub(super) fn check(pointer: &str, text: &str, least: usize, errors: &mut Vec<FieldError>) {
    if text.trim().len() < least || text.len() > MAX_BYTES {
        let must = if least > 0 { "must not be blank and have at most" } else { "must have at most" };
        errors.push(FieldError::new(pointer, format!("{must} {MAX_BYTES} bytes")));
    }
}
