//! A key takes the place of another that was cut off: its project, plan and terms, and what was learned of it. So the
//! owner's next key is neither free of limits nor a stranger.

use std::sync::Arc;

use super::registry::RegistryChanges;
use crate::{
    domain::{
        Millis,
        actor::Actor,
        key::{looks_secret, valid_key_id},
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
    /// `old`. Bans and strikes stay with `old`. The same again changes nothing. False, and nothing is done: `new` is no
    /// public id of a key, or `old` itself.
    ///
    /// # Errors
    /// When it could not be written; it may be asked again then.
    pub async fn take_place(
        &self,
        (old, new): (&str, &str),
        by: &Actor,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let registry = self.in_force.policy().registry.clone();
        let is_registered = registry.key(new).is_some();
        if old == new || !valid_key_id(new) || (looks_secret(new).is_some() && !is_registered) {
            return Ok(false);
        }
        if let Some(held) = registry.key(old).filter(|_| !is_registered) {
            let entry = KeyEntry { replaced_by: None, ..(*held.body).clone() };
            self.registry.put(new, &Entry::Key(entry), by, now).await?;
        }
        self.pass_on(&Subject::key(old), &Subject::key(new)).await?;
        Ok(true)
    }

    /// A profile that reaches as far back as the other one has been passed on before.
    async fn pass_on(&self, old: &Subject, new: &Subject) -> Result<(), StoreError> {
        let store = &self.shared.store;
        // What was learned here lately belongs to it.
        patient(self.profiles.flush_one(&**store, old, self.shared.now())).await?;
        let Some(past) = patient(store.profile(old)).await? else { return Ok(()) };
        let known = patient(store.profile(new)).await?.unwrap_or_default();
        let (known, since) = (known.first_seen, past.first_seen);
        let is_passed_on = known.is_some_and(|known| since.is_none_or(|since| known <= since));
        if is_passed_on { Ok(()) } else { self.profiles.add(&**store, new, &past).await }
    }
}
