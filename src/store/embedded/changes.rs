//! What each change writes inside its transaction, and what memory learns once that is committed.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    documents,
    log::{event_id, rank},
    sqlite::{failed, unreadable},
    standings,
};
use crate::domain::{
    Millis,
    decision::{Action, Would},
    event::{Event, EventType, format_millis},
    finding::Severity,
    standing::{Standing, StandingState},
    subject::Subject,
};
use crate::store::{Document, Refund, Respond, Responded, StandingRecord, StoreError};

/// What memory learns after the commit, in this order. Nothing of it is visible before.
#[derive(Debug)]
pub(super) enum Effect {
    /// A standing is in force, and charges are taken back.
    Apply { subject: Subject, standing: Option<Standing>, refunds: Vec<Refund> },
    /// A subject is forgotten.
    Forget(Subject),
    /// The log has grown to this sequence number.
    LogEnd(i64),
    /// The documents have this revision.
    Revision(u64),
    /// Something runs out at this time.
    Ends(Millis),
    /// The next thing to run out does so now; earlier notes are void.
    NextEnd(Millis),
}

/// The effects of a transaction.
pub(super) type Effects = Vec<Effect>;

/// Appends events and gives them their ids.
pub(super) fn append(
    connection: &Connection,
    mut events: Vec<Event>,
    effects: &mut Effects,
) -> Result<Vec<Event>, StoreError> {
    let sql = "INSERT INTO events (time, type, severity, subject, json) VALUES (?, ?, ?, ?, ?)";
    for event in &mut events {
        event.id.clear();
        let json = serde_json::to_string(event).map_err(unreadable)?;
        let subject = event.subject.as_ref().map(Subject::as_str);
        let values = params![event.time, event.kind.name(), rank(event.severity), subject, json];
        let seq = connection.prepare_cached(sql).and_then(|mut s| s.insert(values)).map_err(failed)?;
        event.id = event_id(event.time, seq);
        effects.push(Effect::LogEnd(seq));
    }
    Ok(events)
}

/// See [`crate::store::Store::respond`]. Every standing passes through the one writer, so reading the stored
/// version inside its transaction is a true compare-and-set.
pub(super) fn respond(
    connection: &Connection,
    respond: Respond,
    effects: &mut Effects,
) -> Result<Responded, StoreError> {
    let Respond { subject, standing, refunds, events, .. } = respond;
    if let Some((standing, detail)) = &standing {
        let current = standings::current(connection, &subject)?;
        if current.version.checked_add(1) != Some(standing.version) {
            return Ok(Responded::Conflict(current));
        }
        standings::put(connection, &subject, standing, detail)?;
        effects.extend(standing.until.map(Effect::Ends));
    }
    let events = append(connection, events, effects)?;
    effects.push(Effect::Apply { subject, standing: standing.map(|(standing, _)| standing), refunds });
    Ok(Responded::Done(events))
}

/// See [`crate::store::Store::expire_bans`].
pub(super) fn expire_bans(
    connection: &Connection,
    now: Millis,
    effects: &mut Effects,
) -> Result<usize, StoreError> {
    let mut events = Vec::new();
    for record in standings::run_out(connection, now)? {
        standings::note_end(connection, &record.subject)?;
        if record.standing.state >= StandingState::TemporarilyBanned {
            events.push(ban_expired(&record, now));
        }
    }
    effects.push(Effect::NextEnd(standings::next_end(connection)?.unwrap_or(Millis::MAX)));
    append(connection, events, effects).map(|events| events.len())
}

fn ban_expired(record: &StandingRecord, now: Millis) -> Event {
    let subject = Some(record.subject.clone());
    Event {
        detector: Some("ladder".to_owned()),
        evidence: serde_json::json!({
            "since": format_millis(record.standing.since),
            "until": record.standing.until.map(format_millis),
        }),
        would: record.standing.unenforced.then(|| Would::go_on(Action::None)),
        ..Event::new(now, EventType::BanExpired, Severity::Low, subject)
    }
}

/// See [`crate::store::Store::forget`].
pub(super) fn forget(
    connection: &Connection,
    subject: Subject,
    event: Event,
    effects: &mut Effects,
) -> Result<(), StoreError> {
    standings::delete(connection, &subject)?;
    for table in ["subjects", "profiles"] {
        let sql = format!("DELETE FROM {table} WHERE subject = ?");
        connection.execute(&sql, [subject.as_str()]).map_err(failed)?;
    }
    append(connection, vec![event], effects)?;
    effects.push(Effect::Forget(subject));
    Ok(())
}

/// See [`crate::store::Store::write_document`].
pub(super) fn write_document(
    connection: &Connection,
    document: &Document,
    event: Event,
    effects: &mut Effects,
) -> Result<bool, StoreError> {
    let (kind, name) = (document.kind.name(), document.name.as_str());
    let known = "SELECT 1 FROM documents WHERE kind = ? AND name = ?";
    let known = connection.query_row(known, [kind, name], |_| Ok(())).optional().map_err(failed)?.is_some();
    if document.body.is_null() {
        if !known {
            return Ok(false);
        }
        let sql = "DELETE FROM documents WHERE kind = ? AND name = ?";
        connection.execute(sql, [kind, name]).map_err(failed)?;
    } else {
        let sql = "INSERT OR REPLACE INTO documents (kind, name, body) VALUES (?, ?, ?)";
        connection.execute(sql, [kind, name, &document.body.to_string()]).map_err(failed)?;
    }
    let sql = "UPDATE meta SET value = value + 1 WHERE key = 'documents_revision' RETURNING value";
    let revision: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    documents::note_change(connection, revision, document)?;
    append(connection, vec![event], effects)?;
    effects.push(Effect::Revision(revision.max(0) as u64));
    Ok(known)
}

/// See [`crate::store::Store::register_pepper`].
pub(super) fn register_pepper(
    connection: &Connection,
    name: &str,
    fingerprint: &str,
) -> Result<Option<String>, StoreError> {
    let sql = "INSERT INTO peppers (name, fingerprint) VALUES (?, ?) ON CONFLICT DO NOTHING";
    connection.execute(sql, [name, fingerprint]).map_err(failed)?;
    let sql = "SELECT fingerprint FROM peppers WHERE name = ?";
    let kept: String = connection.query_row(sql, [name], |row| row.get(0)).map_err(failed)?;
    Ok((kept != fingerprint).then_some(kept))
}
