//! What tells plans, projects and keys apart, for those who handle all of them alike.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::registry::{Entry, Held, Registry, Wrong},
    http::{App, error::ApiError},
    store::DocumentKind,
};

/// A kind of entry of the registry; the type is how people write one.
pub(super) trait Resource: Clone + Serialize + DeserializeOwned {
    /// Under which kind it is stored, named in errors and audited.
    const KIND: DocumentKind;
    /// How one is answered.
    type View: Serialize;

    fn view(name: &str, held: &Held<Self>) -> Self::View;

    /// All that are in force.
    fn entries(registry: &Registry) -> Box<dyn Iterator<Item = (&str, Held<Self>)> + '_>;

    /// The one that is in force under a name.
    fn held(registry: &Registry, name: &str) -> Option<Held<Self>>;

    /// An error where an entry may not have this name.
    fn may_be_named(name: &str) -> Result<(), ApiError>;

    /// The entry in its one spelling, or all that is wrong with it.
    fn spelled(self) -> Result<Self, Vec<Wrong>>;

    /// What it names that does not exist.
    fn absent(&self, registry: &Registry) -> Vec<Wrong>;

    /// That nothing keeps the one of this name from being deleted.
    fn may_be_deleted(app: &App, name: &str) -> Result<(), ApiError>;

    fn into_entry(self) -> Entry;
}
