//! What one question asks for: the settings, and over them the query of exactly `/v1/authorize`.
//!
//! Below that path the query is the client's, who must not switch anything. On it, what is no option is the operator's
//! mistake, unless it is a parameter that keys are taken from.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::{
    config::{AuthorizeConfig, KeyPlace, WithoutKey},
    intake::lease,
};

/// The most tokens of an estimate, as in a check.
const MOST_TOKENS: u64 = 1_000_000_000_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    pub without_key: WithoutKey,
    pub observe: bool,
    pub reserve: bool,
    /// Tokens that the request is asked about with.
    pub estimated_tokens: u64,
    /// How long they are held, in seconds; `None`: as the settings say.
    pub lease_seconds: Option<u64>,
    /// The model whose price they have.
    pub model: Option<String>,
}

impl Options {
    /// What the settings say.
    pub(super) fn of(settings: &AuthorizeConfig) -> Self {
        Self {
            without_key: settings.without_key,
            observe: settings.observe,
            reserve: settings.reserve,
            estimated_tokens: settings.estimated_tokens,
            lease_seconds: None,
            model: Some(settings.model.clone()).filter(|model| !model.is_empty()),
        }
    }

    /// The same with what a query of exactly the route says.
    ///
    /// # Errors
    /// What is wrong with it, for whoever set up the proxy.
    pub(super) fn with_query(self, query: &str, keys: &[KeyPlace]) -> Result<Self, String> {
        let is_key =
            |name: &str| keys.iter().any(|place| matches!(place, KeyPlace::Query(key) if key == name));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        self.with_pairs(
            pairs.map(|(name, value)| (decoded(name), decoded(value))).filter(|(name, _)| !is_key(name)),
        )
    }

    /// The same with what pairs of name and value say.
    ///
    /// # Errors
    /// As of [`Options::with_query`].
    pub(super) fn with_pairs<'a>(
        mut self,
        pairs: impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<Self, String> {
        let (observed, reserved) = (self.observe, self.reserve);
        let (mut asks_observe, mut asks_reserve) = (false, false);
        for (name, value) in pairs {
            match &*name {
                "observe" => (self.observe, asks_observe) = (is_on(&name, &value)?, true),
                "reserve" => (self.reserve, asks_reserve) = (is_on(&name, &value)?, true),
                _ => self.set(&name, &value)?,
            }
        }
        // What is asked for takes the place of what the settings say.
        if self.observe && self.reserve {
            match (asks_observe, asks_reserve) {
                (true, false) if reserved => self.reserve = false,
                (false, true) if observed => self.observe = false,
                _ => return Err("observe and reserve exclude each other: choose one".to_owned()),
            }
        }
        Ok(self)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || value.parse::<u64>().map_err(|_| format!("{name} must be a whole number"));
        match name {
            "without_key" => {
                self.without_key = match value {
                    "allow" => WithoutKey::Allow,
                    "refuse" => WithoutKey::Refuse,
                    _ => return Err("without_key must be allow or refuse".to_owned()),
                }
            }
            "estimated_tokens" => {
                self.estimated_tokens = number()?;
                if self.estimated_tokens > MOST_TOKENS {
                    return Err(format!("estimated_tokens must be from 0 to {MOST_TOKENS}"));
                }
            }
            "lease_seconds" => {
                self.lease_seconds = Some(number()?);
                lease(self.lease_seconds).map_err(|error| format!("lease_seconds {}", error.detail))?;
            }
            "model" if (1..=128).contains(&value.len()) => self.model = Some(value.to_owned()),
            "model" => return Err("model must be 1 to 128 bytes".to_owned()),
            // The name may be the client's own text where a proxy passes its query on: it is not repeated.
            _ => {
                return Err(
                    "there is something in it that is no option: there are without_key, observe, reserve, \
                            estimated_tokens, lease_seconds and model; give the query of the client in \
                            X-Forwarded-Uri or X-Original-URI, or below the path"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// Whether a switch is on: named alone, or with `true`.
fn is_on(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "" | "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{name} must be true or false, or stand alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DEFAULT_TOML};

    fn read(query: &str) -> Result<Options, String> {
        let settings = toml::from_str::<Config>(DEFAULT_TOML).unwrap().authorize;
        Options::of(&settings).with_query(query, &settings.keys)
    }

    #[test]
    fn a_query_switches_what_it_names_and_leaves_the_rest() {
        let plain = read("").unwrap();
        assert!(!plain.observe && !plain.reserve && plain.without_key == WithoutKey::Refuse);
        assert_eq!(read("key=sk-1").unwrap(), plain, "a key is no option");
        assert!(read("observe").unwrap().observe && read("observe=true").unwrap().observe);
        assert!(!read("observe=false").unwrap().observe);
        assert!(read("%6Fbserve=tru%65").unwrap().observe, "names are decoded as values are");
        assert_eq!(read("%6Bey=sk-1").unwrap(), plain, "so is the name of a key");
        let all =
            read("without_key=allow&reserve&estimated_tokens=300&lease_seconds=5&model=openai%2Fgpt-4.1");
        let all = all.unwrap();
        assert_eq!((all.without_key, all.reserve, all.estimated_tokens), (WithoutKey::Allow, true, 300));
        assert_eq!((all.lease_seconds, all.model.as_deref()), (Some(5), Some("openai/gpt-4.1")));
    }

    #[test]
    fn a_query_takes_the_place_of_the_settings_that_exclude_it() {
        let observing = Options { observe: true, ..read("").unwrap() };
        let asked = observing.with_query("reserve", &[]).unwrap();
        assert!(asked.reserve && !asked.observe);
    }

    #[test]
    fn what_is_no_option_is_refused_without_repeating_it() {
        for (query, words) in [
            ("sk-secret", "no option"),
            ("without_key=maybe", "allow or refuse"),
            ("observe=1", "true or false"),
            ("estimated_tokens=-1", "whole number"),
            ("estimated_tokens=1000000000001", "from 0 to"),
            ("lease_seconds=0", "from 1 to 3600"),
            ("model=", "1 to 128"),
            ("observe&reserve", "exclude each other"),
        ] {
            let said = read(query).unwrap_err();
            assert!(said.contains(words) && !said.contains("sk-secret"), "{query}: {said}");
        }
    }
}
