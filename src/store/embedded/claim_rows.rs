//! Claims of requests in SQLite: what memory held of them when it was last written.

use rusqlite::{Connection, params};

use super::{memory::SavedClaim, sqlite::failed};
use crate::store::StoreError;

/// The claims that end last, up to so many, the one that ends first in front. Those that have ended are none to whoever
/// asks.
pub(super) fn last(connection: &Connection, most: usize) -> Result<Vec<SavedClaim>, StoreError> {
    let sql = "SELECT name, ends, answer FROM claims ORDER BY ends DESC LIMIT ?";
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let read = |row: &rusqlite::Row<'_>| {
        Ok(SavedClaim { name: row.get(0)?, ends: row.get(1)?, answer: row.get(2)? })
    };
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map([most], read).map_err(failed)?;
    let mut claims = rows.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    claims.reverse();
    Ok(claims)
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
