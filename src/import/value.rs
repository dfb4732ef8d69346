//! Values as records have them: numbers that were logged as text, times in their many forms, addresses with ports.

use serde_json::Value;

use crate::domain::{address, event::format_millis};

/// Fields that are whole numbers.
const WHOLE: [&str; 12] = [
    "tokens_used",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "images",
    "characters",
    "response_status",
];
/// Fields that are any number.
const NUMBERS: [&str; 3] = ["cost_usd", "latency_ms", "seconds"];
/// The longest text of a field, in bytes; of others 128.
const LONGEST: [(&str, usize); 4] =
    [("endpoint", 2048), ("user_agent", 1024), ("api_key", 512), ("key_id", 256)];
/// Characters of a date such as `2026-03-02`.
const DATE: usize = 10;
/// A time above this is in milliseconds, else in seconds: as seconds, it is in the year 5138.
const FEWEST_MILLIS: f64 = 1e11;

/// A value in the form that a field of a record has; `None` where it cannot be brought into it.
pub(super) fn of_field(name: &str, value: &Value) -> Option<Value> {
    if WHOLE.contains(&name) {
        let number = number(value).filter(|number| *number >= 0.0)?;
        return Some((number.round() as u64).into());
    }
    if NUMBERS.contains(&name) {
        return if value.is_number() { Some(value.clone()) } else { Some(number(value)?.into()) };
    }
    match name {
        "timestamp" => time(value).map(Value::from),
        "source_ip" => {
            address::parse(address::bare(&text(value)?)).ok().map(|address| address.to_string().into())
        }
        "service_tier" => text(value).map(Value::from),
        _ => {
            let text = text(value).filter(|text| !text.is_empty())?;
            let most = LONGEST.iter().find(|(field, _)| *field == name).map_or(128, |(_, most)| *most);
            Some(text[..text.floor_char_boundary(most)].into())
        }
    }
}

/// A value as text; `None` of what has no one text.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A number, also one that was logged as text.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// A time in RFC 3339: of seconds or milliseconds since 1970, of RFC 3339 or nearly so, or of a web server's log.
fn time(value: &Value) -> Option<String> {
    if let Some(number) = number(value) {
        let millis = if number < FEWEST_MILLIS { number * 1000.0 } else { number };
        return Some(format_millis(millis.round() as i64));
    }
    let text = value.as_str()?.trim();
    let text = of_web_server(text).unwrap_or_else(|| complete(text));
    crate::domain::event::parse_millis(&text).ok().map(format_millis)
}

/// The day of UTC that a date or a time is in, as `2026-03-02`.
pub(super) fn day(value: &Value) -> Option<String> {
    let is_date = value.as_str().is_some_and(|text| text.trim().len() == DATE);
    let time = match value.as_str().filter(|_| is_date) {
        Some(date) => time(&format!("{}T00:00:00Z", date.trim()).into())?,
        None => time(value)?,
    };
    time.get(..DATE).map(str::to_owned)
}

/// `2026-03-02 09:13:22.123` with what it lacks: it is in UTC where it does not say.
fn complete(text: &str) -> String {
    let mut text = text.replacen(' ', "T", 1);
    let has_offset = text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-']));
    if !has_offset {
        text.push('Z');
    }
    text
}

/// `02/Mar/2026:09:13:22 +0000` in RFC 3339.
fn of_web_server(text: &str) -> Option<String> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (date, time) = text.split_once(':')?;
    let mut parts = date.split('/');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let (clock, offset) = time.split_once(' ')?;
    let (hours, minutes) = offset.split_at_checked(3)?;
    Some(format!("{year}-{month:02}-{day}T{clock}{hours}:{minutes}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_read_in_every_form_that_logs_have() {
        for value in [
            json!(1_772_442_802.123),
            json!(1_772_442_802_123_i64),
            json!("1772442802.123"),
            json!("2026-03-02T09:13:22.123Z"),
            json!("2026-03-02 09:13:22.123"),
            json!("2026-03-02T10:13:22.123+01:00"),
        ] {
            assert_eq!(time(&value).as_deref(), Some("2026-03-02T09:13:22.123Z"), "{value}");
        }
        assert_eq!(time(&json!("02/Mar/2026:10:13:22 +0100")).as_deref(), Some("2026-03-02T09:13:22.000Z"));
        for value in [json!("yesterday"), json!("02/Foo/2026:10:13:22 +0100"), json!(null), json!([])] {
            assert_eq!(time(&value), None, "{value}");
        }
    }

    #[test]
    fn a_day_is_that_of_utc_whatever_names_it() {
        for value in [json!("2026-03-02"), json!(1_772_409_600), json!("2026-03-03T00:30:00+01:00")] {
            assert_eq!(day(&value).as_deref(), Some("2026-03-02"), "{value}");
        }
        for value in [json!("2026-13-02"), json!("02/03/2026"), json!(null)] {
            assert_eq!(day(&value), None, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_a_field_is_left_out_and_what_is_too_long_is_cut() {
        assert_eq!(of_field("response_status", &json!("-")), None);
        assert_eq!(of_field("tokens_used", &json!(-1)), None);
        assert_eq!(of_field("tokens_used", &json!("12")), Some(json!(12)));
        assert_eq!(of_field("source_ip", &json!("s3.amazonaws.com")), None);
        assert_eq!(of_field("source_ip", &json!("203.0.113.7:4711")), Some(json!("203.0.113.7")));
        assert_eq!(of_field("endpoint", &json!("é".repeat(2000))), Some(json!("é".repeat(1024))));
        assert_eq!(of_field("model", &json!({})), None);
    }
}
