//! The databases in force: swapped whole when their files change, with the answers remembered.

use std::{
    cmp::Reverse,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use serde::Serialize;

use super::{GeoDb, GeoError, GeoFile};
use crate::{
    domain::{
        Millis, address,
        place::{Place, PlaceCore},
    },
    watch::{Look, Reload, Watch},
};

/// Addresses whose answers are remembered, "nothing known" included: about 10 MiB at most.
const CACHED_ADDRESSES: usize = 65_536;

/// Stands for a file whose time is not known.
const UNDATED: Millis = Millis::MIN;

/// How the databases stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum GeoState {
    /// The configured files are in force.
    Ready,
    /// No files are configured; the built-in demo database answers.
    Demo,
    /// There is no database: every place is absent.
    Off,
    /// The files name no coordinates: places have countries or networks at best, and travel cannot be detected.
    NoCoordinates,
    /// The files have changed and cannot be used; what was loaded before stays in force.
    Stale {
        /// What is wrong with the new files.
        error: String,
    },
}

/// How the databases stand, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct GeoStatus {
    /// Whether places are known, and from what.
    #[serde(flatten)]
    pub state: GeoState,
    /// The files in force.
    pub files: Vec<GeoFile>,
}

/// A set of databases together with the answers it gave: they are swapped together, so that no answer of an old
/// database can be remembered for a new one.
struct Loaded {
    db: GeoDb,
    answers: Cache<IpAddr, Option<Arc<Place>>>,
}

impl Loaded {
    fn new(db: GeoDb) -> Arc<Self> {
        Arc::new(Self { db, answers: Cache::new(CACHED_ADDRESSES) })
    }
}

/// The databases in force. Shared by reference; every method may be called from any thread.
pub struct Geo {
    loaded: ArcSwap<Loaded>,
    watch: Mutex<Watch>,
    // Apart from `watch`, which is held while files are read: the status must not wait for that.
    error: Mutex<Option<String>>,
    /// When the files in force were loaded; [`UNDATED`] where nobody said.
    loaded_at: AtomicI64,
}

impl Geo {
    /// Opens the configured files, or the demo database when there are none and `demo` is set.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open(files: &[PathBuf], demo: bool) -> Result<Self, GeoError> {
        let watch = Mutex::new(Watch::new(files));
        let loaded = ArcSwap::new(Loaded::new(GeoDb::load(files, demo)?));
        warn_of_useless(&loaded.load().db);
        tell_age(&[], &loaded.load().db);
        Ok(Self { loaded, watch, error: Mutex::new(None), loaded_at: AtomicI64::new(UNDATED) })
    }

    /// No database: every place is absent.
    pub fn off() -> Self {
        let loaded = ArcSwap::new(Loaded::new(GeoDb::none()));
        let watch = Mutex::new(Watch::new(&[]));
        Self { loaded, watch, error: Mutex::new(None), loaded_at: AtomicI64::new(UNDATED) }
    }

    /// When the files in force were loaded, where that was said: places of before may be another file's.
    pub fn loaded_at(&self) -> Option<Millis> {
        Some(self.loaded_at.load(Ordering::Relaxed)).filter(|at| *at != UNDATED)
    }

    /// Notes when the files in force were loaded.
    pub fn note_loaded(&self, at: Millis) {
        self.loaded_at.store(at, Ordering::Relaxed);
    }

    /// The place of an address; `None` when no database knows anything of it.
    pub fn lookup(&self, address: IpAddr) -> Option<Arc<Place>> {
        let address = address::unfold(address);
        let loaded = self.loaded.load();
        if let Some(known) = loaded.answers.get(&address) {
            return known;
        }
        let place = loaded.db.lookup(address).map(Arc::new);
        loaded.answers.insert(address, place.clone());
        place
    }

    /// The part of the place that is kept with a subject; only the prefix is filled when nothing else is known.
    pub fn place_core(&self, address: IpAddr) -> PlaceCore {
        PlaceCore::of(self.lookup(address).as_deref(), address)
    }

    /// Looks at the files, and loads them anew when one has changed. A set that cannot be used leaves the one
    /// before it in force, is logged once, and is tried again only when the files change again. Blocks while it
    /// reads, so keep it off threads that answer requests.
    pub fn reload_if_changed(&self, now: Millis) -> Reload {
        let mut watch = self.watch.lock();
        match watch.look() {
            Look::Same => return Reload::Unchanged,
            Look::Back => {
                // A bad file was taken back before it could do anything.
                *self.error.lock() = None;
                return Reload::Unchanged;
            }
            Look::New => {}
        }
        match GeoDb::load(watch.files(), false) {
            Ok(db) => {
                warn_of_useless(&db);
                tracing::info!(files = watch.files().len(), "geo databases reloaded");
                tell_age(&self.loaded.load().db.files(), &db);
                self.note_loaded(now);
                self.loaded.store(Loaded::new(db));
                watch.taken();
                *self.error.lock() = None;
                Reload::Reloaded
            }
            Err(error) => {
                tracing::warn!(%error, "changed geo databases cannot be used; those loaded before stay in force");
                *self.error.lock() = Some(error.to_string());
                Reload::Failed
            }
        }
    }

    /// How the databases stand.
    pub fn status(&self) -> GeoStatus {
        let loaded = self.loaded.load();
        let state = match self.error.lock().clone() {
            Some(error) => GeoState::Stale { error },
            None if loaded.db.is_demo() => GeoState::Demo,
            None if loaded.db.is_empty() => GeoState::Off,
            None if !loaded.db.files().iter().any(|file| file.gives.contains(&"coordinates")) => {
                GeoState::NoCoordinates
            }
            None => GeoState::Ready,
        };
        GeoStatus { state, files: loaded.db.files() }
    }
}

/// A file of another kind (anonymous addresses, say) does no harm, but whoever configured it expects something.
fn warn_of_useless(db: &GeoDb) {
    for file in db.files().iter().filter(|file| file.gives.is_empty()) {
        tracing::warn!(
            file = file.name,
            kind = file.database_type,
            "this database names no places and no networks"
        );
    }
}

/// Says when each kind of database was built; of several of a kind, the oldest. What is said of those that are gone is
/// taken back. The demo database is of no age.
fn tell_age(former: &[GeoFile], db: &GeoDb) {
    let built = |file: &GeoFile| {
        let database = file.database_type.clone();
        metrics::gauge!("keyward_geo_database_build_timestamp_seconds", "database" => database)
    };
    former.iter().for_each(|file| built(file).set(f64::NAN));
    let mut files = if db.is_demo() { Vec::new() } else { db.files() };
    files.sort_by_key(|file| Reverse(file.build_time));
    files.iter().for_each(|file| built(file).set((file.build_time / 1000) as f64));
}
