//! Sinks: how far each has come, and its dead letters. One process has the file, so a lease is never in dispute; it
//! counts all the same, so that what an earlier sender of this process still writes is refused.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    EmbeddedStore,
    readers::Size,
    sqlite::{failed, unreadable, unreadable_because},
};
use crate::{
    domain::Millis,
    store::{
        DeadLetter, DeadLetterAct, LogPosition, MAX_DEAD_LETTERS, SinkHealth, SinkLead, SinkRecord, SinkStep,
        SinkStore, Stepped, StoreError, StoreResult,
        roles::{health_from_text, position_from_text, position_to_text},
    },
};

impl SinkStore for EmbeddedStore {
    fn lead_sink<'a>(
        &'a self,
        sink: &'a str,
        owner: &'a str,
        now: Millis,
        until: Millis,
    ) -> StoreResult<'a, Option<SinkLead>> {
        let (sink, owner) = (sink.to_owned(), owner.to_owned());
        Box::pin(self.write(move |connection, _| lead_sink(connection, &sink, &owner, now, until)))
    }

    fn renew_sink<'a>(
        &'a self,
        sink: &'a str,
        epoch: u64,
        until: Millis,
        health: &'a SinkHealth,
    ) -> StoreResult<'a, Option<bool>> {
        let (sink, health) = (sink.to_owned(), health.clone());
        Box::pin(self.write(move |connection, _| renew_sink(connection, &sink, epoch, until, &health)))
    }

    fn leave_sink<'a>(&'a self, sink: &'a str, owner: &'a str) -> StoreResult<'a, ()> {
        let (sink, owner) = (sink.to_owned(), owner.to_owned());
        Box::pin(self.write(move |connection, _| {
            let sql = "UPDATE sinks SET owner = '', until = 0 WHERE name = ? AND owner = ?";
            connection.execute(sql, [sink, owner]).map(drop).map_err(failed)
        }))
    }

    fn step_sink<'a>(&'a self, step: &'a SinkStep) -> StoreResult<'a, Stepped> {
        let step = step.clone();
        Box::pin(self.write(move |connection, _| step_sink(connection, &step)))
    }

    fn sink<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Option<SinkRecord>> {
        let sink = sink.to_owned();
        Box::pin(self.read_sized(Size::Own, move |connection| sink_record(connection, &sink)))
    }

    fn dead_letters<'a>(&'a self, sink: &'a str) -> StoreResult<'a, Vec<DeadLetter>> {
        let sink = sink.to_owned();
        Box::pin(self.read(move |connection| dead_letters(connection, &sink)))
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        sink: &'a str,
        act: DeadLetterAct,
        ids: &'a [String],
    ) -> StoreResult<'a, usize> {
        let (sink, ids) = (sink.to_owned(), ids.to_vec());
        Box::pin(self.write(move |connection, _| act_on_dead_letters(connection, &sink, act, &ids)))
    }
}

fn lead_sink(
    connection: &Connection,
    sink: &str,
    owner: &str,
    now: Millis,
    until: Millis,
) -> Result<Option<SinkLead>, StoreError> {
    let sql = "SELECT owner, until, epoch, position, state FROM sinks WHERE name = ?";
    type Row = (String, Millis, i64, String, Vec<u8>);
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<Row> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    };
    let held = connection.query_row(sql, [sink], read).optional().map_err(failed)?;
    let (held_by, held_until, epoch, position, state) = held.unwrap_or_default();
    let mine = held_by == owner && epoch > 0;
    if !mine && !held_by.is_empty() && held_until > now {
        return Ok(None);
    }
    let epoch = if mine { epoch } else { epoch + 1 };
    // Position, state and health stay as they are.
    let sql = "INSERT INTO sinks (name, owner, until, epoch, position, state) VALUES (?, ?, ?, ?, ?, ?)
               ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until, epoch = excluded.epoch";
    connection.execute(sql, params![sink, owner, until, epoch, position, state]).map_err(failed)?;
    let again = waits_again(connection, sink)?;
    Ok(Some(SinkLead { epoch: epoch.max(0) as u64, position: position_of(&position)?, state, again }))
}

fn renew_sink(
    connection: &Connection,
    sink: &str,
    epoch: u64,
    until: Millis,
    health: &SinkHealth,
) -> Result<Option<bool>, StoreError> {
    let sql = "UPDATE sinks SET until = ?, health = ? WHERE name = ? AND epoch = ?";
    let health = serde_json::to_string(health).map_err(unreadable_because)?;
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    let renewed = connection.execute(sql, params![until, health, sink, epoch]).map_err(failed)?;
    if renewed == 0 { Ok(None) } else { waits_again(connection, sink).map(Some) }
}

