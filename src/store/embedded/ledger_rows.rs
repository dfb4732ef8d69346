//! Counters and reservations in SQLite: snapshots of what memory holds.

use rusqlite::{Connection, params};

use super::{
    memory::{Kept, Ledger, Unsaved},
    sqlite::{decode, decode_with, encode, encode_with, failed, unreadable},
};
use crate::{
    domain::{
        counter::{Amounts, Counter},
        limit::Scope,
        reservation::{Reservation, Stage},
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
    ledger.restore(counters, reservations(connection)?);
    Ok(())
}

fn reservations(connection: &Connection) -> Result<Vec<Kept>, StoreError> {
    let sql = "SELECT charged_at, stage, until, counted, reservation FROM reservations";
    let mut statement = connection.prepare(sql).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut reservations = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let get = |column: usize| row.get::<_, i64>(column).map_err(failed);
        let (charged_at, until, counted) = (get(0)?, get(2)?, get(3)? != 0);
        let stage = u8::try_from(get(1)?).ok().and_then(Stage::of_number);
        let stage = stage.ok_or_else(|| unreadable("the stage of a reservation"))?;
        let blob: Vec<u8> = row.get(4).map_err(failed)?;
        let (reservation, request): (Reservation, _) = decode_with(&blob)?;
        let reservation = Reservation { charged_at, request, ..reservation }.at(stage, until);
        reservations.push(Kept { reservation, counted });
    }
    Ok(reservations)
}

/// Notes that usage has counted a reservation as it is at a stage; corrected, it is gone.
pub(super) fn count(connection: &Connection, id: &str, stage: Stage) -> Result<(), StoreError> {
    let sql = match stage {
        Stage::Corrected => "DELETE FROM reservations WHERE id = ?",
        _ => "UPDATE reservations SET counted = 1 WHERE id = ?",
    };
    connection.prepare_cached(sql).and_then(|mut s| s.execute([id])).map(drop).map_err(failed)
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
    for (id, kept) in &unsaved.reservations {
        match kept {
            Some(Kept { reservation, counted }) => run(
                "INSERT OR REPLACE INTO reservations (id, charged_at, stage, until, counted, reservation)
                 VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    id,
                    reservation.charged_at,
                    reservation.stage.number(),
                    reservation.until,
                    counted,
                    encode_with(reservation, &reservation.request)?
                ],
            )?,
            None => run("DELETE FROM reservations WHERE id = ?", params![id])?,
        }
    }
    Ok(())
}
