//! Secrets that settings name. The configuration never holds a secret, only where the secret is.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use zeroize::Zeroizing;

use super::error::SettingError;

/// Where a secret is: `file:<path>` or `env:<NAME>`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file; blanks and line breaks at the end are not part of the secret.
    File(String),
    /// A variable of the environment.
    Environment(String),
}

/// Most bytes of a secret: no real one is longer, and a device has no end.
const MAX_BYTES: u64 = 64 * 1024;
/// What a setting must be that names a secret; reads on after its name.
pub const SECRET_FORM: &str = "must be file:<path> or env:<NAME>: where the secret is, not the secret itself";

impl Secret {
    /// Reads the secret that `setting` names.
    ///
    /// # Errors
    /// The setting, if the secret is not there or is empty. Never says what the secret is.
    pub fn read(&self, setting: &'static str) -> Result<Zeroizing<String>, SettingError> {
        let text = match self {
            Self::File(path) => read_file(Path::new(path)).map_err(|error| {
                SettingError::new(setting, format!("names the file {path}, which cannot be read"))
                    .because(error)
            })?,
            // The error holds the value where that is no text: it is left out.
            Self::Environment(name) => std::env::var(name).map_err(|_| {
                let hint = format!("names the environment variable {name}, which is not set (or is no text)");
                SettingError::new(setting, hint)
            })?,
        };
        let text = Zeroizing::new(text);
        let trimmed = Zeroizing::new(text.trim().to_owned());
        if trimmed.is_empty() {
            return Err(SettingError::new(setting, format!("names {self}, which is empty")));
        }
        Ok(trimmed)
    }

    /// Reads where a secret is; `None` if the text is of neither form.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.to_owned())),
            Some(("env", name)) if !name.is_empty() => Some(Self::Environment(name.to_owned())),
            _ => None,
        }
    }
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES {
        let text = format!("it has more than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{path}"),
            Self::Environment(name) => write!(f, "env:{name}"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Reads a [`Secret`] from a value of any type: Serde's own errors would repeat the value, which may be the secret.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("file:<path> or env:<NAME>")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Secret::parse(text).ok_or_else(|| E::custom(SECRET_FORM))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(SECRET_FORM))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(SECRET_FORM))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_is_where_it_is_said_to_be_and_is_never_repeated() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let spec = format!("file:{}", file.path().display());
        let secret: Secret = serde_json::from_value(json!(spec)).unwrap();
        let read = |secret: &Secret| secret.read("token").map_err(|error| error.to_string());
        assert_eq!(read(&secret).unwrap().as_str(), "s3cret");
        for inline in [json!("hunter2"), json!(7731), json!(77.31), json!(-7731)] {
            let error = serde_json::from_value::<Secret>(inline).unwrap_err().to_string();
            assert!(error.contains("env:<NAME>"), "{error}");
            assert!(!error.contains("hunter2") && !error.contains("77"), "{error}");
        }
        std::fs::write(file.path(), "\n").unwrap();
        assert!(read(&secret).unwrap_err().contains("is empty"));
        std::fs::write(file.path(), "x".repeat(70_000)).unwrap();
        assert!(read(&secret).unwrap_err().contains("more than 65536 bytes"));
        let absent: Secret = serde_json::from_value(json!("env:KEYWARD_NO_SUCH_VARIABLE")).unwrap();
        let error = read(&absent).unwrap_err();
        assert!(error.starts_with("token names") && error.contains("KEYWARD_NO_SUCH_VARIABLE"), "{error}");
    }
}
