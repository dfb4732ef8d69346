//! The table of events: lists for people, pages for followers, and the ids and cursors that name its places.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};

use super::{
    effects::{Effect, Effects},
    sqlite::{failed, unreadable_because},
};
use crate::domain::{Millis, event::Event, finding::Severity, subject::Subject};
use crate::store::{EventQuery, LogPage, LogPosition, Page, StoreError};

const COLUMNS: &str = "seq, time, json";

/// How a severity is stored: its rank, mildest first.
fn rank(severity: Severity) -> i64 {
    severity as i64
}

/// The id of the event with this sequence number.
fn event_id(time: Millis, seq: i64) -> String {
    format!("e0-{time}-{seq}")
}

fn parse_id(id: &str) -> Option<(Millis, i64)> {
    let (time, seq) = id.strip_prefix("e0-")?.rsplit_once('-')?;
    let parsed = (time.parse().ok()?, seq.parse().ok()?);
    (event_id(parsed.0, parsed.1) == id).then_some(parsed)
}

fn cursor(seq: i64) -> String {
    URL_SAFE_NO_PAD.encode(seq.to_be_bytes())
}

fn parse_cursor(text: &str) -> Result<i64, StoreError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| StoreError::BadCursor)?;
    let seq = i64::from_be_bytes(bytes.try_into().map_err(|_| StoreError::BadCursor)?);
    if seq > 0 { Ok(seq) } else { Err(StoreError::BadCursor) }
}

/// A place in the log as a [`LogPosition`]: the log has one partition.
pub(super) fn position(seq: i64) -> LogPosition {
    LogPosition(vec![(0, seq.max(0) as u64)])
}

