//! An export of traces in the JSON form of OTLP: ids in hexadecimal digits, numbers of 64 bits as text or as numbers.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::Value;

use super::span::{Attribute, Attributes, FAILED, MOST_SPANS, SERVER, Span, Untaken};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    #[serde(default)]
    resource_spans: Worthwhile<OfResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfResource {
    #[serde(default)]
    resource: Resource,
    #[serde(default)]
    scope_spans: Worthwhile<OfScope>,
}

#[derive(Deserialize, Default)]
struct Resource {
    #[serde(default)]
    attributes: Vec<Pair>,
}

#[derive(Deserialize)]
struct OfScope {
    #[serde(default)]
    spans: Worthwhile<Span>,
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
    value: SentValue,
}

/// A value of a kind that records have use for; a list or a map is passed over.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct SentValue {
    string_value: Option<Value>,
    int_value: Option<Value>,
    double_value: Option<Value>,
}

/// A list of which only that is kept that has, or is, a span that can be usage.
struct Worthwhile<T>(Vec<T>);

impl<T> Default for Worthwhile<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// What a list of an export has.
trait Member {
    /// How many spans that can be usage it has, or is.
    fn spans(&self) -> usize;
}

impl Member for OfResource {
    fn spans(&self) -> usize {
        self.scope_spans.0.iter().map(Member::spans).sum()
    }
}

impl Member for OfScope {
    fn spans(&self) -> usize {
        self.spans.0.len()
    }
}

impl Member for Span {
    fn spans(&self) -> usize {
        usize::from(self.is_usage())
    }
}

impl<'de, T: Member + Deserialize<'de>> Deserialize<'de> for Worthwhile<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Member + Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Worthwhile<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let (mut kept, mut count) = (Vec::new(), 0);
        while let Some(member) = members.next_element::<T>()? {
            let spans = member.spans();
            // More than are taken are not kept, but for those by which it is known that there are too many.
            if spans > 0 && count <= MOST_SPANS {
                count += spans;
                kept.push(member);
            }
        }
        Ok(Worthwhile(kept))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SentSpan::deserialize(deserializer).map(Self::from)
    }
}

impl From<SentSpan> for Span {
    fn from(sent: SentSpan) -> Self {
        Self {
            id: sent.span_id.to_ascii_lowercase(),
            kind: named(&sent.kind, "SPAN_KIND_SERVER", SERVER),
            start: whole(&sent.start_time_unix_nano).unwrap_or(0),
            end: whole(&sent.end_time_unix_nano).unwrap_or(0),
            failed: named(&sent.status.code, "STATUS_CODE_ERROR", FAILED) == FAILED,
            attributes: attributes(sent.attributes),
            of_resource: Arc::default(),
        }
    }
}

/// Reads the spans of an export that can be usage.
///
/// # Errors
/// [`Untaken`]: it is no such document, or too large a one.
pub fn read(body: &[u8]) -> Result<Vec<Span>, Untaken> {
    // Serde would read a list as an object whose members are in order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Untaken::Unreadable("it is no JSON object".to_owned()));
    }
    let export: Export = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Untaken::Unreadable(format!("it is not JSON of that form (line {line}, column {column})"))
    })?;
    let mut spans = Vec::new();
    for OfResource { resource, scope_spans } in export.resource_spans.0 {
        let shared = Arc::new(attributes(resource.attributes));
        let of_scopes = scope_spans.0.into_iter().flat_map(|of_scope| of_scope.spans.0);
        spans.extend(of_scopes.map(|span| Span { of_resource: shared.clone(), ..span }));
    }
    if spans.len() > MOST_SPANS { Err(Untaken::TooMany) } else { Ok(spans) }
}

fn attributes(sent: Vec<Pair>) -> Attributes {
    sent.into_iter().filter_map(attribute).collect()
}

/// A number that may be sent by its name; another name is 0.
fn named(value: &Value, name: &str, number: u64) -> u64 {
    if value.as_str() == Some(name) { number } else { whole(value).unwrap_or(0) }
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn attribute(Pair { key, value }: Pair) -> Option<(String, Attribute)> {
    let attribute = match value {
        SentValue { string_value: Some(Value::String(text)), .. } => Attribute::Text(text),
        SentValue { int_value: Some(number), .. } => {
            Attribute::Whole(number.as_i64().or_else(|| number.as_str()?.parse().ok())?)
        }
        SentValue { double_value: Some(number), .. } => Attribute::Number(number.as_f64()?),
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
            let attributes = vec![("t".to_owned(), Attribute::Whole(120))];
            let of_resource = Arc::new(vec![("a".to_owned(), Attribute::Text("b".to_owned()))]);
            let (id, time) = ("abab".to_owned(), 1_772_442_802_123_000_000);
            let span = Span { id, kind: 2, start: time, end: time, failed: true, attributes, of_resource };
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

    #[test]
    fn spans_share_what_is_of_their_resource_and_those_that_cannot_be_usage_are_not_kept() {
        let export = |spans: String| {
            format!(
                r#"{{"resourceSpans":[{{}},{{"scopeSpans":[{{}},{{"spans":[{spans}{{"kind":1}}]}},
                    {{"spans":[{{"attributes":[{{"key":"gen_ai.system","value":{{"stringValue":"a"}}}}]}}]}}],
                    "resource":{{"attributes":[{{"key":"a","value":{{"intValue":1}}}}]}}}}]}}"#
            )
        };
        let spans = read(export(r#"{"kind":2},"#.to_owned() + &"{},".repeat(50_000)).as_bytes()).unwrap();
        assert_eq!(spans.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 0]);
        assert_eq!(*spans[0].of_resource, [("a".to_owned(), Attribute::Whole(1))]);
        assert!(Arc::ptr_eq(&spans[0].of_resource, &spans[1].of_resource));
        let many =
            |count: usize| read(export(r#"{"kind":2},"#.repeat(count)).as_bytes()).map(|all| all.len());
        assert_eq!(many(MOST_SPANS - 1), Ok(MOST_SPANS));
        assert_eq!((many(MOST_SPANS), many(2 * MOST_SPANS)), (Err(Untaken::TooMany), Err(Untaken::TooMany)));
    }

    #[test]
    fn spans_of_many_scopes_and_resources_are_kept_until_there_are_too_many() {
        let scope = format!("{{\"spans\":[{{}}{}]}}", ",{\"kind\":2}".repeat(100));
        let resource =
            |scopes: usize| format!("{{\"scopeSpans\":[{{}}{}]}}", format!(",{scope}").repeat(scopes));
        let export = |resources: usize, scopes| {
            format!("{{\"resourceSpans\":[{{}}{}]}}", format!(",{}", resource(scopes)).repeat(resources))
        };
        let kept = |text: &str| -> usize {
            let export: Export = serde_json::from_str(text).unwrap();
            export.resource_spans.0.iter().map(Member::spans).sum()
        };
        assert_eq!(read(export(10, 10).as_bytes()).map(|spans| spans.len()), Ok(MOST_SPANS));
        for (resources, scopes) in [(11, 10), (1, 1_000), (1_000, 1)] {
            let text = export(resources, scopes);
            assert_eq!(read(text.as_bytes()), Err(Untaken::TooMany), "{resources} {scopes}");
            assert!(kept(&text) <= 2 * MOST_SPANS, "{resources} {scopes}: {}", kept(&text));
        }
    }
}
