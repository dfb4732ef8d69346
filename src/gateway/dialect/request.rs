//! What a request says, and the same bytes with another model. Nothing else of a request is ever changed, but for the
//! option that asks for usage in a stream.

use std::{fmt, ops::Range};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    caps::Caps,
    members::{Members, Written, not_read},
    surface::Surface,
};
use crate::domain::model::LONGEST_MODEL;

/// Most bytes of the name of an end user; a longer one is left out of the record.
const LONGEST_USER: usize = 128;

#[derive(Deserialize)]
struct StreamOptions<'b> {
    #[serde(borrow, default)]
    include_usage: Written<'b>,
}

/// What a request says.
#[derive(Debug)]
pub(in crate::gateway) struct Asked {
    /// The model; empty where it names none.
    pub model: String,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// Most tokens of one answer, where the request says so.
    pub cap: Option<u64>,
    /// How many answers it asks for, at least 1: each may have as many tokens as the cap allows.
    pub answers: u64,
    /// The caller's own name for its end user.
    pub user: Option<String>,
    /// Whether it asks for the dearer service tier.
    pub priority: bool,
    /// Whether the request was changed to ask for usage: then its chunk is taken out of the stream again.
    pub adds_usage: bool,
    /// Where the value of `model` is; where one would be put, if it is missing.
    model_at: Range<usize>,
    has_model: bool,
    is_empty: bool,
    usage_option: Option<(Range<usize>, &'static str)>,
}

/// Reads what a request says: the members that matter here, of a JSON object of any size.
///
/// # Errors
/// What it must be, without what is in it.
pub(in crate::gateway) fn read(body: &[u8], surface: &Surface) -> Result<Asked, String> {
    let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    if body.get(start) != Some(&b'{') {
        return Err("the body must be a JSON object".to_owned());
    }
    let members: Members<'_> = serde_json::from_slice(body).map_err(|error| not_read(&error))?;
    let place = |raw: &RawValue| {
        let at = (raw.get().as_ptr() as usize).saturating_sub(body.as_ptr() as usize);
        at..at + raw.get().len()
    };
    let after_brace = start + 1..start + 1;
    let stream = flag(members.stream, "stream")?;
    let is_alone = body[start + 1..].trim_ascii_start().starts_with(b"}");
    let caps = caps(&members)?;
    let usage_option = match surface.asks_for_usage && stream {
        true => usage_option(members.stream_options, place, &after_brace)?,
        false => None,
    };
    Ok(Asked {
        model: model(members.model)?,
        stream,
        cap: (surface.cap)(&caps),
        answers: (surface.answers)(&caps),
        user: text(members.user).filter(|user| (1..=LONGEST_USER).contains(&user.len())),
        priority: text(members.service_tier).as_deref() == Some("priority"),
        adds_usage: usage_option.is_some(),
        model_at: members.model.0.map_or(after_brace, place),
        has_model: members.model.0.is_some(),
        is_empty: is_alone,
        usage_option,
    })
}

fn model(written: Written<'_>) -> Result<String, String> {
    let Some(raw) = written.text() else { return Ok(String::new()) };
    let hint = || format!("`model` must be text of at most {LONGEST_MODEL} bytes");
    let model: String = serde_json::from_str(raw).map_err(|_| hint())?;
    if model.len() <= LONGEST_MODEL { Ok(model) } else { Err(hint()) }
}

fn text(written: Written<'_>) -> Option<String> {
    serde_json::from_str(written.text()?).ok()
}

fn flag(written: Written<'_>, name: &str) -> Result<bool, String> {
    match written.text() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(format!("`{name}` must be true or false")),
    }
}

fn caps(members: &Members<'_>) -> Result<Caps, String> {
    let count = |written: Written<'_>, name: &str| {
        let text = written.text();
        let number = text.map(|text| text.parse::<u64>()).transpose();
        number.map_err(|_| format!("`{name}` must be a whole number, not negative"))
    };
    let list = members.prompt.text().filter(|prompt| prompt.starts_with('['));
    let prompts = list.and_then(|list| serde_json::from_str::<Prompts>(list).ok());
    Ok(Caps {
        max_tokens: count(members.max_tokens, "max_tokens")?,
        max_completion_tokens: count(members.max_completion_tokens, "max_completion_tokens")?,
        max_output_tokens: count(members.max_output_tokens, "max_output_tokens")?,
        choices: count(members.n, "n")?.unwrap_or(1).max(1),
        best_of: count(members.best_of, "best_of")?.unwrap_or(1).max(1),
        prompts: prompts.map_or(1, |prompts| prompts.0),
    })
}

