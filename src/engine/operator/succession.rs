//! A key takes the place of another that was cut off: its project, plan and terms, and what was learned of it. So the
//! owner's next key is neither free of limits nor a stranger.

use std::sync::Arc;

use super::registry::RegistryChanges;
use crate::{
    domain::{
        Millis,
        actor::Actor,
        key::{Succession, looks_secret, valid_key_id},
        registry::{Entry, KeyEntry},
        subject::Subject,
    },
    engine::{in_force::InForce, profiles::ProfileBook, shared::Shared},
    store::{StoreError, patient},
};

/// Puts keys in the place of others.
pub struct Successions {
    shared: Arc<Shared>,
    in_force: Arc<InForce>,
    profiles: Arc<ProfileBook>,
    registry: Arc<RegistryChanges>,
}

impl Successions {
    /// What is registered of a key comes from `in_force` and is changed by `registry`; what was learned is in
    /// `profiles` and the store.
    pub(in crate::engine) fn new(
        shared: Arc<Shared>,
        in_force: Arc<InForce>,
        profiles: Arc<ProfileBook>,
        registry: Arc<RegistryChanges>,
    ) -> Self {
        Self { shared, in_force, profiles, registry }
    }

    /// Gives the key `new` what the registry says of `old`, unless it is registered already, and what was learned of
    /// `old`, also what is not in the store yet. Bans and strikes stay with `old`. The same again changes nothing.
    /// `None`, and nothing is done: `new` is no public id of a key, or `old` itself.
    ///
    /// # Errors
    /// When it could not be written; it may be asked again then.
    pub async fn take_place(
        &self,
        (old, new): (&str, &str),
        by: &Actor,
        now: Millis,
    ) -> Result<Option<Succession>, StoreError> {
        let registry = self.in_force.policy().registry.clone();
        let is_registered = registry.key(new).is_some();
        if old == new || !valid_key_id(new) || (looks_secret(new).is_some() && !is_registered) {
            return Ok(None);
        }
        let entry = registry.key(old).map(|held| KeyEntry { replaced_by: None, ..(*held.body).clone() });
        if let Some(entry) = entry.clone().filter(|_| !is_registered) {
            self.registry.put(new, &Entry::Key(entry), by, now).await?;
        }
        let has_past = self.pass_on(&Subject::key(old), &Subject::key(new)).await?;
        let held = self.in_force.policy().registry.key(new);
        let has_terms = entry.is_some_and(|entry| held.is_some_and(|held| *held.body == entry));
        Ok(Some(Succession { has_terms, has_past }))
    }

    /// Whether there is a past to pass on. A profile that reaches as far back as the other one has been passed on
    /// before.
    async fn pass_on(&self, old: &Subject, new: &Subject) -> Result<bool, StoreError> {
        let store = &*self.shared.store;
        let Some(past) = self.profiles.flushed(store, old, self.shared.now()).await? else {
            return Ok(false);
        };
        let known = patient(store.profile(new)).await?.unwrap_or_default();
        let (known, since) = (known.first_seen, past.first_seen);
        let is_passed_on = known.is_some_and(|known| since.is_none_or(|since| known <= since));
        if !is_passed_on {
            self.profiles.add(store, new, &past).await?;
        }
        Ok(true)
    }
}
