//! The price list in force: swapped whole when its file changes, with the names it has answered for remembered.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde::Serialize;

use super::{
    BUILT_IN, PriceError, PriceList, file,
    list::{Chosen, PricedModel},
};
use crate::{
    domain::{
        Millis,
        price::{Cost, Quantities},
    },
    watch::{Look, Reload, Watch},
};

/// Names whose prices are remembered, those without any included: about 2 MiB.
const REMEMBERED: usize = 4_096;
/// So many names without a price are told to the log per list. Names come from callers, and there is no end to them.
const TOLD: u32 = 16;

/// Where the prices in force are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PriceSource {
    /// No file is configured: the list in the binary.
    BuiltIn,
    /// The file that the configuration names.
    File,
    /// The file has changed and cannot be used; what was loaded before stays in force.
    Stale {
        /// What is wrong with it.
        error: String,
    },
}

/// How the prices stand, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct PriceStatus {
    /// Where they are from.
    #[serde(flatten)]
    pub source: PriceSource,
    /// How many models (or patterns) have prices.
    pub models: usize,
}

/// A list with the names that it answered for: swapped together, so that no price of an old list is remembered for a
/// new one.
struct Loaded {
    list: PriceList,
    names: Cache<Box<str>, Arc<PricedModel>>,
    told: AtomicU32,
}

impl Loaded {
    fn new(list: PriceList) -> Arc<Self> {
        Arc::new(Self { list, names: Cache::new(REMEMBERED), told: AtomicU32::new(0) })
    }

    fn find(&self, model: &str) -> Arc<PricedModel> {
        self.names.get(model).unwrap_or_else(|| {
            let found = Arc::new(self.list.find(model));
            self.names.insert(model.into(), found.clone());
            found
        })
    }

    /// Tells a person the name of a model without a price: a metric cannot.
    fn tell(&self, model: &str) {
        if self.told.load(Ordering::Relaxed) < TOLD && self.told.fetch_add(1, Ordering::Relaxed) < TOLD {
            tracing::warn!(?model, "this model has no price; its requests cost the fallback price");
        }
    }
}

/// The prices in force. Shared by reference; every method may be called from any thread.
pub struct Prices {
    file: Option<PathBuf>,
    loaded: ArcSwap<Loaded>,
    watch: Mutex<Watch>,
    // Apart from `watch`, which is held while the file is read: the status must not wait for that.
    error: Mutex<Option<String>>,
}

impl Prices {
    /// Reads the file, or the built-in list when there is none.
    ///
    /// # Errors
    /// What is wrong with the list.
    pub fn open(file: Option<&Path>) -> Result<Self, PriceError> {
        let file = file.map(Path::to_path_buf);
        let watch = Watch::new(file.as_slice());
        let loaded = ArcSwap::new(Loaded::new(load(file.as_deref())?));
        Ok(Self { file, loaded, watch: Mutex::new(watch), error: Mutex::new(None) })
    }

    /// The prices of a list that is no file's, for tests.
    ///
    /// # Errors
    /// What is wrong with the list.
    #[cfg(test)]
    pub fn of(text: &str) -> Result<Self, PriceError> {
        let loaded = ArcSwap::new(Loaded::new(file::read(text, "the prices of a test")?));
        let watch = Mutex::new(Watch::new(&[]));
        Ok(Self { file: None, loaded, watch, error: Mutex::new(None) })
    }

    /// What the list knows about a model. For a name that was asked about before, nothing is allocated.
    pub fn find(&self, model: &str) -> Arc<PricedModel> {
        self.loaded.load().find(model)
    }

    /// What a request to a model costs at a moment, and the model that it is.
    pub fn cost(&self, model: &str, time: Millis, used: &Quantities) -> (Cost, Arc<PricedModel>) {
        let loaded = self.loaded.load();
        let found = loaded.find(model);
        let cost = found.cost(time, used);
        if cost.fallback && found.is_news() {
            loaded.tell(model);
        }
        (cost, found)
    }

    /// The most that a request of an estimate can cost ([`PricedModel::most_cost`]).
    pub fn most_cost(&self, model: &str, time: Millis, used: &Quantities, either: Option<u64>) -> Cost {
        self.loaded.load().find(model).most_cost(time, used, either)
    }

    /// The price of a model at a moment, and why it is this one.
    pub fn choose(&self, model: &str, time: Millis) -> Chosen {
        self.loaded.load().list.choose(model, time)
    }

    /// Looks at the file, and loads it anew when it has changed. A list that cannot be used leaves the one before it in
    /// force, is logged once, and is tried again only when the file changes again. Blocks while it reads.
    pub fn reload_if_changed(&self) -> Reload {
        let mut watch = self.watch.lock();
        match watch.look() {
            Look::Same => return Reload::Unchanged,
            Look::Back => {
                *self.error.lock() = None;
                return Reload::Unchanged;
            }
            Look::New => {}
        }
        match load(self.file.as_deref()) {
            Ok(list) => {
                tracing::info!(models = list.models(), "prices reloaded");
                self.loaded.store(Loaded::new(list));
                watch.taken();
                *self.error.lock() = None;
                Reload::Reloaded
            }
            Err(error) => {
                tracing::warn!(%error, "changed prices cannot be used; those loaded before stay in force");
                *self.error.lock() = Some(error.to_string());
                Reload::Failed
            }
        }
    }

    /// How the prices stand.
    pub fn status(&self) -> PriceStatus {
        let source = match (self.error.lock().clone(), &self.file) {
            (Some(error), _) => PriceSource::Stale { error },
            (None, Some(_)) => PriceSource::File,
            (None, None) => PriceSource::BuiltIn,
        };
        PriceStatus { source, models: self.loaded.load().list.models() }
    }
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prices").field("status", &self.status()).finish_non_exhaustive()
    }
}

fn load(path: Option<&Path>) -> Result<PriceList, PriceError> {
    let Some(path) = path else { return file::read(BUILT_IN, "the built-in prices") };
    let text = fs::read_to_string(path)
        .map_err(|source| PriceError::Unreadable { path: path.to_path_buf(), source })?;
    file::read(&text, &path.display().to_string())
}
