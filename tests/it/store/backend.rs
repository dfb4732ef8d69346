//! The stores that every conformance case and the model run on. A new store is one more entry here.

use keyward::store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
    redis::{RedisOptions, RedisStore},
};
use tempfile::TempDir;

use crate::redis_server;

/// A store to test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    /// The embedded store on a file.
    Embedded,
    /// The embedded store without a file.
    InMemory,
    /// The Redis store, on the server that this test binary starts.
    Redis,
}

/// An open store with nothing in it, and what has to live as long.
pub(super) struct Opened {
    pub store: Box<dyn Store>,
    _directory: Option<TempDir>,
}

impl Backend {
    /// Every store.
    pub(super) const ALL: &'static [Self] = &[Self::Embedded, Self::InMemory, Self::Redis];

    /// Opens a fresh store that shares nothing with any other.
    pub(super) async fn open(self) -> Opened {
        match self {
            Self::Embedded => {
                let directory = tempfile::tempdir().unwrap();
                let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
                Opened { store: Box::new(store), _directory: Some(directory) }
            }
            Self::InMemory => {
                let store = EmbeddedStore::in_memory(EmbeddedOptions::default()).unwrap();
                Opened { store: Box::new(store), _directory: None }
            }
            Self::Redis => {
                let options =
                    RedisOptions { namespace: redis_server::namespace(), ..RedisOptions::default() };
                let store = RedisStore::connect(&redis_server::shared().url(), options).await.unwrap();
                Opened { store: Box::new(store), _directory: None }
            }
        }
    }
}
