//! Registered keys: what is kept of each, and why one is refused.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    bodies::{Held, KeyEntry},
    limits::{self, Rules},
};
use crate::domain::{
    Millis, calendar::Zone, model::ModelName, record::Record, stable_hash, subject::Subject,
};

/// Keys are kept in so many parts, of which a change copies one.
const PARTS: usize = 256;

/// Why a key may not make a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotAllowed {
    /// It is not registered, and such keys are refused.
    #[serde(rename = "unknown")]
    UnknownKey,
    /// It is a canary: nobody may use it.
    Canary,
    /// Its time is over.
    Expired,
    /// The address is in none of its networks.
    Network,
    /// The place is in none of its countries, or it is not known where it is.
    Country,
    /// The model is none of its own.
    Model,
}

impl NotAllowed {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownKey => "unknown",
            Self::Canary => "canary",
            Self::Expired => "expired",
            Self::Network => "network",
            Self::Country => "country",
            Self::Model => "model",
        }
    }

    /// A clause for people, about the key.
    pub fn words(self) -> &'static str {
        match self {
            Self::UnknownKey => "the key is not registered, and such keys are refused",
            Self::Canary => "the key is a canary, which nobody may use",
            Self::Expired => "the key has expired",
            Self::Network => "the address is in none of the networks that the key may be used from",
            Self::Country => "the request comes from none of the countries that the key may be used from",
            Self::Model => "the model is none of those that the key may be used for",
        }
    }
}

/// What is kept of a key.
#[derive(Debug)]
pub(super) struct Key {
    pub body: Arc<KeyEntry>,
    pub project: Option<Subject>,
    /// Its own limits, with calendar periods in UTC.
    pub rules: Rules,
    updated: Millis,
    networks: Box<[IpNet]>,
    countries: Box<[[u8; 2]]>,
    models: Box<[Arc<ModelName>]>,
    expires: Option<Millis>,
}

impl Key {
    fn new(body: KeyEntry, updated: Millis, patterns: &mut HashMap<String, Arc<ModelName>>) -> Self {
        let mut models = Vec::with_capacity(body.allowed_models.len());
        for text in &body.allowed_models {
            // Many keys have the same patterns, and one takes kilobytes.
            let known = patterns.get(text).cloned();
            let Some(name) = known.or_else(|| limits::model(text).ok().map(Arc::new)) else { continue };
            patterns.entry(text.clone()).or_insert_with(|| name.clone());
            models.push(name);
        }
        Self {
            project: body.project.as_deref().map(Subject::project),
            rules: limits::rules(&body.limits(), &Zone::UTC),
            updated,
            networks: body.networks().into(),
            countries: body.countries().into(),
            models: models.into(),
            expires: body.expiry(),
            body: Arc::new(body),
        }
    }

    /// Its own limits, with calendar periods in a zone.
    pub(super) fn rules_in(&self, zone: &str) -> Rules {
        let named = || Zone::named(zone).unwrap_or(Zone::UTC);
        if self.rules.is_empty() || zone == Zone::UTC.name() {
            self.rules.clone()
        } else {
            limits::rules(&self.body.limits(), &named())
        }
    }

    /// Why it may not make a request, the plainest reason first.
    pub(super) fn refuses(
        &self,
        record: &Record,
        country: impl FnOnce() -> Option<[u8; 2]>,
        now: Millis,
    ) -> Option<NotAllowed> {
        let within = |address: IpAddr| self.networks.iter().any(|network| network.contains(&address));
        let allows_model = || record.model.is_none() || self.models.iter().any(|name| record.is_of(name));
        if self.body.canary {
            Some(NotAllowed::Canary)
        } else if self.expires.is_some_and(|at| at <= now) {
            Some(NotAllowed::Expired)
        } else if !self.networks.is_empty() && !within(record.source_ip) {
            Some(NotAllowed::Network)
        } else if !self.countries.is_empty() && !country().is_some_and(|code| self.countries.contains(&code))
        {
            Some(NotAllowed::Country)
        } else if !self.models.is_empty() && !allows_model() {
            Some(NotAllowed::Model)
        } else {
            None
        }
    }

    fn held(&self) -> Held<KeyEntry> {
        Held { body: self.body.clone(), updated: Some(self.updated) }
    }
}

type Part = HashMap<Arc<str>, Arc<Key>>;

/// Every registered key, in parts that are shared until one changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// None, or [`PARTS`] of them.
    parts: Arc<Vec<Arc<Part>>>,
    count: usize,
}

impl Keys {
    pub(super) fn new(keys: Vec<(Arc<str>, KeyEntry, Millis)>) -> Self {
        let mut patterns = HashMap::new();
        let mut parts: Vec<Part> = (0..PARTS).map(|_| Part::new()).collect();
        for (id, body, updated) in keys {
            if let Some(part) = parts.get_mut(place(&id)) {
                part.insert(id, Arc::new(Key::new(body, updated, &mut patterns)));
            }
        }
        let count = parts.iter().map(Part::len).sum();
        Self { parts: Arc::new(parts.into_iter().map(Arc::new).collect()), count }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn get(&self, key_id: &str) -> Option<&Key> {
        self.parts.get(place(key_id))?.get(key_id).map(|key| &**key)
    }

    pub(super) fn held(&self, key_id: &str) -> Option<Held<KeyEntry>> {
        self.get(key_id).map(Key::held)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Held<KeyEntry>)> {
        self.parts.iter().flat_map(|part| part.iter()).map(|(id, key)| (id, key.held()))
    }

    pub(super) fn put(&mut self, key_id: &str, body: KeyEntry, updated: Millis) {
        let key = Arc::new(Key::new(body, updated, &mut HashMap::new()));
        let fresh = self.part(key_id).is_some_and(|part| part.insert(key_id.into(), key).is_none());
        self.count += usize::from(fresh);
    }

    pub(super) fn remove(&mut self, key_id: &str) {
        let gone = self.part(key_id).is_some_and(|part| part.remove(key_id).is_some());
        self.count -= usize::from(gone);
    }

    fn part(&mut self, key_id: &str) -> Option<&mut Part> {
        let parts = Arc::make_mut(&mut self.parts);
        parts.resize_with(PARTS, Arc::default);
        parts.get_mut(place(key_id)).map(Arc::make_mut)
    }
}

fn place(key_id: &str) -> usize {
    (stable_hash(key_id.as_bytes()) % PARTS as u64) as usize
}
