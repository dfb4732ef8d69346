//! Reads a table of settings into a type, strictly: a name that the type does not have is an error with the name that
//! was probably meant.

use serde::{
    Deserializer,
    de::{DeserializeOwned, Error as _, Visitor},
    forward_to_deserialize_any,
};
use toml::{Table, Value};

use super::{
    error::{SettingError, SettingErrors},
    suggest::nearest,
    value::{ReadValue, ValueError},
};

/// Reads `table` as a `T`. Names that `T` does not have are refused; `elsewhere` has the names that the table may have
/// beside those of `T`, which are only suggested.
///
/// # Errors
/// Every unknown name, and the first value that cannot be read.
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
    let read = serde_path_to_error::deserialize(ReadValue(Value::Table(own))).map_err(|error| {
        let path = error.path().to_string();
        let ValueError { hint, suggestion } = error.into_inner();
        SettingError::new(if path == "." { String::new() } else { path }, hint).suggesting(suggestion)
    });
    errors.finish(read)
}

fn unknown(name: &str, known: &[&str], elsewhere: &[&str]) -> SettingError {
    let all = || known.iter().chain(elsewhere).copied();
    let suggestion = nearest(name, all());
    let hint = match suggestion {
        Some(_) => "is no setting here".to_owned(),
        None => format!("is no setting here; there are {}", all().collect::<Vec<_>>().join(", ")),
    };
    SettingError::new(name, hint).suggesting(suggestion)
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
            ("port = 70000", "port invalid value"),
            ("port = 'x'", "port invalid type"),
            ("port = 7\nnames = ['a', 1]", "names[1] invalid type"),
            ("transport = 'tls'", " missing field `port`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
