//! An export of traces in the JSON form of OTLP: ids in hexadecimal digits, numbers of 64 bits as text or as numbers.

use serde::Deserialize;
use serde_json::Value;

use super::span::{Attribute, FAILED, SERVER, Span, Unreadable};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    #[serde(default)]
    resource_spans: Vec<OfResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfResource {
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    scope_spans: Vec<OfScope>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Pair>,
}

#[derive(Deserialize)]
struct OfScope {
    #[serde(default)]
    spans: Vec<SentSpan>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentSpan {
    #[serde(default)]
    span_id: String,
    #[serde(default)]
    kind: Value,
    #[serde(default)]
    start_time_unix_nano: Value,
    #[serde(default)]
    end_time_unix_nano: Value,
    #[serde(default)]
    attributes: Vec<Pair>,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: Value,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: Value,
}

/// Reads the spans of an export.
///
/// # Errors
/// [`Unreadable`]: it is no such document.
pub fn read(body: &[u8]) -> Result<Vec<Span>, Unreadable> {
    // Serde would read a list as an object whose members are in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Unreadable("it is no JSON object".to_owned()));
    }
    let export: Export = serde_json::from_slice(body).map_err(|error| {
        Unreadable(format!("it is not JSON of that form (line {}, column {})", error.line(), error.column()))
    })?;
    let mut spans = Vec::new();
    for OfResource { resource, scope_spans } in export.resource_spans {
        let shared: Vec<(String, Attribute)> =
            resource.attributes.into_iter().filter_map(attribute).collect();
        for sent in scope_spans.into_iter().flat_map(|of_scope| of_scope.spans) {
            let own = sent.attributes.into_iter().filter_map(attribute);
            spans.push(Span {
                id: sent.span_id.to_ascii_lowercase(),
                kind: named(&sent.kind, "SPAN_KIND_SERVER", SERVER),
                start: whole(&sent.start_time_unix_nano).unwrap_or(0),
                end: whole(&sent.end_time_unix_nano).unwrap_or(0),
                failed: named(&sent.status.code, "STATUS_CODE_ERROR", FAILED) == FAILED,
                attributes: own.chain(shared.iter().cloned()).collect(),
            });
        }
    }
    Ok(spans)
}

/// A number that may be sent by its name; another name is 0.
fn named(value: &Value, name: &str, number: u64) -> u64 {
    if value.as_str() == Some(name) { number } else { whole(value).unwrap_or(0) }
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn attribute(Pair { key, value }: Pair) -> Option<(String, Attribute)> {
    let (kind, content) = value.as_object()?.iter().next()?;
    let attribute = match kind.as_str() {
        "stringValue" => Attribute::Text(content.as_str()?.to_owned()),
        "intValue" => Attribute::Whole(content.as_i64().or_else(|| content.as_str()?.parse().ok())?),
        "doubleValue" => Attribute::Number(content.as_f64()?),
        _ => return None,
    };
    Some((key, attribute))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_whichever_way_its_numbers_are_written() {
        for (kind, nanos, tokens, code) in [
            (r#"2"#, r#""1772442802123000000""#, r#""120""#, "2"),
            (r#""SPAN_KIND_SERVER""#, "1772442802123000000", "120", r#""STATUS_CODE_ERROR""#),
        ] {
            let body = format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a","value":{{"stringValue":"b"}}}}]}},
                    "scopeSpans":[{{"scope":{{"name":"x"}},"spans":[{{"traceId":"00","spanId":"ABAB","name":"n",
                    "kind":{kind},"startTimeUnixNano":{nanos},"endTimeUnixNano":{nanos},"status":{{"code":{code}}},
                    "attributes":[{{"key":"t","value":{{"intValue":{tokens}}}}},
                    {{"key":"l","value":{{"arrayValue":{{}}}}}}]
                    }}]}}]}}]}}"#
            );
            let spans = read(body.as_bytes()).unwrap();
            let attributes = vec![
                ("t".to_owned(), Attribute::Whole(120)),
                ("a".to_owned(), Attribute::Text("b".to_owned())),
            ];
            let time = 1_772_442_802_123_000_000;
            let span =
                Span { id: "abab".to_owned(), kind: 2, start: time, end: time, failed: true, attributes };
            assert_eq!(spans, [span]);
        }
        assert_eq!(read(b"{}"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_export_is_an_error_that_repeats_nothing() {
        for bad in ["", "[]", "secret", r#"{"resourceSpans":"secret"}"#] {
            let error = read(bad.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
