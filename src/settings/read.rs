//! Reads tables of settings into types, strictly: a name that the type does not have is an error with the name that
//! was probably meant. Everything that is wrong is found at once.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};
use toml::{Table, Value};

use super::{
    error::{SettingError, SettingErrors},
    suggest::nearest,
    value::{Member, ReadValue, Repairs, ValueError, join, unknown_name},
};

/// Reads `table` as a `T`. Names that `T` does not have are refused; `elsewhere` has the names that the table may have
/// beside those of `T`, which are only suggested.
///
/// # Errors
/// Every unknown name, and every value that cannot be read.
pub fn read_table<T: DeserializeOwned>(table: Table, elsewhere: &[&str]) -> Result<T, SettingErrors> {
    let known = field_names::<T>();
    let mut errors = SettingErrors::default();
    let mut own = Table::new();
    for (name, value) in table {
        if known.contains(&name.as_str()) {
            own.insert(name, value);
        } else {
            errors.check(Err(unknown(&name, known, elsewhere)));
        }
    }
    let (value, wrong) = read_value(&Value::Table(own), None);
    errors.extend(wrong);
    match value {
        Some(value) if errors.is_empty() => Ok(value),
        _ => Err(errors),
    }
}

fn unknown(name: &str, known: &[&str], elsewhere: &[&str]) -> SettingError {
    let all = || known.iter().chain(elsewhere).copied();
    let suggestion = nearest(name, all());
    SettingError::new(name, unknown_name(suggestion, all())).suggesting(suggestion)
}

/// Reads `value` as a `T`, and goes on after a mistake: with what `fallback` has in its place, else without it. So
/// there may be errors and a value; without errors there is one.
pub fn read_value<T: DeserializeOwned>(
    value: &Value,
    fallback: Option<&Value>,
) -> (Option<T>, SettingErrors) {
    let (mut errors, mut repairs) = (SettingErrors::default(), Repairs::new());
    loop {
        let error = match T::deserialize(ReadValue::new(value.clone(), &repairs)) {
            Ok(read) => return (Some(read), errors),
            Err(error) => error,
        };
        let ValueError { hint, suggestion, place, member } = error;
        let place = place.unwrap_or_default();
        let (setting, repaired) = match member {
            None => (place.clone(), place),
            Some(Member::Unknown(name)) => (join(&place, &name), join(&place, &name)),
            Some(Member::Missing(name)) => (join(&place, name), place),
        };
        // What is missing or contradicts itself because a part of it was left out is no mistake of its own.
        if !errors.concern(&setting) {
            errors.check(Err(SettingError::new(&setting, hint).suggesting(suggestion)));
        }
        if !repair(&mut repairs, repaired, fallback) {
            return (None, errors);
        }
    }
}

/// Puts the fallback in place of what is wrong, or nothing where there is none, or where the fallback is wrong, too.
/// `false` where nothing is left to repair.
fn repair(repairs: &mut Repairs, place: String, fallback: Option<&Value>) -> bool {
    let is_known = repairs.contains_key(&place);
    if place.is_empty() || is_known && repairs[&place].is_none() {
        return false;
    }
    let value = if is_known { None } else { fallback.and_then(|fallback| look_up(fallback, &place)) };
    repairs.insert(place, value.cloned());
    true
}

fn look_up<'v>(value: &'v Value, place: &str) -> Option<&'v Value> {
    place.split('.').try_fold(value, |value, name| value.get(name))
}

/// The names of the fields that `T` is read from; none if `T` is no struct.
pub fn field_names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Reading fails always: all that is wanted is what Serde asks for.
    drop(T::deserialize(FieldNames(&mut names)));
    names
}

struct FieldNames<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("only the names are wanted"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Transport {
        Tcp,
        Tls,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Settings {
        port: u16,
        transport: Option<Transport>,
        #[serde(default)]
        names: Vec<String>,
    }

    fn read(text: &str) -> Result<Settings, String> {
        read_table(text.parse().unwrap(), &["batch"]).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_right_is_read() {
        let expected = Settings { port: 7, transport: Some(Transport::Tls), names: vec!["a".to_owned()] };
        assert_eq!(read("port = 7\ntransport = 'tls'\nnames = ['a']"), Ok(expected));
        assert_eq!(read("port = 7").unwrap().transport, None);
        assert!(read("port = 7\ntransport = 'tcp'").is_ok());
    }

    #[test]
    fn a_mistyped_name_or_value_says_what_was_probably_meant() {
        let error = read("port = 7\ntransprot = 'tls'\nbatsh = 1").unwrap_err();
        let (first, second) = error.split_once('\n').unwrap();
        assert_eq!(first, "batsh is no setting here; did you mean `batch`?");
        assert_eq!(second, "transprot is no setting here; did you mean `transport`?");
        let error = read("port = 7\ntransport = 'tsl'").unwrap_err();
        assert_eq!(error, "transport must be one of tcp, tls, not \"tsl\"; did you mean `tls`?");
        let error = read("port = 7\ncolour = 1").unwrap_err();
        assert_eq!(error, "colour is no setting here; there are port, transport, names, batch");
    }

    #[test]
    fn a_value_of_another_type_or_a_missing_one_is_named() {
        for (text, start) in [
            ("port = 70000", "port must be a whole number from 0 to 65535"),
            ("port = 'x'", "port must be a whole number from 0 to 65535, not text"),
            ("port = 7\nnames = ['a', 1]", "names[1] must be text, not a whole number"),
            ("port = 7\nnames = 'a'", "names must be a list, not text"),
            ("transport = 'tls'", "port is required"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn every_mistake_is_found_at_once_and_none_that_only_follows_from_another() {
        let error = read("port = 'x'\ntransport = 'tsl'\nnames = [1, 'a', 2]").unwrap_err();
        assert_eq!(
            error.lines().collect::<Vec<_>>(),
            [
                "names[0] must be text, not a whole number",
                "names[2] must be text, not a whole number",
                "port must be a whole number from 0 to 65535, not text",
                "transport must be one of tcp, tls, not \"tsl\"; did you mean `tls`?",
            ]
        );
    }

    #[test]
    fn reading_goes_on_with_the_fallback() {
        let value = Value::Table("port = 'x'\nnames = ['a']".parse().unwrap());
        let fallback = Value::Table("port = 9".parse().unwrap());
        let (read, errors) = read_value::<Settings>(&value, Some(&fallback));
        assert_eq!(read.map(|read| (read.port, read.names)), Some((9, vec!["a".to_owned()])));
        assert_eq!(errors.iter().map(|error| error.setting.as_str()).collect::<Vec<_>>(), ["port"]);
    }
}
