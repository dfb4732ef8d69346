//! Claims of requests in SQLite: what memory held of them when it was last written.

use rusqlite::{Connection, params};

use super::{memory::SavedClaim, sqlite::failed};
use crate::store::StoreError;

/// Every claim, the one that ends first in front. Those that have ended are none to whoever asks.
pub(super) fn all(connection: &Connection) -> Result<Vec<SavedClaim>, StoreError> {
    let mut statement =
        connection.prepare("SELECT name, ends, answer FROM claims ORDER BY ends").map_err(failed)?;
    let rows = statement
        .query_map([], |row| Ok(SavedClaim { name: row.get(0)?, ends: row.get(1)?, answer: row.get(2)? }))
        .map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// Writes claims in the place of what was written of them before.
pub(super) fn save(connection: &Connection, claims: &[SavedClaim]) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO claims (name, ends, answer) VALUES (?, ?, ?)";
    for SavedClaim { name, ends, answer } in claims {
        connection
            .prepare_cached(sql)
            .and_then(|mut s| s.execute(params![name, ends, answer]))
            .map_err(failed)?;
    }
    Ok(())
}
