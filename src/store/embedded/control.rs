//! The store as a service: it has no clock of its own, and answers while its writer runs.

use rusqlite::Connection;

use super::{Backing, EmbeddedStore, sqlite::failed};
use crate::{
    domain::Millis,
    store::{StoreControl, StoreError, StoreResult},
};

impl StoreControl for EmbeddedStore {
    fn register_pepper<'a>(&'a self, name: &'a str, fingerprint: &'a str) -> StoreResult<'a, Option<String>> {
        let (name, fingerprint) = (name.to_owned(), fingerprint.to_owned());
        Box::pin(self.write(move |connection, _| {
            let kept = first_fingerprint(connection, &name, &fingerprint)?;
            Ok((kept != fingerprint).then_some(kept))
        }))
    }

    fn clock(&self) -> StoreResult<'_, Option<Millis>> {
        Box::pin(async { Ok(None) })
    }

    fn ping(&self) -> StoreResult<'_, ()> {
        Box::pin(async {
            match &self.backing {
                Backing::File { writer, .. } if !writer.is_running() => {
                    Err(StoreError::Unavailable("the store is closed".into()))
                }
                Backing::File { presence, .. } => presence.check(),
                Backing::Memory(_) => Ok(()),
            }
        })
    }

    fn close(&self) -> StoreResult<'_, ()> {
        Box::pin(async {
            match &self.backing {
                Backing::File { writer, .. } => writer.close().await,
                Backing::Memory(_) => Ok(()),
            }
        })
    }
}

/// The fingerprint of the pepper with this name: this one, unless another was noted before.
fn first_fingerprint(connection: &Connection, name: &str, fingerprint: &str) -> Result<String, StoreError> {
    let sql = "INSERT INTO peppers (name, fingerprint) VALUES (?, ?) ON CONFLICT DO NOTHING";
    connection.execute(sql, [name, fingerprint]).map_err(failed)?;
    let sql = "SELECT fingerprint FROM peppers WHERE name = ?";
    connection.query_row(sql, [name], |row| row.get(0)).map_err(failed)
}
