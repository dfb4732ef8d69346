//! The members of a request that are read, each at most once, and what is wrong with the others' names.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A member as it is written; `None` where it is missing.
#[derive(Default, Clone, Copy)]
pub(super) struct Written<'b>(pub Option<&'b RawValue>);

impl<'de: 'b, 'b> Deserialize<'de> for Written<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&'b RawValue>::deserialize(deserializer).map(|raw| Self(Some(raw)))
    }
}

impl<'b> Written<'b> {
    /// The text of the member, unless it is missing or `null`.
    pub(super) fn text(self) -> Option<&'b str> {
        self.0.map(RawValue::get).filter(|text| *text != "null")
    }
}

/// The members that are read; all others are passed over.
#[derive(Default)]
pub(super) struct Members<'b> {
    pub model: Written<'b>,
    pub stream: Written<'b>,
    pub stream_options: Written<'b>,
    pub max_tokens: Written<'b>,
    pub max_completion_tokens: Written<'b>,
    pub max_output_tokens: Written<'b>,
    pub n: Written<'b>,
    pub best_of: Written<'b>,
    pub prompt: Written<'b>,
    pub user: Written<'b>,
    pub service_tier: Written<'b>,
}

impl<'b> Members<'b> {
    /// Every member that is read, with its name.
    fn all(&mut self) -> [(&'static str, &mut Written<'b>); 11] {
        [
            ("model", &mut self.model),
            ("stream", &mut self.stream),
            ("stream_options", &mut self.stream_options),
            ("max_tokens", &mut self.max_tokens),
            ("max_completion_tokens", &mut self.max_completion_tokens),
            ("max_output_tokens", &mut self.max_output_tokens),
            ("n", &mut self.n),
            ("best_of", &mut self.best_of),
            ("prompt", &mut self.prompt),
            ("user", &mut self.user),
            ("service_tier", &mut self.service_tier),
        ]
    }
}

/// What is wrong with the name of a member, before the name: serde adds the place to it.
const TWICE: &str = "given twice: ";
/// The same of a name in other letters: some providers read it as the member that is meant, others do not.
const IN_CAPITALS: &str = "in capitals: ";

impl<'de: 'b, 'b> Deserialize<'de> for Members<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReadMembers(PhantomData))
    }
}

struct ReadMembers<'b>(PhantomData<&'b ()>);

impl<'de: 'b, 'b> Visitor<'de> for ReadMembers<'b> {
    type Value = Members<'b>;

    fn expecting(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        form.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'b>, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<Name>()? {
            match name {
                Name::Of(at) => {
                    let (name, member) = &mut members.all()[at];
                    if member.0.is_some() {
                        return Err(A::Error::custom(format_args!("{TWICE}{name}")));
                    }
                    **member = map.next_value()?;
                }
                Name::Like(name) => return Err(A::Error::custom(format_args!("{IN_CAPITALS}{name}"))),
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(members)
    }
}

/// The name of a member.
enum Name {
    /// That of a member that is read, by its position.
    Of(usize),
    /// One that differs from that of a member that is read in capitals alone.
    Like(&'static str),
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ReadName)
    }
}

struct ReadName;

impl Visitor<'_> for ReadName {
    type Value = Name;

    fn expecting(&self, form: &mut fmt::Formatter<'_>) -> fmt::Result {
        form.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, written: &str) -> Result<Name, E> {
        let mut members = Members::default();
        let names = members.all().map(|(name, _)| name);
        Ok(match names.iter().position(|name| name.eq_ignore_ascii_case(written)) {
            Some(at) if names[at] == written => Name::Of(at),
            Some(at) => Name::Like(names[at]),
            None => Name::Other,
        })
    }
}

/// What is wrong with JSON, without a word of it.
pub(super) fn not_read(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let name = |before: &str| text.strip_prefix(before).and_then(|rest| rest.split(' ').next());
    match (name(TWICE), name(IN_CAPITALS)) {
        (Some(name), _) => format!("`{name}` is given twice"),
        (_, Some(name)) => format!("`{name}` must be written in small letters"),
        _ => format!("the body is not valid JSON (line {}, column {})", error.line(), error.column()),
    }
}
