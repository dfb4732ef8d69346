//! The tables of documents and of their changes.

use rusqlite::{Connection, OptionalExtension, params};

use super::{
    effects::{Effect, Effects},
    event_rows,
    sqlite::{failed, unreadable_because},
};
use crate::{
    domain::event::Event,
    store::{Changed, Document, DocumentKind, Revision, StoreError, roles::CHANGES_KEPT},
};

/// The revision of the documents. It has no marks: what one process alone writes to is never behind what was told.
pub(super) fn revision(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = 'documents_revision'";
    let revision: i64 = connection.query_row(sql, [], |row| row.get(0)).map_err(failed)?;
    Ok(revision.max(0) as u64)
}

/// A revision without a mark.
pub(super) fn unmarked(number: u64) -> Revision {
    Revision { number, mark: 0 }
}

/// Writes a document, or deletes it where its body is null, and notes the change. False where there was none before.
pub(super) fn write(
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
    note_change(connection, revision, document)?;
    event_rows::append(connection, vec![event], effects)?;
    effects.push(Effect::Revision(revision.max(0) as u64));
    Ok(known)
}

/// Notes which document changed at a revision, and forgets changes that are long past.
fn note_change(connection: &Connection, revision: i64, document: &Document) -> Result<(), StoreError> {
    let sql = "INSERT INTO document_changes (revision, kind, name) VALUES (?, ?, ?)";
    let values = params![revision, document.kind.name(), document.name];
    connection.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(failed)?;
    let sql = "DELETE FROM document_changes WHERE revision <= ?";
    let past = revision - CHANGES_KEPT as i64;
    connection.prepare_cached(sql).and_then(|mut s| s.execute([past])).map(drop).map_err(failed)
}

/// Every document, in the order of kind and name, with the revision they belong to.
/// Both are read in one transaction, so a revision never goes with older documents.
pub(super) fn all(connection: &Connection) -> Result<(Revision, Vec<Document>), StoreError> {
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let revision = revision(&transaction)?;
    let mut documents = Vec::new();
    {
        let sql = "SELECT name, body FROM documents WHERE kind = ? ORDER BY name";
        let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
        for &kind in DocumentKind::ALL {
            let rows = statement
                .query_map([kind.name()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
                .map_err(failed)?;
            for row in rows {
                let (name, body) = row.map_err(failed)?;
                let body = serde_json::from_str(&body).map_err(unreadable_because)?;
                documents.push(Document { kind, name, body });
            }
        }
    }
    transaction.finish().map_err(failed)?;
    Ok((unmarked(revision), documents))
}

/// What changed after a revision; `None` where not every change since was noted.
pub(super) fn since(connection: &Connection, known: Revision) -> Result<Option<Changed>, StoreError> {
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let revision = revision(&transaction)?;
    let noted = {
        let sql = "SELECT kind, name FROM document_changes WHERE revision > ? ORDER BY revision";
        let mut statement = transaction.prepare_cached(sql).map_err(failed)?;
        let number = i64::try_from(known.number).unwrap_or(i64::MAX);
        let rows = statement.query_map([number], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        rows.collect::<Result<Vec<(String, String)>, _>>().map_err(failed)?
    };
    if revision.checked_sub(known.number) != Some(noted.len() as u64) || known.mark != 0 {
        return Ok(None);
    }
    let names: std::collections::BTreeSet<_> = noted.into_iter().collect();
    let mut documents = Vec::with_capacity(names.len());
    for (kind, name) in names {
        documents.extend(now(&transaction, &kind, name)?);
    }
    transaction.finish().map_err(failed)?;
    Ok(Some(Changed { revision: unmarked(revision), documents }))
}

fn now(connection: &Connection, kind: &str, name: String) -> Result<Option<Document>, StoreError> {
    let Some(kind) = DocumentKind::ALL.iter().copied().find(|k| k.name() == kind) else { return Ok(None) };
    let sql = "SELECT body FROM documents WHERE kind = ? AND name = ?";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let body = statement.query_row([kind.name(), &name], |row| row.get::<_, String>(0)).optional();
    let body = body.map_err(failed)?.map_or(Ok(serde_json::Value::Null), |body| serde_json::from_str(&body));
    Ok(Some(Document { kind, name, body: body.map_err(unreadable_because)? }))
}
