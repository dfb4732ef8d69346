//! Secrets of sinks: the URL of a sink may be one.

use serde::{Deserialize, Deserializer, de::Error as _};
use zeroize::Zeroizing;

pub use crate::settings::Secret;
use crate::settings::{SECRET_FORM, SettingError};

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
            return Secret::parse(&text).map(Self::Secret).ok_or_else(|| D::Error::custom(SECRET_FORM));
        }
        Ok(Self::Plain(text))
    }
}

#[cfg(test)]
mod tests {
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
}