/// How many prompts a list of them has, at least 1. It is counted as it is read: a list of numbers may have millions.
struct Prompts(u64);

impl<'de> Deserialize<'de> for Prompts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(CountPrompts)
    }
}

/// Counts the elements of a list. One of numbers alone is one prompt, as tokens.
struct CountPrompts;

impl<'de> Visitor<'de> for CountPrompts {
    type Value = Prompts;

    fn expecting(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        form.write_str("a list of prompts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Prompts, A::Error> {
        let (mut count, mut is_tokens) = (0, true);
        while let Some(element) = list.next_element::<&RawValue>()? {
            count += 1;
            is_tokens &= element.get().starts_with(|c: char| c.is_ascii_digit());
        }
        Ok(Prompts(if is_tokens { 1 } else { count }))
    }
}

/// What must be put where so that the stream has usage; `None` where the request asks for it already.
fn usage_option(
    written: Written<'_>,
    place: impl Fn(&RawValue) -> Range<usize>,
    after_brace: &Range<usize>,
) -> Result<Option<(Range<usize>, &'static str)>, String> {
    let Some(raw) = written.0 else {
        return Ok(Some((after_brace.clone(), r#""stream_options":{"include_usage":true},"#)));
    };
    let Some(text) = written.text() else { return Ok(Some((place(raw), r#"{"include_usage":true}"#))) };
    let wrong = || "`stream_options` must be an object, and its `include_usage` true or false".to_owned();
    let options: StreamOptions<'_> = serde_json::from_str(text).map_err(|_| wrong())?;
    if !text.starts_with('{') {
        return Err(wrong());
    }
    let base = place(raw).start;
    let Some(include) = options.include_usage.0 else {
        let is_empty = text[1..].trim_ascii_start().starts_with('}');
        let option = if is_empty { r#""include_usage":true"# } else { r#""include_usage":true,"# };
        return Ok(Some((base + 1..base + 1, option)));
    };
    match include.get() {
        "true" => Ok(None),
        "false" | "null" => {
            let at = base + (include.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
            Ok(Some((at..at + include.get().len(), "true")))
        }
        _ => Err(wrong()),
    }
}

impl Asked {
    /// The body with this model; every other byte is as it was, but for the option that asks for usage.
    pub(in crate::gateway) fn with_model(&self, body: &Bytes, model: &str) -> Bytes {
        let keeps_model = self.has_model && self.model == model;
        if keeps_model && self.usage_option.is_none() {
            return body.clone();
        }
        let mut edits: Vec<(Range<usize>, String)> = Vec::with_capacity(2);
        if !keeps_model {
            let name = serde_json::Value::from(model).to_string();
            let separator = if self.is_empty { "" } else { "," };
            let text = if self.has_model { name } else { format!("\"model\":{name}{separator}") };
            edits.push((self.model_at.clone(), text));
        }
        edits.extend(self.usage_option.clone().map(|(at, text)| (at, text.to_owned())));
        edits.sort_by_key(|(at, _)| at.start);
        let mut changed = Vec::with_capacity(body.len() + 128);
        let mut done = 0;
        for (at, text) in edits {
            changed.extend_from_slice(&body[done..at.start]);
            changed.extend_from_slice(text.as_bytes());
            done = at.end;
        }
        changed.extend_from_slice(&body[done..]);
        changed.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::dialect::{CHAT, COMPLETIONS, MESSAGES};

    fn changed(body: &str, model: &str) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let asked = read(&body, &CHAT).unwrap();
        String::from_utf8(asked.with_model(&body, model).to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_is_changed_and_every_other_byte_stays() {
        let body =
            "{ \"messages\" : [ {\"content\":\"\\u00e9\\\"model\\\":1\"} ],\n\t\"model\":\"a\" , \"x\":1e2}";
        assert_eq!(changed(body, "a"), body);
        assert_eq!(changed(body, "b\""), body.replace("\"a\"", "\"b\\\"\""));
        assert_eq!(changed(" {\"x\":1}", "m"), " {\"model\":\"m\",\"x\":1}");
        assert_eq!(changed("{ }", "m"), "{\"model\":\"m\" }");
    }

    #[test]
    fn a_model_without_a_name_is_none() {
        assert_eq!(read(br#"{"model":""}"#, &CHAT).unwrap().model, "");
        assert_eq!(changed(r#"{"model":"","x":1}"#, "m"), r#"{"model":"m","x":1}"#);
    }

    #[test]
    fn a_stream_is_asked_for_its_usage_whatever_the_request_says_of_it() {
        let usage = r#""stream_options":{"include_usage":true}"#;
        for (given, expected) in [
            (r#"{"model":"a","stream":true}"#, format!(r#"{{{usage},"model":"a","stream":true}}"#)),
            (
                r#"{"model":"a","stream":true,"stream_options":null}"#,
                format!(r#"{{"model":"a","stream":true,{usage}}}"#),
            ),
            (
                r#"{"model":"a","stream":true,"stream_options":{}}"#,
                format!(r#"{{"model":"a","stream":true,{usage}}}"#),
            ),
            (
                r#"{"model":"a","stream_options":{"include_usage" : false},"stream":true}"#,
                r#"{"model":"a","stream_options":{"include_usage" : true},"stream":true}"#.to_owned(),
            ),
            (
                r#"{"model":"a","stream":true,"stream_options":{"x":1}}"#,
                r#"{"model":"a","stream":true,"stream_options":{"include_usage":true,"x":1}}"#.to_owned(),
            ),
        ] {
            assert_eq!(changed(given, "a"), expected);
        }
        let asks = r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#;
        assert_eq!(changed(asks, "a"), asks);
        assert!(!read(asks.as_bytes(), &CHAT).unwrap().adds_usage);
        let plain = r#"{"model":"a","stream":false}"#;
        assert_eq!(changed(plain, "a"), plain);
        let both = changed(r#"{"stream":true}"#, "m");
        let both: serde_json::Value = serde_json::from_str(&both).unwrap();
        assert_eq!((&both["model"], &both["stream_options"]["include_usage"]), (&"m".into(), &true.into()));
    }

    #[test]
    fn the_larger_of_two_caps_counts_and_every_answer_has_it() {
        let cap = |body: &str, surface: &Surface| {
            let asked = read(body.as_bytes(), surface).unwrap();
            (asked.cap, asked.answers)
        };
        assert_eq!(cap(r#"{"max_tokens":1,"max_completion_tokens":50,"n":3}"#, &CHAT), (Some(50), 3));
        assert_eq!(cap(r#"{"n":128}"#, &CHAT), (None, 128));
        assert_eq!(cap(r#"{"max_output_tokens":1}"#, &CHAT), (None, 1));
        assert_eq!(cap(r#"{"max_tokens":7,"n":3}"#, &MESSAGES), (Some(7), 1));
        assert_eq!(cap(r#"{"prompt":["a","b"],"best_of":2}"#, &COMPLETIONS), (Some(16), 4));
        assert_eq!(cap(r#"{"prompt":[[1,2],[3]]}"#, &COMPLETIONS), (Some(16), 2));
        assert_eq!(cap(r#"{"prompt":[1,2,3]}"#, &COMPLETIONS), (Some(16), 1));
        assert_eq!(cap(r#"{"prompt":[]}"#, &COMPLETIONS), (Some(16), 1));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_repeated() {
        for (body, words) in [
            ("", "must be a JSON object"),
            ("[\"secret\"]", "must be a JSON object"),
            (r#"{"model":"secret""#, "not valid JSON (line 1"),
            (r#"{"model":"secret","model":"b"}"#, "`model` is given twice"),
            (r#"{"model":"secret","m\u006fdel":"b"}"#, "`model` is given twice"),
            (r#"{"model":"secret","Model":"b"}"#, "`model` must be written in small letters"),
            (r#"{"MAX_TOKENS":9,"model":"secret"}"#, "`max_tokens` must be written in small letters"),
            (r#"{"model":7}"#, "`model` must be text"),
            (r#"{"model":"a","stream":"secret"}"#, "`stream` must be true or false"),
            (r#"{"model":"a","max_tokens":-1}"#, "`max_tokens` must be a whole number"),
            (r#"{"model":"a","stream":true,"stream_options":[true]}"#, "`stream_options` must be an object"),
        ] {
            let error = read(body.as_bytes(), &CHAT).unwrap_err();
            assert!(error.contains(words) && !error.contains("secret"), "{body}: {error}");
        }
    }
}
