//! Values as records have them: numbers that were logged as text, times in their many forms, addresses with ports.

use std::net::IpAddr;

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
/// The least and the largest number of a field, as records have them; of others 0 and [`LARGEST`].
const RANGES: [(&str, f64, f64); 4] =
    [("response_status", 100.0, 599.0), ("images", 0.0, 1e6), ("seconds", 0.0, 1e6), ("cost_usd", 0.0, 1e6)];
/// Fields that are any number.
const NUMBERS: [&str; 3] = ["cost_usd", "latency_ms", "seconds"];
/// The longest text of a field, in bytes; of others 128.
const LONGEST: [(&str, usize); 4] =
    [("endpoint", 2048), ("user_agent", 1024), ("api_key", 512), ("key_id", 256)];
/// Characters of a date such as `2026-03-02`.
const DATE: usize = 10;
/// A time above this is in milliseconds, else in seconds: as seconds, it is in the year 5138.
const FEWEST_MILLIS: f64 = 1e11;
/// The end of the year 9999, in milliseconds since 1970.
const LAST_MILLIS: f64 = 253_402_300_799_999.0;
/// The largest number of most fields.
const LARGEST: f64 = 1e12;

/// A value in the form that a field of a record has; `None` where it cannot be brought into it.
pub(super) fn of_field(name: &str, value: &Value) -> Option<Value> {
    if WHOLE.contains(&name) {
        let number = number(value).filter(|number| is_in_range(name, *number))?;
        return Some((number.round() as u64).into());
    }
    if NUMBERS.contains(&name) {
        let number = number(value).filter(|number| is_in_range(name, *number))?;
        return if value.is_number() { Some(value.clone()) } else { Some(number.into()) };
    }
    match name {
        "timestamp" => time(value).map(Value::from),
        "source_ip" => client(&text(value)?).map(|address| address.to_string().into()),
        "service_tier" => text(value).map(Value::from),
        _ => {
            let text = text(value).filter(|text| !text.is_empty())?;
            let text = if name == "endpoint" { target(&text) } else { &text };
            let most = LONGEST.iter().find(|(field, _)| *field == name).map_or(128, |(_, most)| *most);
            Some(text[..text.floor_char_boundary(most)].into())
        }
    }
}

fn is_in_range(name: &str, number: f64) -> bool {
    let range = RANGES.iter().find(|(field, ..)| *field == name);
    let (least, most) = range.map_or((0.0, LARGEST), |(_, least, most)| (*least, *most));
    (least..=most).contains(&number)
}

/// The client among addresses: of a list, as proxies make it, the first that is public, else the first.
fn client(text: &str) -> Option<IpAddr> {
    let all = text.split(',').map(address::bare).filter(|part| !part.is_empty()).map(address::parse);
    let all = all.collect::<Result<Vec<_>, _>>().ok()?;
    all.iter().find(|address| !is_private(**address)).or(all.first()).copied()
}

/// Whether an address means another host in every network: private, of a carrier's own, of one link or one machine.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || is_shared
        }
        IpAddr::V6(v6) => {
            v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()
        }
    }
}

/// The target of a request line (`GET /a HTTP/1.1`); any other text as it is.
fn target(text: &str) -> &str {
    let mut words = text.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(_), Some(target), Some(version), None) if version.starts_with("HTTP/") => target,
        _ => text,
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
        if !(0.0..=LAST_MILLIS).contains(&millis) {
            return None;
        }
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
        for value in [json!("yesterday"), json!("02/Foo/2026:10:13:22 +0100"), json!(null), json!(1e300)] {
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

    #[test]
    fn numbers_that_a_batch_would_refuse_are_left_out() {
        for (name, least, most) in [
            ("cost_usd", json!(0), json!(1e6)),
            ("seconds", json!(0.5), json!("1000000")),
            ("latency_ms", json!(0), json!(1e12)),
            ("tokens_used", json!(0), json!(1_000_000_000_000_u64)),
            ("images", json!(1), json!(1_000_000)),
            ("response_status", json!(100), json!("599")),
        ] {
            assert!(of_field(name, &least).is_some() && of_field(name, &most).is_some(), "{name}");
            for absurd in [json!(-1), json!("-0.5"), json!(1e300), json!("1e13")] {
                assert_eq!(of_field(name, &absurd), None, "{name}: {absurd}");
            }
        }
        assert_eq!(of_field("response_status", &json!(99)), None);
    }

    #[test]
    fn of_a_list_of_addresses_the_first_public_one_is_the_client() {
        for (listed, wanted) in [
            ("203.0.113.7,10.0.0.1", Some("203.0.113.7")),
            ("10.0.0.1, 203.0.113.7:4711, 198.51.100.7", Some("203.0.113.7")),
            ("fd00::1, [2001:db8::7]:443", Some("2001:db8::7")),
            ("10.0.0.1, 192.168.0.1, 100.64.0.1", Some("10.0.0.1")),
            (", 127.0.0.1", Some("127.0.0.1")),
            ("203.0.113.7, unknown", None),
            (",", None),
        ] {
            assert_eq!(of_field("source_ip", &json!(listed)), wanted.map(Value::from), "{listed}");
        }
    }

    #[test]
    fn of_a_request_line_the_target_is_the_endpoint() {
        assert_eq!(of_field("endpoint", &json!("GET /a?b=c HTTP/1.1")), Some(json!("/a?b=c")));
        for other in ["/a b HTTP", "GET /a", "acompletion"] {
            assert_eq!(of_field("endpoint", &json!(other)), Some(json!(other)));
        }
    }
}