/// The sequence number that a position stands for; an empty position is the beginning.
/// A position beyond the end belongs to another log: following it would skip events in silence.
pub(super) fn seq_of(position: &LogPosition, end: i64) -> Result<i64, StoreError> {
    match position.0.as_slice() {
        [] => Ok(0),
        [(0, seq)] => i64::try_from(*seq).ok().filter(|seq| *seq <= end).ok_or(StoreError::BadCursor),
        _ => Err(StoreError::BadCursor),
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<(i64, Millis, String)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn parsed((seq, time, json): (i64, Millis, String)) -> Result<Event, StoreError> {
    let event: Event = serde_json::from_str(&json).map_err(unreadable_because)?;
    Ok(Event { id: event_id(time, seq), ..event })
}

/// Appends events and gives them their ids.
pub(super) fn append(
    connection: &Connection,
    mut events: Vec<Event>,
    effects: &mut Effects,
) -> Result<Vec<Event>, StoreError> {
    let sql = "INSERT INTO events (time, type, severity, subject, json) VALUES (?, ?, ?, ?, ?)";
    for event in &mut events {
        event.id.clear();
        let json = serde_json::to_string(event).map_err(unreadable_because)?;
        let subject = event.subject.as_ref().map(Subject::as_str);
        let values = params![event.time, event.kind.name(), rank(event.severity), subject, json];
        let seq = connection.prepare_cached(sql).and_then(|mut s| s.insert(values)).map_err(failed)?;
        event.id = event_id(event.time, seq);
        effects.push(Effect::LogEnd(seq));
    }
    Ok(events)
}

/// The last sequence number given out.
pub(super) fn last_seq(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .map(Option::unwrap_or_default)
        .map_err(failed)
}

/// A page of events, newest first.
pub(super) fn list(connection: &Connection, query: &EventQuery) -> Result<Page<Event>, StoreError> {
    let before = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let severity = query.severity.map(rank);
    let subject = query.subject.as_ref().map(|subject| subject.as_str());
    let kind = query.kind.map(|kind| kind.name());
    let more = i64::try_from(query.limit.saturating_add(1)).unwrap_or(i64::MAX);
    // The plus keeps SQLite from sorting all events of a span: a walk from the newest stops after one page.
    let filters: [(&str, Option<&dyn ToSql>); 6] = [
        ("seq < ?", before.as_ref().map(|v| v as _)),
        ("+time >= ?", query.since.as_ref().map(|v| v as _)),
        ("+time < ?", query.until.as_ref().map(|v| v as _)),
        ("subject = ?", subject.as_ref().map(|v| v as _)),
        ("type = ?", kind.as_ref().map(|v| v as _)),
        ("severity >= ?", severity.as_ref().map(|v| v as _)),
    ];
    let (conditions, mut values): (Vec<&str>, Vec<&dyn ToSql>) =
        filters.into_iter().filter_map(|(condition, value)| Some((condition, value?))).unzip();
    let conditions: String = conditions.iter().map(|condition| format!(" AND {condition}")).collect();
    let sql = format!("SELECT {COLUMNS} FROM events WHERE 1{conditions} ORDER BY seq DESC LIMIT ?");
    values.push(&more);
    let mut rows = collect(connection, &sql, values.as_slice())?;
    let next = (rows.len() > query.limit).then(|| rows.truncate(query.limit));
    let next = next.and_then(|()| rows.last().map(|row| cursor(row.0)));
    Ok(Page { items: rows.into_iter().map(parsed).collect::<Result<_, _>>()?, next })
}

fn collect(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<(i64, Millis, String)>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let rows = statement.query_map(values, stored).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// One event by its id.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<Event>, StoreError> {
    let Some((time, seq)) = parse_id(id) else { return Ok(None) };
    let sql = format!("SELECT {COLUMNS} FROM events WHERE seq = ? AND time = ?");
    collect(connection, &sql, params![seq, time])?.pop().map(parsed).transpose()
}

/// The position behind the event with this id, in a log that ends at `end`. The id of an event that retention has
/// deleted is still good.
pub(super) fn after(connection: &Connection, id: &str, end: i64) -> Result<LogPosition, StoreError> {
    let (time, seq) = parse_id(id).filter(|(_, seq)| (1..=end).contains(seq)).ok_or(StoreError::BadCursor)?;
    let sql = "SELECT time FROM events WHERE seq = ?";
    let found: Option<Millis> =
        connection.query_row(sql, [seq], |row| row.get(0)).optional().map_err(failed)?;
    if found.is_some_and(|found| found != time) { Err(StoreError::BadCursor) } else { Ok(position(seq)) }
}

/// Behind the event with this id.
pub(super) fn behind(id: &str) -> Result<LogPosition, StoreError> {
    parse_id(id).map(|(_, seq)| position(seq)).ok_or(StoreError::BadCursor)
}

/// At most `limit` events after `seq`, oldest first, and the position after them.
pub(super) fn follow(connection: &Connection, seq: i64, limit: usize) -> Result<LogPage, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM events WHERE seq > ? ORDER BY seq LIMIT ?");
    let rows = collect(connection, &sql, params![seq, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    // Numbers are given without gaps.
    let gap = seq > 0 && rows.first().is_some_and(|row| row.0 != seq + 1);
    let end = rows.last().map_or(seq, |row| row.0);
    // Written by a newer version: skipping one event beats never getting past it.
    let readable = |row: (i64, Millis, String)| {
        let seq = row.0;
        parsed(row)
            .inspect_err(|error| tracing::warn!(seq, %error, "an event cannot be read and is skipped"))
            .ok()
    };
    let events = rows.into_iter().filter_map(readable).collect();
    Ok(LogPage { events, next: position(end), gap })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_cursors_lead_back_and_garbage_does_not() {
        assert_eq!(parse_id(&event_id(1_760_000_000_000, 7)), Some((1_760_000_000_000, 7)));
        assert_eq!(parse_id(&event_id(-5, 7)), Some((-5, 7)));
        for garbage in ["", "e0-1", "e1-1-1", "e0-1-+1", "e0-01-1", "e0-1-1 "] {
            assert_eq!(parse_id(garbage), None, "{garbage}");
        }
        assert_eq!(parse_cursor(&cursor(42)).unwrap(), 42);
        for garbage in ["", "x", "AAAAAAAAAAA", "é", &cursor(-1)] {
            assert!(matches!(parse_cursor(garbage), Err(StoreError::BadCursor)), "{garbage}");
        }
    }
}
