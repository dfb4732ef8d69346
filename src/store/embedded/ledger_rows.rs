//! Counters and reservations in SQLite: snapshots of what memory holds.

use rusqlite::{Connection, params};

use super::{
    memory::{Ledger, Unsaved},
    sqlite::{decode, encode, failed, unreadable},
};
use crate::{
    domain::{
        Millis,
        counter::{Amounts, Counter},
        limit::Scope,
        reservation::Reservation,
    },
    store::StoreError,
};

/// Tells memory what the last snapshot kept.
pub(super) fn load(connection: &Connection, ledger: &Ledger) -> Result<(), StoreError> {
    let mut statement = connection.prepare("SELECT scope, id, amounts FROM quotas").map_err(failed)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?)))
        .map_err(failed)?;
    let mut counters = Vec::new();
    for row in rows {
        let (scope, id, blob) = row.map_err(failed)?;
        // A budget is worth refusing to start for.
        let amounts: Amounts = decode(&blob)?;
        let scope = Scope::parse(&scope);
        let scope = scope.ok_or_else(|| unreadable("the scope of a counter"))?;
        counters.push((Counter { scope, id: id.cast_unsigned() }, amounts));
    }
    let mut statement =
        connection.prepare("SELECT charged_at, reservation FROM reservations").map_err(failed)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, Millis>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .map_err(failed)?;
    let mut reservations = Vec::new();
    for row in rows {
        let (charged_at, blob) = row.map_err(failed)?;
        reservations.push(Reservation { charged_at, ..decode(&blob)? });
    }
    ledger.restore(counters, reservations);
    Ok(())
}

/// Writes the counters and reservations that changed, and deletes those that are gone.
pub(super) fn save(connection: &Connection, unsaved: &Unsaved) -> Result<(), StoreError> {
    let run = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
        connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map(drop).map_err(failed)
    };
    for (counter, amounts) in &unsaved.counters {
        let (scope, id) = (counter.scope.as_str(), counter.id.cast_signed());
        match amounts {
            Some(amounts) => run(
                "INSERT OR REPLACE INTO quotas (scope, id, amounts) VALUES (?, ?, ?)",
                params![scope, id, encode(amounts)?],
            )?,
            None => run("DELETE FROM quotas WHERE scope = ? AND id = ?", params![scope, id])?,
        }
    }
    for (id, lease) in &unsaved.reservations {
        match lease {
            Some(lease) => run(
                "INSERT OR REPLACE INTO reservations (id, charged_at, reservation) VALUES (?, ?, ?)",
                params![id, lease.charged_at, encode(lease)?],
            )?,
            None => run("DELETE FROM reservations WHERE id = ?", params![id])?,
        }
    }
    Ok(())
}
