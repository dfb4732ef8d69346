//! Secrets of sinks: never in the configuration itself, only where they are to be found.

use std::{fmt, io::Read, path::Path};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use zeroize::Zeroizing;

/// Where a secret is: `file:<path>` or `env:<NAME>`.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// In a file; blanks and line breaks at its end are not part of it.
    File(String),
    /// In the environment.
    Environment(String),
}

impl Secret {
    /// Reads it.
    ///
    /// # Errors
    /// When it is not there, or is empty; never says what it is.
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        let text = match self {
            Self::File(path) => read_bounded(Path::new(path))
                .map_err(|error| format!("names the file {path}, which cannot be read: {error}"))?,
            Self::Environment(name) => std::env::var(name).map_err(|_| {
                format!("names the environment variable {name}, which is not set (or is no text)")
            })?,
        };
        let text = Zeroizing::new(text);
        let trimmed = Zeroizing::new(text.trim().to_owned());
        if trimmed.is_empty() { Err(format!("is empty: {self}")) } else { Ok(trimmed) }
    }
}

/// No secret is longer, and a device has no end.
const LONGEST: u64 = 64 * 1024;

fn read_bounded(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| error.kind().to_string())?;
    let mut text = String::new();
    let read = file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| error.kind().to_string())?;
    if read as u64 > LONGEST { Err(format!("it has more than {LONGEST} bytes")) } else { Ok(text) }
}

/// A URL: in the configuration, or where a secret is when it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UrlSource {
    /// As it is.
    Plain(String),
    /// Elsewhere.
    Secret(Secret),
}

impl UrlSource {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Secret::read`].
    pub fn read(&self) -> Result<Zeroizing<String>, String> {
        match self {
            Self::Plain(text) => Ok(Zeroizing::new(text.clone())),
            Self::Secret(secret) => secret.read(),
        }
    }
}

/// A place as the configuration says it, for people to read: of a URL no more than its scheme, host and port.
pub fn mask_url_source(text: &str) -> String {
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
            return Secret::deserialize(serde::de::value::StringDeserializer::new(text)).map(Self::Secret);
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
        let hint = || {
            D::Error::custom("must be file:<path> or env:<NAME>: where the secret is, not the secret itself")
        };
        // Any other error would repeat the value.
        let said =
            |error: D::Error| if error.to_string().starts_with("missing field") { error } else { hint() };
        let text = Zeroizing::new(String::deserialize(deserializer).map_err(said)?);
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.to_owned())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            _ => Err(hint()),
        }
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
        assert_eq!(secret.read().unwrap().as_str(), "s3cret");
        let inline = serde_json::from_value::<Secret>(json!("hunter2")).unwrap_err().to_string();
        assert!(inline.contains("env:<NAME>") && !inline.contains("hunter2"));
        std::fs::write(file.path(), "\n").unwrap();
        assert!(secret.read().unwrap_err().contains("is empty"));
        std::fs::write(file.path(), "x".repeat(70_000)).unwrap();
        assert!(secret.read().unwrap_err().contains("more than 65536 bytes"));
        let absent: Secret = serde_json::from_value(json!("env:KEYWARD_NO_SUCH_VARIABLE")).unwrap();
        assert!(absent.read().unwrap_err().contains("KEYWARD_NO_SUCH_VARIABLE"));
    }
}
