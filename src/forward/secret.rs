//! Secrets of sinks. The configuration never holds a secret, only where the secret is.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Error as _, Visitor},
};
use zeroize::Zeroizing;

use crate::settings::SettingError;

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
/// What a setting must be that names a secret.
const FORM: &str = "must be file:<path> or env:<NAME>: where the secret is, not the secret itself";

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

    fn parse(text: &str) -> Option<Self> {
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

/// Where a URL is: in the configuration, or where a secret is when the URL is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// The URL as it is used.
    Plain(String),
    /// A file or a variable of the environment that holds the URL.
    Secret(Secret),
}

impl UrlSource {
    /// Reads the URL that `setting` names.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read(&self, setting: &'static str) -> Result<Zeroizing<String>, SettingError> {
        match self {
            Self::Plain(text) => Ok(Zeroizing::new(text.clone())),
            Self::Secret(secret) => secret.read(setting),
        }
    }
}

/// A URL or the place of one as the configuration has it, for people to read: of a URL no more than its scheme, host
/// and port.
pub(super) fn mask_url_source(text: &str) -> String {
    if text.starts_with("file:") || text.starts_with("env:") {
        return text.to_owned();
    }
    let Some((scheme, rest)) = text.split_once("://") else { return "***".to_owned() };
    let (authority, behind) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", authority),
    };
    let behind = if matches!(behind, "" | "/") { behind } else { "/***" };
    format!("{scheme}://{user}{host}{behind}")
}

impl<'de> Deserialize<'de> for UrlSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with("file:") || text.starts_with("env:") {
            return Secret::parse(&text).map(Self::Secret).ok_or_else(|| D::Error::custom(FORM));
        }
        Ok(Self::Plain(text))
    }
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
        Secret::parse(text).ok_or_else(|| E::custom(FORM))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom(FORM))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        Err(E::custom(FORM))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        Err(E::custom(FORM))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        Err(E::custom(FORM))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_a_url_people_see_no_more_than_the_host() {
        for (text, shown) in [
            ("https://siem.example:8088", "https://siem.example:8088"),
            ("https://siem.example/", "https://siem.example/"),
            ("https://siem.example/hook/hunter2", "https://siem.example/***"),
            ("https://siem.example?token=hunter2@a/b", "https://siem.example/***"),
            ("https://siem.example#hunter2", "https://siem.example/***"),
            ("https://ops:hunter2@siem.example/hook", "https://***@siem.example/***"),
            ("https:/siem.example/hunter2", "***"),
            ("env:HOOK_URL", "env:HOOK_URL"),
            ("file:/run/secrets/url", "file:/run/secrets/url"),
        ] {
            assert_eq!(mask_url_source(text), shown);
        }
    }

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