fn waits_again(connection: &Connection, sink: &str) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM dead_letters WHERE sink = ? AND again = 1)";
    connection.query_row(sql, [sink], |row| row.get(0)).map_err(failed)
}

fn step_sink(connection: &Connection, step: &SinkStep) -> Result<Stepped, StoreError> {
    let sql = "SELECT epoch FROM sinks WHERE name = ?";
    let epoch: Option<i64> =
        connection.query_row(sql, [&step.sink], |row| row.get(0)).optional().map_err(failed)?;
    if epoch.map(|epoch| epoch.max(0) as u64) != Some(step.epoch) {
        return Ok(Stepped::NotLeading);
    }
    if !step.parked.is_empty() {
        let count = count_dead_letters(connection, &step.sink)?;
        if count.saturating_sub(step.done.len()) + step.parked.len() > MAX_DEAD_LETTERS {
            return Ok(Stepped::Full);
        }
    }
    let sql = "UPDATE sinks SET position = ?, state = ? WHERE name = ?";
    let position = position_to_text(&step.position);
    connection
        .prepare_cached(sql)
        .and_then(|mut s| s.execute(params![position, step.state, step.sink]))
        .map_err(failed)?;
    for id in &step.done {
        let sql = "DELETE FROM dead_letters WHERE sink = ? AND event_id = ?";
        connection.execute(sql, [&step.sink, id]).map_err(failed)?;
    }
    for letter in &step.parked {
        let sql = "INSERT OR REPLACE INTO dead_letters (sink, event_id, again, json) VALUES (?, ?, 0, ?)";
        let json = serde_json::to_string(letter).map_err(unreadable_because)?;
        connection.execute(sql, params![step.sink, letter.event.id, json]).map_err(failed)?;
    }
    Ok(Stepped::Done)
}

/// Every dead letter of a sink, by event id.
fn dead_letters(connection: &Connection, sink: &str) -> Result<Vec<DeadLetter>, StoreError> {
    let sql = "SELECT again, json FROM dead_letters WHERE sink = ? ORDER BY event_id";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map([sink], |row| Ok((row.get::<_, bool>(0)?, row.get::<_, String>(1)?)));
    let mut letters = Vec::new();
    for row in rows.map_err(failed)? {
        let (again, json) = row.map_err(failed)?;
        match serde_json::from_str::<DeadLetter>(&json) {
            Ok(letter) => letters.push(DeadLetter { again, ..letter }),
            // Written by a newer version.
            Err(error) => tracing::warn!(sink, %error, "a dead letter cannot be read and is passed over"),
        }
    }
    Ok(letters)
}

fn act_on_dead_letters(
    connection: &Connection,
    sink: &str,
    act: DeadLetterAct,
    ids: &[String],
) -> Result<usize, StoreError> {
    let sql = match act {
        DeadLetterAct::Redeliver => "UPDATE dead_letters SET again = 1 WHERE sink = ?",
        DeadLetterAct::Discard => "DELETE FROM dead_letters WHERE sink = ?",
    };
    if ids.is_empty() {
        return connection.execute(sql, [sink]).map_err(failed);
    }
    let sql = format!("{sql} AND event_id = ?");
    let mut count = 0;
    for id in ids {
        count += connection.execute(&sql, [sink, id]).map_err(failed)?;
    }
    Ok(count)
}

fn sink_record(connection: &Connection, sink: &str) -> Result<Option<SinkRecord>, StoreError> {
    let sql = "SELECT owner, until, position, health FROM sinks WHERE name = ?";
    let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(String, Millis, String, String)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let held = connection.query_row(sql, [sink], read).optional().map_err(failed)?;
    let Some((owner, until, position, health)) = held else { return Ok(None) };
    let (position, dead_letters) = (position_of(&position)?, count_dead_letters(connection, sink)?);
    let health = health_from_text(&health);
    Ok(Some(SinkRecord { sink: sink.to_owned(), owner, until, position, dead_letters, health }))
}

fn count_dead_letters(connection: &Connection, sink: &str) -> Result<usize, StoreError> {
    let sql = "SELECT count(*) FROM dead_letters WHERE sink = ?";
    let count: i64 = connection.query_row(sql, [sink], |row| row.get(0)).map_err(failed)?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// An empty text is no position.
fn position_of(text: &str) -> Result<Option<LogPosition>, StoreError> {
    let text = Some(text).filter(|text| !text.is_empty());
    text.map(|text| position_from_text(text).ok_or_else(|| unreadable("a position"))).transpose()
}
